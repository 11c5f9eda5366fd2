"""Energy by the field's formula: operations of a network times a constant, by the rules of each paper.

A multiply-accumulate costs 4.6 pJ, an accumulate 0.9 pJ (fp32 at 45 nm). What is counted differs: see :data:`RULES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from archsim.account.definition import Definition
from archsim.contracts.common.errors import ArchsimError
from archsim.energy import field_energy_pj
from mapping.ir import PRODUCT, Attention, Chain, Classifier, Layer, Network, Synapse, output_shape
from mapping.nodes import Experts, WindowAttention
from mapping.operands import INTEGERS, SCALED, SPIKES, Operand, operands, written
from mapping.operations import operations


@dataclass(frozen=True)
class Rule:
    """What a paper's formula counts.

    Attributes:
        source: where it was read.
        counted, left_out: in words.
        names: parts of the names of modules that count; empty: all.
        biases: an addition of a bias in every step counts as an operation.
        products: the products of the attention count.
        head_once: the classifier counts once; else in every step.
    """

    source: str
    counted: str
    left_out: str
    names: tuple[str, ...] = ()
    biases: bool = False
    products: bool = False
    head_once: bool = False


_CODED = Rule(
    "energy_consumption_calculation (flops_counter.py, ops.py) of zhouchenlin2096/Spikingformer",
    "modules with conv or head in their name, biases too; T times, the first convolution as well; a binary input times its rate; "
    "attention T heads N d^2 (min(rate k, rate v) + rate q); the classifier once, multiplied",
    "LIF, norms, pools, residual additions, all memory",
    ("conv", "head"), True, True, True,
)  # fmt: skip
_INTEGERS = replace(
    _CODED,
    counted=f"{_CODED.counted}; integers times their mean (Nspks_max = 30; the recomputed baseline multiplies them)",
)
_SUPPLEMENT = Rule(
    "supplement of arXiv 2307.01694 and statements of its authors",
    "k^2 h w Cin Cout of convolutions and i o of linear layers, T times, a binary input times its rate; the first convolution "
    "multiplied, the classifier in full; chains of convolutions as the one that they merge into",
    "attention (its rule is not among what this was read from), LIF, norms, residual additions, all memory",
)  # fmt: skip
_EXPERTS = replace(
    _SUPPLEMENT, source=f"no energy is published for this network; that of its backbone: {_SUPPLEMENT.source}",
    counted=f"{_SUPPLEMENT.counted}; experts as if each ran in every step, at the rate of their input",
)  # fmt: skip
_NONE = Rule(
    "no formula is published for this network; the field's, as others code it",
    "every layer T times: binary operands times their rate, all others multiplied; of attention in windows, scores as accumulates, "
    "the product with v multiplied",
    "neurons, norms, softmax, residual additions, all memory", products=True,
)  # fmt: skip

RULES = {
    "spikingformer": _CODED, "spikformer": _INTEGERS, "meta_spikeformer": _SUPPLEMENT, "spike_driven_transformer": _SUPPLEMENT,
    "spiking_moe": _EXPERTS, "masked_spiking_transformer": _NONE, "spiking_mlp": _NONE,
}  # fmt: skip
"""The rule of every family."""

LOGGED_HEADS = {("spikingformer", "8-768"): 12}
"""Heads that an official log assumes where the network has others: it changes the attention's figure."""


@dataclass(frozen=True)
class Row:
    """Operations of a layer: dense ones of all time steps, the mean of its operand, what is counted (1 for multiplied ones)."""

    layer: str
    kind: str
    dense: int
    mean: float

    @property
    def count(self) -> float:
        """Counted operations."""
        return self.dense * self.mean


ACCUMULATE, MULTIPLY = "accumulate", "multiply-accumulate"


@dataclass(frozen=True)
class Figures:
    """What a formula gives: operations of all time steps by layer."""

    rows: tuple[Row, ...]

    def total(self, kind: str, layers: frozenset[str] | None = None) -> float:
        """Operations of a kind, of these layers or all."""
        chosen = (row for row in self.rows if row.kind == kind and (layers is None or row.layer in layers))
        return sum(row.count for row in chosen)

    @property
    def energy_mj(self) -> float:
        """Energy, mJ."""
        return field_energy_pj(self.total(ACCUMULATE), self.total(MULTIPLY)) * 1e-9


