"""Stimuli of the units: what is offered to their streams in every cycle, and what the counters of the simulator make of it.

Random, with fixed seeds; spikes are independent at the rate of a window, in the last window those that the trained network has
recorded. A stream follows the rules of its contract: an item that is offered stays until it is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from archsim.contracts import event_encoder, neuron
from archsim.contracts.event_encoder import EventEncoderParams
from archsim.contracts.neuron import NeuronParams
from archsim.contracts.synapse_array import SynapseArrayParams
from archsim.contracts.transposer import TransposerParams
from rtl.characterize import recorded
from rtl.units.neuron import block_layout, config_layout

RATES = (0.0, 0.05, 0.2, 0.5)
"""Activity of the windows: spike rate (of the neuron unit: blocks a cycle); in the first nothing is offered."""

RECORDED = "digits"
"""The window of recorded spikes: no rate, but the network whose they are."""

WINDOWS: tuple[float | str, ...] = (*RATES, RECORDED)
"""All windows of a stimulus."""

WINDOW = 1000
"""Cycles of a window."""

READY = 0.95
"""Share of the cycles in which what a unit gives is taken."""

WEIGHT_ROWS = 64
"""Weight rows that are loaded and used; four words of 16 channels make a group."""

STEPS = 4
"""Time steps of a group of the neuron unit."""

Items = list[dict[str, Any]]
"""Values of payloads by field."""


@dataclass(frozen=True)
class Stimulus:
    """What a unit gets.

    Attributes:
        warm_up: cycles before the first window: reset, loading of memories.
        levels: values of inputs that are no stream: one, or one a cycle.
        streams: by name, whether an item may be offered in each cycle, and the items (bit patterns) of the warm-up and each window.
        counts: what a window's items are for the simulator, from those of each stream, answer and output.
        answers: by the port of a word that is read, the ports that are all 1 when it is asked for, and the words of the warm-up and
            each window; one that is asked for stands in the next cycle, until another is.
        outputs: streams that the unit gives and whose items are counted.
        instructions: for units with instructions, what the one of each window is for the simulator besides ``counts``.
        reset: cycles of reset at the beginning.
    """

    warm_up: int
    levels: Mapping[str, int | Sequence[int]]
    streams: Mapping[str, tuple[Sequence[bool], list[list[int]]]]
    counts: Callable[[Mapping[str, list[int]]], dict[str, int]]
    answers: Mapping[str, tuple[Sequence[str], list[list[int]]]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    instructions: tuple[Mapping[str, int], ...] = ({},) * len(WINDOWS)
    reset: int = 2

    @property
    def items(self) -> dict[str, list[list[int]]]:
        """Items of the warm-up and each window, of the streams and then the answers."""
        return {name: items for name, (_, items) in (*self.streams.items(), *self.answers.items())}

    @property
    def edges(self) -> list[int]:
        """Cycle in which each window begins, and the end."""
        return [self.warm_up + WINDOW * index for index in range(len(WINDOWS) + 1)]

    @property
    def cycles(self) -> int:
        """All cycles."""
        return self.edges[-1]

    def level(self, name: str, cycle: int) -> int:
        """Value of an input in a cycle."""
        value = self.levels[name]
        return value if isinstance(value, int) else value[cycle]


def offers(rng: np.random.Generator, warm_up: int, busy: Sequence[float]) -> list[bool]:
    """No offer in the warm-up, then offers with the probability of each window."""
    chance = np.concatenate([np.zeros(warm_up), np.repeat(busy, WINDOW)])
    return (rng.random(len(chance)) < chance).tolist()


def ready(rng: np.random.Generator, warm_up: int) -> list[int]:
    """Whether what a unit gives is taken, by cycle."""
    return (rng.random(warm_up + WINDOW * len(WINDOWS)) < READY).astype(int).tolist()


def _loading(warm_up: int, rows: int, first: int) -> list[bool]:
    """Offers of a load port: a row a cycle from cycle ``first`` on."""
    return [first <= cycle < first + rows for cycle in range(warm_up + WINDOW * len(WINDOWS))]


BUSY = [*(float(rate > 0) for rate in RATES), 1.0]
"""Chance of an offer where the rate is that of spikes: always, but in the idle window."""

RECORDED_BLOCKS = 0.2
"""Blocks a cycle that the neuron unit is offered in the window of recorded spikes: assumed."""


def _words(rng: np.random.Generator, params: EventEncoderParams, window: float | str, count: int) -> Items:
    """Words of a window, spikes at its rate or recorded; four make a group."""
    if isinstance(window, str):
        bits = recorded.words(count, params.lanes, params.word_bits)
    else:
        bits = rng.random((count, params.lanes, params.word_bits)) < window
    packed = [[int("".join("1" if bit else "0" for bit in lane), 2) for lane in word] for word in bits]
    rows = [(index % 4) * params.word_bits % (1 << params.row_bits) for index in range(count)]
    return [
        {"spikes": word, "row": row, "last": int(index % 4 == 3)}
        for index, (word, row) in enumerate(zip(packed, rows, strict=True))
    ]


def encoder(params: EventEncoderParams) -> Stimulus:
    """Words one behind the other. Counted: words, channels of them with a spike (events but those of empty words), lane events."""
    rng = np.random.default_rng(1)
    items = [[params.i.pack(word) for word in _words(rng, params, window, WINDOW)] for window in WINDOWS]
    warm_up = 8

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        words = [params.i.unpack(item)["spikes"] for item in taken["i"]]
        lanes = [[word] if isinstance(word, int) else word for word in words]
        unions = [int(np.bitwise_or.reduce(np.array(word, np.uint64))).bit_count() for word in lanes]
        return {
            "words": len(words), "channels": sum(unions),
            "lane_events": sum(lane.bit_count() for word in lanes for lane in word),
        }  # fmt: skip

    return Stimulus(
        warm_up, {"o__ready": ready(rng, warm_up)}, {"i": (offers(rng, warm_up, BUSY), [[], *items])}, counts
    )


def array(params: SynapseArrayParams) -> Stimulus:
    """Events of an encoder of 16 channels, from words at the rate; weights of bank 0 are normal with a quarter of the range."""
    rng = np.random.default_rng(2)
    words = EventEncoderParams(params.lanes, 16, params.row_bits)
    items: list[list[int]] = [[]]
    for window in WINDOWS:
        events: list[int] = []
        for word in _words(rng, words, window, WINDOW):
            for op, row, mask, last in event_encoder.reference(word["spikes"], word["row"], 0, 0, word["last"]):
                events.append(params.i.pack({"op": op, "row": row, "mask": mask, "last": last}))
        items.append(events[:WINDOW])
    half = 1 << (params.weight_bits - 1)
    weights = np.clip(np.rint(rng.normal(0, half / 4, (WEIGHT_ROWS, params.columns))), -half, half - 1).astype(int)
    loads = [params.i_weight.pack({"bank": 0, "row": row, "data": data.tolist()}) for row, data in enumerate(weights)]
    warm_up = WEIGHT_ROWS + 8

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        events = [params.i.unpack(item) for item in taken["i"]]
        lane_events = int(np.bitwise_count(np.array([event["mask"] for event in events], np.uint64)).sum())
        groups = int(np.sum([event["last"] for event in events], dtype=np.int64))
        channels = sum(event["mask"] != 0 for event in events)
        return {"events": len(events), "channels": channels, "lane_events": lane_events, "groups": groups}

    config = params.config.pack({"bank": 0, "blocks": params.columns // params.neurons, "steps": params.lanes})
    streams = {
        "i": (offers(rng, warm_up, BUSY), items),
        "weight": (_loading(warm_up, WEIGHT_ROWS, 4), [loads, *[[] for _ in WINDOWS]]),
    }
    return Stimulus(warm_up, {"config": config, "o__ready": ready(rng, warm_up)}, streams, counts)


def neurons(params: NeuronParams) -> Stimulus:
    """Blocks of LIF neurons, offered with the chance of the window; sums are normal with an eighth of the range."""
    rng = np.random.default_rng(3)
    half, size = 1 << (params.membrane_bits - 1), params.neurons
    payload = block_layout(params)

    def sums(deviation: float, count: int) -> np.ndarray:
        return np.clip(np.rint(rng.normal(0, deviation, (count, size))), -half, half - 1).astype(int)

    items: list[list[int]] = [[]]
    for window in WINDOWS:
        values = sums(half / 8, WINDOW)
        if isinstance(window, str):
            scaled = recorded.sums(WINDOW, STEPS, params.blocks, size) * half / 8
            values = np.clip(np.rint(scaled), -half, half - 1).astype(int)
        blocks = []
        for index, row in enumerate(values):
            block, step = divmod(index % (params.blocks * STEPS), STEPS)
            last = block == params.blocks - 1 and step == STEPS - 1
            blocks.append(payload.pack({"sums": row.tolist(), "block": block, "step": step, "last": int(last)}))
        items.append(blocks)
    bank, loads = params.param_bank, []
    for row, bias in enumerate(sums(half / 16, params.blocks)):
        word = params.param.pack({"bias": bias.tolist(), "threshold": [half // 8] * size, "shift": [0] * size})
        loads.append((word << bank.address_bits | row) << 1)
    warm_up = params.blocks + 16
    cycles = warm_up + WINDOW * len(WINDOWS)
    levels: dict[str, int | Sequence[int]] = {
        "config": config_layout(params).pack({"steps": STEPS, "slices": 1, "neuron": neuron.LIF}),
        "start": [int(cycle == warm_up - 6) for cycle in range(cycles)],
    }
    for memory in ("residual", "psum", "reduce"):
        levels |= {
            f"write_{memory}__valid": 0,
            f"write_{memory}__payload": 0,
            f"read_{memory}__en": 0,
            f"read_{memory}__row": 0,
        }
    streams = {
        "i": (offers(rng, warm_up, [*RATES, RECORDED_BLOCKS]), items),
        "write_param": (_loading(warm_up, params.blocks, 4), [loads, *[[] for _ in WINDOWS]]),
    }
    return Stimulus(warm_up, levels, streams, lambda taken: {"granules": len(taken["i"])})


def words(params: TransposerParams) -> Stimulus:
    """Blocks of W words at the rate. Counted: words that come (as many leave) and their spikes."""
    rng = np.random.default_rng(4)
    items = []
    for window in WINDOWS:
        if isinstance(window, str):
            bits = recorded.words(WINDOW, 1, params.word_bits)[:, 0]
        else:
            bits = rng.random((WINDOW, params.word_bits)) < window
        items.append([params.i.pack({"bits": int("".join("1" if bit else "0" for bit in row), 2)}) for row in bits])
    warm_up = 8
    levels = {"o__ready": ready(rng, warm_up)}
    streams = {"i": (offers(rng, warm_up, BUSY), [[], *items])}

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        rows = np.array([params.i.unpack(item)["bits"] for item in taken["i"]], np.uint64)
        return {"transposed": len(rows), "spikes": int(np.bitwise_count(rows).sum())}

    return Stimulus(warm_up, levels, streams, counts)
