"""Layers of experts in integers: gate scores, and the experts whose results join a residual stream.

A layer of :class:`mapping.ir.Experts` becomes two: the gate's scores, which the router reads, and the experts with what joins their
results to the stream. Every sum of as many results as a token has choices is proven, dropped choices included.
"""

from dataclasses import dataclass, replace

import numpy as np

from archsim.contracts import neuron
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.experts import SLOT_BITS
from archsim.contracts.router import MAX_CHOICES, MAX_EXPERTS
from mapping.bounds import Bounds
from mapping.expert_steps import required
from mapping.ir import Map, Synapse
from mapping.nodes import Experts
from mapping.quantise import IntLayer, IntSynapse, Precision, neuron_kind, quantise_synapse
from mapping.scales import LEAST_WEIGHT
from mapping.weigh import Weigh, weigh


@dataclass(frozen=True)
class IntGate(IntSynapse):
    """Scores of every position of ``source`` in its first time step, a channel an expert; ``stream``: what the experts join."""


@dataclass(frozen=True)
class IntExperts(IntSynapse):
    """Experts, and the neurons of the stream behind them.

    Of the inherited attributes ``source`` is the map whose positions are the tokens, ``threshold``, ``kind``, ``stream``,
    ``spikes`` and ``reduce`` are the stream's behind the experts, and weights, biases and shifts are 0: what is added comes
    from the experts.

    Attributes:
        choices: experts of a token.
        capacity: tokens that an expert accepts; a choice beyond it adds nothing.
        experts: both layers of each expert, over ``capacity`` slots. A first layer with a ``stream`` reads from it the membranes of
            the tokens in its slots, which join its sums before its neurons, and leaves them as they are.
        steps: time steps that each expert runs; the result of its last one stands for those that are left.
        weigh: how the gate's scores weigh a token's result; None: it is added as it is.
    """

    choices: int = 1
    capacity: int = 1
    experts: tuple[tuple[IntSynapse, IntSynapse], ...] = ()
    steps: tuple[int, ...] = ()
    weigh: Weigh | None = None

    @property
    def tokens(self) -> int:
        """Tokens: positions of the source."""
        return self.shape.positions

    @property
    def joins(self) -> bool:
        """Whether some expert's input joins the sums of its first layer."""
        return any(first.stream for first, _ in self.experts)

    @property
    def drops(self) -> bool:
        """Whether a choice can find no room."""
        return self.capacity < self.tokens


def quantise_experts(
    layer: Experts, before: IntLayer | None, maps: dict[str, Map], exponent: int, precision: Precision, bounds: Bounds, steps: int,
    timesteps: int,
) -> tuple[IntGate, IntExperts]:  # fmt: skip
    """Integers for a layer of experts behind ``before``, proven.

    Args:
        layer: the layer.
        before: the layer in front of it.
        maps: shapes of the network's maps; those of each expert's slots are added.
        exponent: of the stream.
        precision: bits.
        bounds: of the network so far; the layer is added.
        steps: time steps that a reduction of the stream adds up.
        timesteps: of the network.

    Raises ArchsimError for what the expert engine does not have, and for sums that could overflow.
    """
    shape = maps[layer.source]
    _check(layer, before, shape)
    factor = ((1 << (precision.weight_bits - 1)) - 1) / max(np.abs(layer.gate).max(), LEAST_WEIGHT)
    gate, pairs = _gate(layer, shape, factor), []
    for number, expert in enumerate(layer.experts):
        name = f"{layer.name}.{number}"
        first = Synapse(f"{name}.fc1", f"{name}.tokens", expert.hidden[:, :, None, None], expert.hidden_bias,
                        stream=f"{name}.input" if expert.residual else None, threshold=expert.threshold,
                        spikes=f"{name}.hidden")  # fmt: skip
        second = Synapse(f"{name}.fc2", f"{name}.hidden", expert.weight[:, :, None, None], expert.bias,
                         stream=f"{name}.results", opens=True, neuron=None, threshold=0.0)  # fmt: skip
        slots = [Map(layer.capacity, 1, len(part.weight)) for part in (first, second)]
        pair = [
            quantise_synapse(part, slot, 1.0, exponent, precision)
            for part, slot in zip((first, second), slots, strict=True)
        ]
        pairs.append((pair[0], pair[1]))
        maps |= {first.source: Map(layer.capacity, 1, shape.channels), f"{name}.hidden": slots[0]}
    kind = neuron_kind(layer.neuron)
    zeros = np.zeros(shape.channels, np.int64)
    threshold = np.full(shape.channels, max(round(layer.threshold * 2.0**exponent), int(kind != neuron.NONE)))
    join = IntExperts(
        layer.name, layer.source, np.zeros((shape.channels, 1, 1, 1), np.int8), zeros, threshold, zeros, kind, shape,
        stream=layer.stream, spikes=layer.spikes, reduce=layer.reduce, choices=layer.choices, capacity=layer.capacity,
        experts=tuple(pairs),
        steps=tuple(required(f"{layer.name}.{number}", x.steps, timesteps) for number, x in enumerate(layer.experts)),
        weigh=weigh(factor, precision.membrane_bits) if layer.softmax else None,
    )  # fmt: skip
    prove(gate, bounds, 0)
    prove(join, bounds, shape.positions * steps)
    return gate, join


