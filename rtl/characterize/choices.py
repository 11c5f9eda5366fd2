"""Stimuli of units outside of the path of a spiking layer: masker, router, crossbar, vector unit."""

from collections.abc import Mapping, Sequence

import numpy as np

from archsim.contracts.crossbar import CrossbarParams
from archsim.contracts.masker import MaskerParams
from archsim.contracts.router import RouterParams
from archsim.contracts.vector import CONSTANT, SCALE, VectorParams, signed_digits
from rtl.characterize import recorded
from rtl.characterize.stimuli import BUSY, RATES, RECORDED_BLOCKS, WINDOW, WINDOWS, Stimulus, offers, ready

CHOICES = 2
"""Experts of a token."""

KEEP = 192
"""Of 256, the spikes that the masker keeps."""

Levels = dict[str, int | Sequence[int]]
"""Inputs that are no stream."""

PACKET, WIDE = 4, 64
"""Flits of a packet, but of data wider than `WIDE` bits one: the end of a window cuts packets, and outputs that wait for the rest
of one can wait for each other; with eight ports they did, and nothing moved."""

SHIFT = 6
"""Right shift of a scaled row."""

ZEROS = {0.05: 0.5, 0.2: 0.25}
"""Share of the elements of a scaled row that are 0, by window; of the others none, but for those of the recorded spikes."""


def masked(params: MaskerParams) -> Stimulus:
    """Words one behind the other, three quarters of their spikes kept. Counted: words, their spikes."""
    rng = np.random.default_rng(6)
    items: list[list[int]] = [[]]
    for window in WINDOWS:
        size = (WINDOW, params.lanes, params.word_bits)
        bits = recorded.words(*size) if isinstance(window, str) else rng.random(size) < window
        packed = [[int("".join("1" if bit else "0" for bit in lane), 2) for lane in word] for word in bits]
        items.append([params.i.pack({"spikes": word, "first": 0}) for word in packed])
    warm_up = 8

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        words = [params.i.unpack(item)["spikes"] for item in taken["i"]]
        lanes = [[word] if isinstance(word, int) else word for word in words]
        return {"words": len(words), "spikes": sum(lane.bit_count() for word in lanes for lane in word)}

    levels: Levels = {"config": params.config.pack({"seed": 1, "keep": KEEP}), "o__ready": ready(rng, warm_up)}
    return Stimulus(warm_up, levels, {"i": (offers(rng, warm_up, BUSY), items)}, counts)


def routed(params: RouterParams) -> Stimulus:
    """Blocks of scores, normal with an eighth of the range, offered with the chance of the window. Counted: blocks, tokens."""
    rng = np.random.default_rng(7)
    half, blocks = 1 << (params.score_bits - 1), -(-params.experts // params.neurons)
    items: list[list[int]] = [[]]
    for window in WINDOWS:
        scores = rng.normal(0, 1, (WINDOW, params.neurons))
        if isinstance(window, str):
            scores = recorded.sums(WINDOW, 4, blocks, params.neurons)
        whole = np.clip(np.rint(scores * half / 8), -half, half - 1).astype(int).tolist()
        ends = [int(index % blocks == blocks - 1) for index in range(WINDOW)]
        rows = zip(whole, ends, strict=True)
        items.append([params.i.pack({"scores": row, "first": 0, "last": last}) for row, last in rows])
    warm_up = 8

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        return {"blocks": len(taken["i"]), "tokens": int(np.sum([params.i.unpack(item)["last"] for item in taken["i"]]))}

    config = params.config.pack({"experts": params.experts, "choices": CHOICES, "capacity": 0})
    levels: Levels = {"config": config, "o__ready": ready(rng, warm_up)}
    return Stimulus(warm_up, levels, {"i": (offers(rng, warm_up, [*RATES, RECORDED_BLOCKS]), items)}, counts)


def packets(params: CrossbarParams) -> Stimulus:
    """Packets of `PACKET` flits (or one) from every input to random outputs, a flit offered with the chance of the window.

    Data of the rates are random bits at 0.2, of the last window recorded spikes. Counted: flits.
    """
    rng = np.random.default_rng(8)
    warm_up, streams = 8, {}
    packet = PACKET if params.data_bits <= WIDE else 1
    for port in range(params.ports):
        items: list[list[int]] = [[]]
        for window in WINDOWS:
            size = (WINDOW, params.data_bits)
            bits = recorded.wide_words(*size) if isinstance(window, str) else rng.random(size) < 0.2
            data = [int("".join("1" if bit else "0" for bit in row), 2) for row in bits]
            goals = np.repeat(rng.integers(0, params.ports, -(-WINDOW // packet)), packet).tolist()
            ends = [int(index % packet == packet - 1) for index in range(WINDOW)]
            flits = zip(data, goals[:WINDOW], ends, strict=True)
            items.append([params.i.pack({"data": own, "destination": goal, "last": last}) for own, goal, last in flits])
        streams[f"i__{port}"] = (offers(rng, warm_up, [*RATES, RECORDED_BLOCKS]), items)
    levels = {f"o__{port}__ready": ready(rng, warm_up) for port in range(params.ports)}
    return Stimulus(warm_up, levels, streams, lambda taken: {"flits": sum(map(len, taken.values()))})


def scaled(params: VectorParams) -> Stimulus:
    """Rows that are scaled by a constant an element, offered with the chance of the window; values normal, some elements 0.

    In the last window the elements are sums of recorded spikes. Counted: rows; additions: digits of the constants of elements that
    are not 0, each of which the element's adder adds to its sum.
    """
    rng = np.random.default_rng(9)

    def normal(bits: int, values: np.ndarray | None = None) -> list[list[int]]:
        half = 1 << (bits - 1)
        drawn = rng.normal(0, 1, (WINDOW, params.elements)) if values is None else values
        return np.clip(np.rint(drawn * half / 8), -half, half - 1).astype(int).tolist()

    marks = dict.fromkeys(("center", "accumulate", "first", "keep", "last"), 0)
    items: list[list[int]] = [[]]
    for window in WINDOWS:
        if isinstance(window, str):
            values = recorded.sums(WINDOW, 4, 1, params.elements)
        else:
            size = (WINDOW, params.elements)
            values = rng.normal(0, 1, size) * (rng.random(size) >= ZEROS.get(window, 0))
        x, biases = normal(params.membrane_bits, values), normal(params.membrane_bits)
        rows = zip(x, normal(params.operand_bits), biases, strict=True)
        head = {"op": SCALE, "shift": SHIFT, "operand": CONSTANT, "digits": params.operand_bits} | marks
        items.append([params.i.pack(head | {"x": x, "constant": constant, "bias": bias}) for x, constant, bias in rows])
    warm_up = 8
    levels: Levels = {"o__ready": ready(rng, warm_up), "weight__valid": 0, "weight__payload": 0}
    streams = {"i": (offers(rng, warm_up, [*RATES, RECORDED_BLOCKS]), items)}

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        rows = [params.i.unpack(item) for item in taken["i"]]
        pairs = np.array([[row["x"], row["constant"]] for row in rows]).reshape(-1, 2, params.elements).tolist()
        digits = (len(signed_digits(constant)) for row in pairs for x, constant in zip(*row, strict=True) if x)
        return {"rows": len(rows), "additions": sum(digits)}

    return Stimulus(warm_up, levels, streams, counts)
