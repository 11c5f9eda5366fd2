"""Stimulus of the whole normaliser, of which what is around its vector unit is measured: NORMALISE and WEIGH in every window."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.normaliser import NORMALISE_FIELDS, NormaliserParams, normalise_cycles, weigh_cycles
from archsim.contracts.vector import ALL_DIGITS, saturated
from rtl.characterize import recorded
from rtl.characterize.choices import ZEROS
from rtl.characterize.moved import CENTRE
from rtl.characterize.stimuli import RECORDED, STEPS, WINDOW, WINDOWS, Stimulus
from rtl.units.normaliser import NORMALISE, WEIGHT

ROOMS = {0.05: (480, 480), 0.2: (560, 400), 0.5: (720, 240), RECORDED: (480, 480)}
"""Cycles that NORMALISE and WEIGH have, by window."""

LEAD = 4
"""Cycles of an instruction's room before its start: it stands, as from the queue's decoding on."""

NORMALISED, WEIGHED = 0, 1
"""Cores whose rows the two instructions take."""

EXPERTS, DIGITS = 8, 2
"""Scores of a token of WEIGH, and digits of its probability."""

NONE = dict.fromkeys(("rows", "compared", "exponentials"), 0)
"""What is counted: rows that the vector unit takes, rows whose maximum is sought, rows that ask the table."""

Rows = NDArray[np.int64]


def normalised(chip: ChipParams) -> Stimulus:
    """Membranes normal with an eighth of the range, some 0, or sums of recorded spikes with random weights. Counted: `NONE`."""
    rng = np.random.default_rng(21)
    unit, half = NormaliserParams(chip).unit, 1 << (chip.membrane_bits - 1)
    entries = np.minimum(np.rint(np.exp(np.arange(1 << unit.table_bits) / 32) * 8), half - 1).astype(int).tolist()
    loads = [unit.i_weight.pack({"row": row, "data": entry}) for row, entry in enumerate(entries)]
    warm_up, counts = len(loads) + 8, [dict(NONE)]
    level: dict[str, list[int]] = {name: [0] * (warm_up + WINDOW) for name in ("normalise", "weigh", "weighs", "start")}
    answers: dict[str, list[list[int]]] = {name: [[], []] for name in ("residual0", "residual1", "psum1")}
    for number, window in enumerate(WINDOWS[1:], 2):
        first, second = ROOMS[window]
        norm, weigh = _norm(chip, first - LEAD), _weigh(chip, second - LEAD)
        sizes = norm["blocks"] * norm["words"], weigh["blocks"] * weigh["tokens"], weigh["rows"] * weigh["tokens"]
        x, scores, results = (_values(rng, chip, window, rows) for rows in sizes)
        answers["residual0"].append(_packed(chip, [*x, *x, *(centred := _centred(x, norm, chip)), *centred]))
        by_token = scores.reshape(weigh["tokens"], weigh["blocks"], -1)
        answers["residual1"].append(_packed(chip, [row for token in by_token for row in (*token, *token)]))
        answers["psum1"].append(_packed(chip, [*results]))
        for name, layout, fields in (("normalise", NORMALISE, norm), ("weigh", WEIGHT, weigh)):
            level[name] += [layout.pack({field.name: fields[field.name] for field in layout.fields})] * WINDOW
        level["weighs"] += [0] * first + [1] * (WINDOW - first)
        level["start"] += [int(cycle in (LEAD, first + LEAD)) for cycle in range(WINDOW)]
        rows = 4 * len(x) + 2 + len(scores) + weigh["tokens"] + len(results)
        counts.append({"rows": rows, "compared": len(scores), "exponentials": len(scores)})
        assert all(len(values) == warm_up + WINDOW * number for values in level.values())
    offers = [4 <= cycle < 4 + len(loads) for cycle in range(warm_up + WINDOW * len(WINDOWS))]
    ports = {f"read_{name[:-1]}__{name[-1]}": items for name, items in answers.items()}
    levels: dict[str, int | Sequence[int]] = {**level}
    others = (f"read_{name}__{core}" for name in ("residual", "psum") for core in range(chip.cores))
    levels |= {f"{port}__data": 0 for port in others if port not in ports}
    asked = {f"{port}__data": ([f"{port}__en"], items) for port, items in ports.items()}
    streams = {"write_table": (offers, [loads, *[[] for _ in WINDOWS]])}
    return Stimulus(warm_up, levels, streams, lambda taken: {}, asked, instructions=tuple(counts))


def rows_read(chip: ChipParams) -> tuple[list[list[int]], list[list[int]]]:
    """Rows that the banks answer in each window, in their order: those of NORMALISE, and those of WEIGH, of none in the first."""
    answers = {name: items[1:] for name, (_, items) in normalised(chip).answers.items()}
    residual, scores, results = (answers[f"read_{name}__data"] for name in ("residual__0", "residual__1", "psum__1"))
    weighed: list[list[int]] = [[]]
    for number, window in enumerate(WINDOWS[1:], 1):
        weigh = _weigh(chip, ROOMS[window][1] - LEAD)
        left, rows = iter(scores[number]), iter(results[number])
        weighed.append([])
        for _ in range(weigh["tokens"]):
            weighed[-1] += [*islice(left, 2 * weigh["blocks"]), *islice(rows, weigh["rows"])]
    return residual, weighed


def _values(rng: np.random.Generator, chip: ChipParams, window: float | str, rows: int) -> Rows:
    """Membranes of a window, [rows, P]."""
    half, size = 1 << (chip.membrane_bits - 1), (rows, chip.neurons)
    if isinstance(window, str):
        first = CENTRE * STEPS * chip.blocks
        found = recorded.sums(first + rows, STEPS, chip.blocks, chip.neurons)[first:]
    else:
        found = rng.normal(0, 1, size) * (rng.random(size) >= ZEROS.get(window, 0))
    return np.clip(np.rint(found * half / 8), -half, half - 1).astype(np.int64)


def _packed(chip: ChipParams, rows: Sequence[Any]) -> list[int]:
    """Rows of a bank."""
    bits = chip.membrane_bits
    return [sum((int(value) & (1 << bits) - 1) << bits * place for place, value in enumerate(row)) for row in rows]


def _centred(x: Rows, fields: Mapping[str, int], chip: ChipParams) -> list[list[int]]:
    """What CENTER makes of a token's rows."""
    total, size = int(x.sum()), x.size
    return [[saturated((size * int(v) - total) >> fields["center_shift"], chip.membrane_bits) for v in row] for row in x]