def prove(layer: IntGate | IntExperts, bounds: Bounds, sums: int) -> None:
    """Prove a gate, or experts with every set of results that a token can have; ``sums``: positions x steps of a reduction.

    A weight is at most 1, so a result bounds what is weighed.
    """
    if isinstance(layer, IntGate):
        bounds.synapse(replace(layer, stream=None), 0)
        return
    results = []
    for first, second in layer.experts:
        if first.stream:
            bounds.streams[first.stream] = bounds.streams[layer.stream or ""]
        bounds.synapse(first, 0)
        results.append(bounds.scaled(second))
    low = np.sort(np.minimum([result[0] for result in results], 0), axis=0)[: layer.choices].sum(0)
    high = np.sort(np.maximum([result[1] for result in results], 0), axis=0)[-layer.choices :].sum(0)
    bounds.join(layer, low, high, sums)


def _check(layer: Experts, before: IntLayer | None, shape: Map) -> None:
    """Raise ArchsimError for experts that the engine cannot have, or that do not follow the layer of their tokens."""
    count = len(layer.experts)
    limits = (("experts", count, MAX_EXPERTS, 2), ("choices", layer.choices, min(count, MAX_CHOICES), 1),
              ("capacity", layer.capacity, min(shape.positions, (1 << SLOT_BITS) - 1), 1))  # fmt: skip
    for what, given, most, least in limits:
        if not least <= given <= most:
            raise ArchsimError(f"layer '{layer.name}': required {least}..{most} {what}, given {given}")
    writer = before if isinstance(before, IntSynapse) else None
    if writer is None or (writer.spikes, writer.stream, writer.pool) != (layer.source, layer.stream, False):
        raise ArchsimError(
            f"layer '{layer.name}': required right before it the layer that writes its map '{layer.source}' and joins stream "
            f"'{layer.stream}', without a pool, given '{before.name if before else None}'"
        )


def _gate(layer: Experts, shape: Map, factor: float) -> IntGate:
    """The gate: one scale for all experts, so that their scores compare."""
    zeros = np.zeros(len(layer.gate), np.int64)
    weight = np.rint(layer.gate * factor).astype(np.int8)[:, :, None, None]
    bias = np.rint(layer.gate_bias * factor).astype(np.int64)
    return IntGate(
        f"{layer.name}.gate", layer.source, weight, bias, zeros, zeros, neuron.NONE,
        Map(shape.height, shape.width, len(layer.gate)), stream=layer.stream,
    )  # fmt: skip
