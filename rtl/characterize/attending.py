"""Stimuli of the whole attention unit, of which parts are measured: instructions of several kinds in every window."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.attention import FIRST_ADD, FIRST_GATE, FIRST_SCORE, GATE_OVERHEAD, AttentionParams, kv_cycles
from archsim.contracts.attention_softmax import SoftmaxParams, softmax_cycles
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.core import drain, group_end
from archsim.contracts.multicast import Q0, K, V
from archsim.contracts.neuron import LIF
from archsim.contracts.sequencer import ATTEND_GATE, ATTEND_KV, ATTEND_Q, ATTEND_SCORES, ATTEND_SOFTMAX
from rtl.characterize.choices import KEEP
from rtl.characterize.moved import packed, spikes_of
from rtl.characterize.stimuli import RECORDED, WINDOW, WINDOWS, Stimulus
from rtl.units.attention_softmax import PAIRS
from rtl.units.attention_walks import CONFIG, spikes_write_layout
from rtl.units.neuron import row_write_layout

Words = NDArray[np.bool_]
"""Spikes of a window: [Q, K, V; token; lane; channel]."""

Rooms = Mapping[float | str, Mapping[int, int]]
"""Cycles that the instructions of a window have, by opcode, in their order."""

ROOMS: Rooms = {
    0.05: {ATTEND_KV: 280, ATTEND_Q: 130, ATTEND_SCORES: 330, ATTEND_GATE: 220},
    0.2: {ATTEND_KV: 240, ATTEND_Q: 240, ATTEND_SCORES: 240, ATTEND_GATE: 240},
    0.5: {ATTEND_KV: 300, ATTEND_Q: 300, ATTEND_SCORES: 140, ATTEND_GATE: 220},
    RECORDED: {ATTEND_KV: 240, ATTEND_Q: 240, ATTEND_SCORES: 240, ATTEND_GATE: 240},
}
"""Of a unit without a softmax: one instruction of each kind."""

FRACTIONS = {0.05: 4, 0.2: 8, 0.5: 12, RECORDED: 8}
"""Bits of the quotients of a window's ATTEND_SOFTMAX, the only instruction of a window of a unit that has it."""

SOFTMAX_ROOM = 960
"""Cycles that it has."""

LEAD = 4
"""Cycles of an instruction's room before its start: it stands, as from the queue's decoding on."""

BANKS = (Q0, K, V)
"""Banks whose words meet."""

TOKENS, FEW = 16, 4
"""Tokens whose words lie in the banks for a window; of them those of instructions that go by events, which take longer."""

SEGMENT = 8
"""Channels of a head."""

NONE = dict.fromkeys(("walked", "channels", "scores", "gates", "granules"), 0)
"""What is counted: words, or pairs of them, that meet, and rows of the second phase of ATTEND_GATE; channels of K and Q with a
spike; pairs of ATTEND_SCORES; both of ATTEND_GATE; granules."""


NO_SOFTMAX = dict.fromkeys(("pairs", "additions", "steps", "groups"), 0)
"""What is counted of ATTEND_SOFTMAX: pairs of tokens, entries that are added to a channel, bits of the quotients of a block,
groups."""


@dataclass(frozen=True)
class Made:
    """An instruction: its fields, its cycles by the contract's law, and what it counts for the simulator."""

    fields: Mapping[str, int]
    cycles: int
    counts: Mapping[str, int]


def attended(chip: ChipParams) -> Stimulus:
    """Instructions one behind the other; the steps of each are as many as find room, over the same rows. Counted: `NONE`."""
    rng = np.random.default_rng(20)
    loads, words = _loads(rng, chip)
    counts, programs = [dict(NONE)], []
    for rooms, (base, own) in zip(ROOMS.values(), words, strict=True):
        programs.append([(op, room, _fitting(chip, op, base, own, room - LEAD)) for op, room in rooms.items()])
        made = [entry.counts for _, _, entry in programs[-1]]
        counts.append({name: sum(one.get(name, 0) for one in made) for name in NONE})
    warm_up = len(loads) + 8
    streams = {"write_spikes": _before(loads)}
    return Stimulus(warm_up, _levels(warm_up, programs), streams, lambda taken: {}, instructions=tuple(counts))


