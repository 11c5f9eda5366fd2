"""Stimulus of the whole expert engine, of which what is around router and crossbars is measured.

In every window tokens of two cores are routed, sent to their experts' cores and brought back.
"""

from collections.abc import Sequence

import numpy as np

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.experts import ROUTE_FIELDS, TOPK_FIELDS, slot_shifts
from archsim.contracts.sequencer import COLLECT, DISPATCH, TOPK
from rtl.characterize import recorded
from rtl.characterize.choices import CHOICES
from rtl.characterize.moved import CENTRE, packed, spikes_of
from rtl.characterize.stimuli import RECORDED, STEPS, WINDOW, WINDOWS, Stimulus
from rtl.units.experts_reader import ROUTE
from rtl.units.experts_topk import TOPK as TOPK_LAYOUT

HOMES, EXPERTS = 2, 8
"""Cores that hold tokens, the first ones; experts, over all cores in turn."""

LOADS = {0.05: (8, 1), 0.2: (4, 4), 0.5: (4, 8), RECORDED: (6, 3)}
"""Tokens of each of these cores, and rows of a packet, by window."""

BLOCKS = 2
"""Rows of recorded sums of a position in a time step."""

COLLECTED = {0.05: 0, 0.2: 1, 0.5: 1, RECORDED: 0}
"""Whether COLLECT brings membranes back; else spikes."""

STARTS = {TOPK: (4, 104), DISPATCH: (204,), COLLECT: (504,)}
"""Cycles of a window in which its instructions start."""

NONE = dict.fromkeys(("choices", "entries", "flits"), 0)
"""What is counted: choices that are stored, entries of route tables that are read, rows and requests that enter a crossbar."""


def routed(chip: ChipParams) -> Stimulus:
    """Scores normal with an eighth of the range, or sums of recorded spikes; spikes of the window's rate. Counted: `NONE`."""
    rng = np.random.default_rng(22)
    warm_up, counts = 8, [dict(NONE)]
    level: dict[str, list[int]] = {name: [0] * (warm_up + WINDOW) for name in ("opcode", "topk", "route", "start")}
    reads: dict[str, list[list[int]]] = {
        f"read_{name}__{core}": [[], []] for name in ("out", "residual") for core in range(chip.cores)
    }
    for window in WINDOWS[1:]:
        tokens, rows = LOADS[window]
        half, score_rows = 1 << (chip.membrane_bits - 1), tokens * -(-EXPERTS // chip.neurons)
        for core in range(chip.cores):
            shape = (score_rows + WINDOW, chip.neurons)
            if isinstance(window, str):
                first = CENTRE * STEPS * BLOCKS
                found = recorded.sums(first + shape[0], STEPS, BLOCKS, shape[1])[first:]
            else:
                found = rng.normal(0, 1, shape)
            whole = np.clip(np.rint(found * half / 8), -half, half - 1).astype(np.int64) & 2 * half - 1
            membranes = [sum(value << chip.membrane_bits * place for place, value in enumerate(row)) for row in whole.tolist()]
            reads[f"read_residual__{core}"].append(membranes)
            spikes = spikes_of(rng, window, (WINDOW // 2, chip.lanes, chip.columns)).reshape(WINDOW // 2, -1)
            reads[f"read_out__{core}"].append(packed(spikes))
        for name, own in _levels(chip, window).items():
            level[name] += own
        choices = HOMES * tokens * CHOICES
        counts.append({"choices": choices, "entries": 2 * choices, "flits": choices * (2 * rows + 1)})
    others = (f"read_psum__{core}__data" for core in range(chip.cores))
    unused = (f"tables__{core}__{signal}" for core in range(chip.cores) for signal in ("en", "row"))
    levels: dict[str, int | Sequence[int]] = {**level, **dict.fromkeys((*others, *unused), 0)}
    answers = {f"{port}__data": ([f"{port}__en"], items) for port, items in reads.items()}
    return Stimulus(warm_up, levels, {}, lambda taken: {}, answers, instructions=tuple(counts))


def _levels(chip: ChipParams, window: float | str) -> dict[str, list[int]]:
    """The fields of a window's instructions, each from where the one before has ended, and their starts."""
    tokens, rows = LOADS[window]
    slot, other = slot_shifts(rows)
    nibbles = {name: sum(value << 4 * expert for expert, value in enumerate(values)) for name, values in {
        "place": [expert % chip.cores for expert in range(EXPERTS)], "region": [expert // chip.cores for expert in range(EXPERTS)],
    }.items()}  # fmt: skip
    route = dict.fromkeys((field.name for field in ROUTE_FIELDS), 0) | nibbles | {
        "cores": (1 << HOMES) - 1, "experts": EXPERTS, "region_shift": 6, "slot_shift": slot, "other_shift": other,
        "expert_base": 256, "home_token": CHOICES * rows, "home_choice": rows, "rows": rows,
    }  # fmt: skip
    topk = dict.fromkeys((field.name for field in TOPK_FIELDS), 0) | {
        "tokens": tokens, "blocks": (blocks := -(-EXPERTS // chip.neurons)), "score_token": blocks, "experts": EXPERTS,
        "choices": CHOICES,
    }  # fmt: skip
    starts = sorted((cycle, op, number) for op, cycles in STARTS.items() for number, cycle in enumerate(cycles))
    found: dict[str, list[int]] = {name: [] for name in ("opcode", "topk", "route", "start")}
    for index, (_, op, number) in enumerate(starts):
        begin = starts[index][0] - STARTS[TOPK][0] if index else 0
        room = (starts[index + 1][0] - STARTS[TOPK][0] if index + 1 < len(starts) else WINDOW) - begin
        found["opcode"] += [op] * room
        found["topk"] += [TOPK_LAYOUT.pack(topk | {"core": number, "first": int(number == 0)}) if op == TOPK else 0] * room
        moved = route | {"membranes": COLLECTED[window] if op == COLLECT else 0}
        found["route"] += [0 if op == TOPK else ROUTE.pack(moved)] * room
        found["start"] += [int(cycle == STARTS[TOPK][0]) for cycle in range(room)]
    return found

