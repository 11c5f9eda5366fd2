"""Stimuli of parts of the attention unit: AND-popcount engine, count memory (ATTEND_KV), adders (ATTEND_Q), neurons."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import event_encoder
from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.neuron import LIF
from rtl.characterize import recorded
from rtl.characterize.moved import BUSY_CYCLES, START, packed, spikes_of
from rtl.characterize.stimuli import (
    BUSY,
    RATES,
    RECORDED,
    RECORDED_BLOCKS,
    STEPS,
    WINDOW,
    WINDOWS,
    Stimulus,
    offers,
    ready,
)
from rtl.units.attention_counts import event_layout
from rtl.units.attention_popcount import pair_layout
from rtl.units.attention_sums import addend_bits
from rtl.units.attention_walks import CONFIG
from rtl.units.neuron import block_layout

Levels = dict[str, int | Sequence[int]]
"""Inputs that are no stream."""

BLOCKS = {0.05: 1.0, 0.2: 0.75, 0.5: 0.5, RECORDED: 1.0}
"""Blocks of tokens of the AND-popcount engine in a window: of those that find room in it, so many."""

EVENTS = {0.05: 900, 0.2: 600, 0.5: 300, RECORDED: 600}
"""Events of K in a window, one a cycle."""

SEGMENT = 8
"""Channels of a head within a word."""

TOKENS = 16
"""Tokens of a block of count rows, and of the counts that are added."""

SPREAD = 40
"""Words from one to the next of those whose counts are added: tokens all over a map."""


EMPTY = {0.0: (0.0, 0.0), 0.05: (0.0, 0.75), 0.2: (0.5, 0.5), 0.5: (0.75, 0.0)}
"""Share of the groups of the neurons whose sums are all 0, by window, for every other point of their grid: what a block takes and
what its sums take could not be told apart if no window had other shares than the rest."""


def paired(chip: ChipParams) -> Stimulus:
    """Blocks of M words of K and V, each when the one before has left.

    Counted: pairs, spikes of both, and selections: cycles in which other P channels of V meet a word of K (none if P is M).
    """
    rng = np.random.default_rng(14)
    pair, size = pair_layout(AttentionParams(chip)), chip.columns
    period = size + size * chip.blocks + 4
    offers = np.zeros((len(WINDOWS), WINDOW), bool)
    items: list[list[int]] = [[], []]
    warm_up = 8
    for index, window in enumerate(WINDOWS[1:], 1):
        blocks = max(1, round(BLOCKS[window] * (BUSY_CYCLES // period)))
        words = spikes_of(rng, window, (2 * blocks * size, 1, size))[:, 0]
        rows = zip(packed(words[::2]), packed(words[1::2]), strict=True)
        items.append([
            pair.pack({"k": k, "v": v, "last": int(token % size == size - 1), "final": int(token == blocks * size - 1)})
            for token, (k, v) in enumerate(rows)
        ])
        for block in range(blocks):
            offers[index, START + block * period :][:size] = True
    levels: Levels = {"segment": min(SEGMENT, size)}

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        words = (item >> pair.offsets[name] & (1 << size) - 1 for item in taken["i"] for name in ("k", "v"))
        pairs, parts = len(taken["i"]), chip.blocks if chip.blocks > 1 else 0
        return {"pairs": pairs, "selections": pairs * parts, "spikes": sum(word.bit_count() for word in words)}

    return Stimulus(warm_up, levels, {"i": ([False] * warm_up + offers.ravel().tolist(), items)}, counts)


def counted(chip: ChipParams) -> Stimulus:
    """Events of K with the words of V in their heads, one a cycle.

    Counted: words of K, those without a spike, events with a channel (each reads and writes a row), spikes that are added.
    """
    rng = np.random.default_rng(15)
    params = AttentionParams(chip)
    layout, size, warm_up = event_layout(params), chip.columns, 8
    valid, events = [0] * (warm_up + WINDOW), [0] * (warm_up + WINDOW)
    seen: list[Mapping[str, int]] = [dict.fromkeys(("words", "empty_words", "channels", "additions"), 0)]
    for window in WINDOWS[1:]:
        words = spikes_of(rng, window, (2 * WINDOW, 1, size))[:, 0]
        groups = [_events(params, token, words[token], words[WINDOW + token]) for token in range(WINDOW)]
        found = [event for group in groups for event in group]
        given = found[: EVENTS[window]]
        idle = WINDOW - START - len(given)
        valid += [0] * START + [1] * len(given) + [0] * idle
        patterns = [layout.pack(event) for event in given]
        events += [patterns[0]] * START + patterns + [patterns[-1]] * idle
        begun = int((np.cumsum([0, *map(len, groups)])[:-1] < len(given)).sum())
        seen.append({
            "words": begun, "empty_words": sum(event["channel"] == 0 for event in given),
            "channels": sum(event["channel"] != 0 for event in given),
            "additions": sum(sum(event["addends"]) for event in given),
        })  # fmt: skip
    # One block's bits are read before the windows, so that what is shown of them is defined.
    find = [int(cycle == warm_up // 2) for cycle in range(len(valid))]
    levels: Levels = {"valid": valid, "event": events, "find__en": find}
    levels |= dict.fromkeys(
        ("find__block", "read__en", "read__row", "write__valid", "write__payload", "observe__en", "observe__block",
         "observe__channel"), 0,
    )  # fmt: skip
    return Stimulus(warm_up, levels, {}, lambda taken: {}, instructions=tuple(seen))


def _events(params: AttentionParams, token: int, key: NDArray[np.bool_], value: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The events of a token's word of K, or one without a channel: what each adds to its count row."""
    size = len(key)
    block = token // TOKENS % params.cleared.rows
    heads = np.arange(size) // min(SEGMENT, size)
    events: list[dict[str, Any]] = [
        {
            "channel": 1 << channel, "addends": (value & (heads == heads[channel])).astype(int).tolist(), "block": block,
            "row": block * size + channel,
        }
        for channel in np.flatnonzero(key).tolist()
    ] or [{"channel": 0, "addends": [0] * size, "block": block, "row": block * size}]  # fmt: skip
    events[-1]["last"] = int(token % TOKENS == TOKENS - 1)
    return events