def weighted(chip: ChipParams) -> Stimulus:
    """An ATTEND_SOFTMAX a window, of as many steps as find room; entries of the table are random. Counted: `NO_SOFTMAX`."""
    rng = np.random.default_rng(23)
    loads, words = _loads(rng, chip)
    bank, counts, programs = SoftmaxParams(chip).table, [dict(NO_SOFTMAX)], []
    for fraction, (base, own) in zip(FRACTIONS.values(), words, strict=True):
        made = longest(_windows(chip, fraction, base, own), SOFTMAX_ROOM - LEAD)
        programs.append([(ATTEND_SOFTMAX, SOFTMAX_ROOM, made)])
        counts.append({**made.counts})
    entries = rng.integers(257, 1 << 16, TOKENS).tolist()
    table = [row_write_layout(bank).pack({"row": row, "data": entry}) for row, entry in enumerate(entries)]
    warm_up = len(loads) + 8
    levels = _levels(warm_up, programs)
    pairs = [0] * (warm_up + WINDOW)
    for ((_, _, made),) in programs:
        pairs += [PAIRS.pack({name: made.fields[name] for name in PAIRS.by_name})] * WINDOW
    levels |= {"pairs": pairs, "read_scores__en": 0, "read_scores__row": 0}
    streams = {"write_spikes": _before(loads), "write_table": _before(table)}
    return Stimulus(warm_up, levels, streams, lambda taken: {}, instructions=tuple(counts))