def figures(definition: Definition, rates: Mapping[str, float], heads: int | None = None) -> Figures:
    """Operations by the rule of the network's family.

    Args:
        definition: the network.
        rates: firing rate 0..1 of every spike map.
        heads: of the attention; None takes the network's.

    Raises ArchsimError for a map without a rate.
    """
    rule, kinds = RULES[definition.config.network.family], operands(definition.network)
    maps, counts, rows = definition.network.maps(), operations(definition.network), []
    for layer in definition.network.layers:
        if isinstance(layer, Attention | WindowAttention):
            if rule.products:
                rows += _products(layer, definition, rates, heads)
        elif not rule.names or any(part in layer.name for part in rule.names):
            if isinstance(layer, Synapse):
                source, shape = kinds[layer.source], output_shape(layer, maps[layer.source])
                columns = shape.positions * shape.channels // len(layer.weight)
                biases = definition.biases(layer) * columns if rule.biases else 0
                dense = definition.network.timesteps * (layer.weight.size * columns + biases)
                rows.append(_row(layer, source, dense, rates))
            elif isinstance(layer, Experts):
                dense = definition.network.timesteps * sum(counts[name] for name in (layer.name, f"{layer.name}.gate"))
                rows.append(_row(layer, kinds[layer.source], dense, rates))
            elif isinstance(layer, Chain):
                raise ArchsimError(f"layer '{layer.name}': required a merged chain, which the formula counts")
            elif isinstance(layer, Classifier):
                rows.append(_head(layer, definition, rule, kinds, rates))
    return Figures(tuple(rows))


def same_rate(definition: Definition, rate: float) -> dict[str, float]:
    """One rate for every spike map."""
    return dict.fromkeys(spike_maps(definition.network), rate)


def spike_maps(network: Network) -> list[str]:
    """The spike maps of a network, that of neurons before the classifier too."""
    fired = [layer.spikes for layer in network.layers if isinstance(layer, Classifier) and layer.spikes]
    return [spikes for layer in network.layers if (spikes := written(layer))] + fired


def _row(layer: Layer, source: Operand, dense: int, rates: Mapping[str, float]) -> Row:
    if source.kind not in (SPIKES, SCALED, INTEGERS):
        return Row(layer.name, MULTIPLY, dense, 1.0)
    return Row(layer.name, ACCUMULATE, dense, _mean(source, rates))


def _mean(source: Operand, rates: Mapping[str, float]) -> float:
    """Mean value of a map: of spikes their rate, of integers the sum of the rates."""
    return sum(share * _rate(name, rates) for name, share in source.spikes)


def _rate(name: str, rates: Mapping[str, float]) -> float:
    if name not in rates:
        raise ArchsimError(f"rates: required that of map '{name}', given those of {sorted(rates)}")
    return rates[name]


def _head(
    layer: Classifier, definition: Definition, rule: Rule, kinds: Mapping[str, Operand], rates: Mapping[str, float]
) -> Row:
    """The classifier: on spikes of the neuron before it (its rate is never published: assumed 1), else multiplied."""
    steps = 1 if rule.head_once else definition.network.timesteps
    dense = steps * (layer.weight.size + (len(layer.bias) if rule.biases else 0))
    return Row(layer.name, ACCUMULATE if layer.neuron else MULTIPLY, dense, 1.0)


def _products(
    layer: Attention | WindowAttention, definition: Definition, rates: Mapping[str, float], heads: int | None
) -> list[Row]:
    shape, steps = definition.network.maps()[layer.q], definition.network.timesteps
    q, k, v = (_rate(name, rates) for name in (layer.q, layer.k, layer.v))
    if isinstance(layer, WindowAttention):
        half = steps * shape.positions * layer.window**2 * shape.channels
        return [Row(layer.name, ACCUMULATE, half, q * layer.keep), Row(layer.name, MULTIPLY, half, 1.0)]
    if layer.kind != PRODUCT:
        return []
    dense = steps * shape.positions * shape.channels * (shape.channels // (heads or layer.heads))
    return [Row(layer.name, ACCUMULATE, dense, min(k, v) + q)]