def summed(chip: ChipParams) -> Stimulus:
    """Events of Q, and for each the counts K^T V of its channel, of `TOKENS` tokens; groups of four words.

    Counted: events, those with a channel, groups, counts added that are not 0.
    """
    rng = np.random.default_rng(16)
    params = AttentionParams(chip)
    array, size, bits = params.array, chip.columns, addend_bits(params)
    items: list[list[int]] = [[]]
    rows: list[list[int]] = [[]]
    for window in WINDOWS:
        words = spikes_of(rng, window, (WINDOW, 1, size))[:, 0]
        keys, values = words[::SPREAD][:TOKENS].astype(int), words[1::SPREAD][:TOKENS].astype(int)
        counts_of = keys.T @ values
        packed_rows = [sum(count << bits * column for column, count in enumerate(row)) for row in counts_of.tolist()]
        given, added = [], []
        for number, word in enumerate(packed(words)):
            for op, row, mask, last in event_encoder.reference([word], 0, 0, 0, int(number % 4 == 3)):
                given.append(array.i.pack({"op": op, "row": 0, "mask": mask, "last": last}))
                added.append(packed_rows[row] if mask else 0)
        items.append(given[:WINDOW])
        rows.append(added[:WINDOW])
    warm_up = 8

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        events = [array.i.unpack(item) for item in taken["i"]]
        # The answer to the last event may come in the next window.
        added = (row >> bits * column & (1 << bits) - 1 for row in taken["addends"] for column in range(size))
        return {
            "events": len(events), "channels": sum(event["mask"] != 0 for event in events),
            "groups": int(np.sum([event["last"] for event in events], dtype=int)), "additions": sum(count > 0 for count in added),
        }  # fmt: skip

    config = array.config.pack({"bank": 0, "blocks": size // chip.neurons, "steps": 1})
    levels: Levels = {"config": config, "o__ready": ready(rng, warm_up)}
    answers = {"addends": (["i__valid", "i__ready"], rows)}
    return Stimulus(warm_up, levels, {"i": (offers(rng, warm_up, BUSY), items)}, counts, answers)


def fired(chip: ChipParams) -> Stimulus:
    """Blocks of sums, none below 0, for LIF neurons, offered with the chance of the window. Counted: granules.

    Sums are normal with an eighth of the range, of some groups 0 (`EMPTY`), or of recorded spikes with random weights; a group is a
    time step of its position.
    """
    rng = np.random.default_rng(17)
    params = AttentionParams(chip).neuron
    half, payload = 1 << (params.membrane_bits - 1), block_layout(params)
    group = params.blocks * STEPS
    size = (-(-WINDOW // group), params.blocks, STEPS, params.neurons)
    place = (params.membrane_bits // 4 + params.neurons.bit_length()) % 2
    items: list[list[int]] = [[]]
    for window in WINDOWS:
        if isinstance(window, str):
            found = recorded.sums(size[0] * group, STEPS, params.blocks, params.neurons).reshape(size)
        else:
            found = rng.normal(0, 1, size) * (rng.random((size[0], 1, STEPS, 1)) >= EMPTY[window][place])
        whole = np.minimum(np.rint(np.abs(found) * half / 8), half - 1).astype(int).transpose(0, 2, 1, 3)
        items.append([
            payload.pack({"sums": sums, "block": index % params.blocks, "last": int(index % params.blocks == params.blocks - 1)})
            for index, sums in enumerate(whole.reshape(-1, params.neurons)[:WINDOW].tolist())
        ])
    warm_up = 8
    start = [int(cycle == 4) for cycle in range(warm_up + WINDOW * len(WINDOWS))]
    attend = CONFIG.pack({"steps": STEPS, "neuron": LIF, "threshold": half // 8})
    streams = {"i": (offers(rng, warm_up, [*RATES, RECORDED_BLOCKS]), items)}
    return Stimulus(warm_up, {"attend": attend, "start": start}, streams, lambda taken: {"granules": len(taken["i"])})