def _loads(rng: np.random.Generator, chip: ChipParams) -> tuple[list[int], list[tuple[int, Words]]]:
    """Rows for the banks; first row and words of each window but the first."""
    layout, loads, found = spikes_write_layout(AttentionParams(chip)), [], []
    for number, window in enumerate(WINDOWS[1:]):
        base = number * (chip.attention_rows // (len(WINDOWS) - 1))
        words = spikes_of(rng, window, (len(BANKS) * TOKENS, chip.lanes, chip.columns)).reshape(len(BANKS), TOKENS, chip.lanes, -1)
        for bank, rows in zip(BANKS, words, strict=True):
            loads += [layout.pack({"bank": bank, "row": base + row, "data": packed(lanes)}) for row, lanes in enumerate(rows)]
        found.append((base, words))
    return loads, found


def _before(loads: list[int]) -> tuple[list[bool], list[list[int]]]:
    """A stream of rows that are written before the first window."""
    offers = [4 <= cycle < 4 + len(loads) for cycle in range(TOKENS * len(BANKS) * len(WINDOWS) + WINDOW * len(WINDOWS))]
    return offers, [loads, *[[] for _ in WINDOWS]]


def _levels(warm_up: int, programs: Sequence[Sequence[tuple[int, int, Made]]]) -> dict[str, int | Sequence[int]]:
    """Inputs of the unit that are no stream: ``programs`` has opcode, room and instruction of each window but the first."""
    config, opcode, start = ([0] * (warm_up + WINDOW) for _ in range(3))
    nothing = dict.fromkeys(CONFIG.by_name, 0)
    for number, program in enumerate(programs, 2):
        for op, room, made in program:
            config += [CONFIG.pack(nothing | {name: made.fields[name] for name in nothing if name in made.fields})] * room
            opcode += [op] * room
            start += [int(cycle == LEAD) for cycle in range(room)]
        for level in (config, opcode, start):
            level += [0] * (warm_up + WINDOW * number - len(level))
    unused = [f"{port}__{signal}" for port in ("write_out", "write_counts") for signal in ("valid", "payload")]
    unused += ["read_out__en", "read_out__bank", "read_out__row", *(f"read_counts__{name}" for name in ("en", "block", "channel"))]
    return {"config": config, "opcode": opcode, "start": start, **dict.fromkeys(unused, 0)}


def _fitting(chip: ChipParams, opcode: int, base: int, words: Words, room: int) -> Made:
    """The longest instruction that ends within ``room`` cycles; where none does, of half the tokens."""
    few = FEW
    while next(_growing(chip, opcode, base, words, few)).cycles > room:
        few //= 2
    return longest(_growing(chip, opcode, base, words, few), room)


def longest(growing: Iterable[Made], room: int) -> Made:
    """The last of growing instructions that ends within ``room`` cycles."""
    chosen = None
    for made in growing:
        if made.cycles > room:
            break
        chosen = made
    assert chosen, f"no instruction ends within {room} cycles"
    return chosen


def _growing(chip: ChipParams, opcode: int, base: int, words: Words, few: int) -> Iterator[Made]:
    """Instructions with more and more steps: those of the rows' lanes, again and again; ``few`` tokens where they go by events."""
    common = _common(chip, base) | {"count_base": base // chip.columns % (chip.count_rows // chip.columns), "blocks": chip.blocks}
    events = words.sum(axis=-1).transpose(0, 2, 1)  # bank, lane, token
    q, k = (np.maximum(1, events[bank, :, :few]) for bank in (BANKS.index(Q0), BANKS.index(K)))
    for rounds in range(1, 256 // chip.lanes):
        steps = rounds * chip.lanes
        if opcode == ATTEND_KV:
            sizes, cycles = {"tokens": few}, kv_cycles(rounds * int(k.sum()))
            counts = {"walked": steps * few, "channels": rounds * int(events[1, :, :few].sum())}
        elif opcode == ATTEND_Q:
            sizes, cycles = {"tile": few, "tokens": few}, _groups(chip, FIRST_ADD, np.tile(q.T, rounds).ravel())
            channels = rounds * int(events[0, :, :few].sum())
            counts = {"walked": steps * few, "channels": channels, "granules": steps * few * chip.blocks}
        elif opcode == ATTEND_SCORES:
            sizes, cycles = {"tile": 1, "tokens": TOKENS}, _groups(chip, FIRST_SCORE, np.full(steps, TOKENS))
            counts = {"walked": steps * TOKENS, "scores": steps * TOKENS, "granules": steps * chip.blocks}
        else:
            sizes, rows = {"tile": TOKENS, "tokens": TOKENS}, rounds * TOKENS
            cycles = _groups(chip, FIRST_GATE, np.full(steps, TOKENS)) + rows + GATE_OVERHEAD
            counts = {"walked": steps * TOKENS + rows, "gates": steps * TOKENS + rows, "granules": steps * chip.blocks}
        yield Made(common | sizes | {"steps": steps}, cycles, counts)


def _common(chip: ChipParams, base: int) -> dict[str, int]:
    """Fields of every instruction over the rows at ``base``."""
    return {
        "q_base": base, "k_base": base, "v_base": base, "lanes": chip.lanes, "token_rows": 1, "words": 1, "head_words": 1,
        "segment": min(SEGMENT, chip.columns), "neuron": LIF, "threshold": SEGMENT // 4, "out_base": base, "out_token_rows": 1,
    }  # fmt: skip


def _windows(chip: ChipParams, fraction: int, base: int, words: Words) -> Iterator[Made]:
    """ATTEND_SOFTMAX of a token of Q and the keys of a window, with more and more steps."""
    segment = min(max(SEGMENT, chip.neurons), chip.columns)
    blocks = segment // chip.neurons
    fields = _common(chip, base) | dict.fromkeys(PAIRS.by_name, 0) | {
        "tile": 1, "tokens": TOKENS, "segment": segment, "blocks": blocks, "score_threshold": 2, "seed": 1, "keep": KEEP,
        "fraction": fraction,
    }  # fmt: skip
    added = int(words[BANKS.index(V), :, :, : fields["segment"]].sum())
    for rounds in range(1, 256 // chip.lanes):
        steps = rounds * chip.lanes
        cycles, _ = softmax_cycles(TOKENS, steps, blocks, fraction)
        counts = {"pairs": steps * TOKENS, "additions": rounds * added, "steps": steps * blocks * (fraction + 1), "groups": steps}
        yield Made(fields | {"steps": steps}, cycles, counts)


def _groups(chip: ChipParams, first: int, cycles: NDArray[np.int64]) -> int:
    """Cycles of an instruction whose groups take ``cycles``, by the law of groups."""
    handover, taken = first, 0
    for own in cycles.tolist():
        handover, taken = group_end(handover, taken, own, chip.blocks)
    return taken + drain(0)