def _norm(chip: ChipParams, room: int) -> dict[str, int]:
    """A NORMALISE of one token that ends within ``room`` cycles, if every operand has as many digits as it can."""
    bits, unit, chosen = chip.membrane_bits, NormaliserParams(chip).unit, {}
    for words in range(1, 64):
        elements = words * chip.columns
        fields = {field.name: 0 for field in NORMALISE_FIELDS} | {
            "core": NORMALISED, "base": chip.residual_rows // 2, "tokens": 1, "steps": 1, "words": words, "word_rows": chip.blocks,
            "blocks": chip.blocks, "last_blocks": chip.blocks, "elements": elements, "center_shift": elements.bit_length(),
            "square_shift": bits - 5, "reciprocal_shift": bits, "scale_shift": bits // 2, "digits": ALL_DIGITS,
        }  # fmt: skip
        work = words * chip.blocks * (unit.operand_bits // 2 + 1)
        if normalise_cycles(fields, unit, work, work) > room:
            break
        chosen = fields
    assert chosen, f"{chip.neurons} neurons: no NORMALISE ends within {room} cycles"
    return chosen


def _weigh(chip: ChipParams, room: int) -> dict[str, int]:
    """A WEIGH of tokens of a word that ends within ``room`` cycles."""
    chosen: dict[str, int] = {}
    for tokens in range(1, 64):
        fields = {
            "core": WEIGHED, "score_base": 0, "score_token": 8, "tokens": tokens, "blocks": -(-EXPERTS // chip.neurons),
            "experts": EXPERTS, "offset": 127 << (shift := chip.membrane_bits - 8), "table_shift": shift, "reciprocal_shift": 15,
            "base": chip.psum_rows // 2, "token_rows": chip.blocks, "rows": chip.blocks, "scale_shift": 2, "digits": DIGITS,
        }  # fmt: skip
        if weigh_cycles(fields, tokens * chip.blocks * DIGITS) > room:
            break
        chosen = fields
    assert chosen, f"{chip.neurons} neurons: no WEIGH ends within {room} cycles"
    return chosen
