"""Which rows an instruction reaches, for the proof of a program (``archsim.ownership``); refuses what no row could serve."""

from collections.abc import Mapping

from archsim.contracts import attention_softmax, core, dma, multicast, normaliser, sequencer
from archsim.contracts.attention_softmax import SoftmaxParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.spike_fetch import ADDRESS_BITS
from archsim.contracts.spike_writer import pooled_size
from archsim.tensors import synapse_positions


def extents(chip: ChipParams, head: Mapping[str, int], dram_bytes: int) -> list[tuple[str, int, int]]:
    """(memory, end of the rows that an instruction reaches, rows that exist)."""
    opcode = head["opcode"]
    if opcode in (sequencer.LOAD, sequencer.STORE):
        return _transfer_extents(chip, head, dram_bytes)
    if opcode in sequencer.COPIES:
        return _copy_extents(chip, head)
    if opcode == sequencer.PLANES:
        out = ("spike_out", head["out_base"] + head["planes"], chip.spike_out_rows)
        return [out, ("reduce", head["reduce_base"] + head["blocks"], chip.reduce_rows)]
    if opcode == sequencer.SYNAPSE:
        return _synapse_extents(chip, head)
    if opcode in (sequencer.TOPK, sequencer.DISPATCH, sequencer.COLLECT):
        return _experts_extents(chip, head)
    if opcode in (sequencer.NORMALISE, sequencer.WEIGH):
        return _normaliser_extents(chip, head)
    return _attend_extents(chip, head)


def _transfer_extents(chip: ChipParams, head: Mapping[str, int], dram_bytes: int) -> list[tuple[str, int, int]]:
    load, exponentials = head["opcode"] == sequencer.LOAD, head["bank"] == normaliser.TABLE_BANK
    tables = (dma.TABLE,) if (chip.normaliser_operand_bits if exponentials else chip.softmax_tokens) else ()
    reached = (*dma.LOADED, *tables, dma.PROGRAM) if load else dma.STORED
    if head["memory"] not in reached:
        raise ArchsimError(
            f"program: {sequencer.OPCODES[head['opcode']]} reaches {dma.names(reached, load)}, given memory number "
            f"{head['memory']}"
        )
    (memory,) = dma.names([head["memory"]], load)
    if head["memory"] == dma.PROGRAM and head["cores"] not in sequencer.engines(chip):
        raise ArchsimError(
            f"program: LOAD of the program memory of engine {head['cores']}: required one of {sequencer.engines(chip)}"
        )
    if memory == "table" and head["cores"]:
        owner = "normaliser" if exponentials else "attention unit"
        raise ArchsimError(f"program: LOAD of the table of the {owner}: cores must be 0, given {head['cores']:#x}")
    entries = 1 << chip.normaliser_table_bits if exponentials else SoftmaxParams(chip).table.rows
    special = {"program": chip.queue_rows // 2, "table": entries}
    rows = special[memory] if memory in special else getattr(chip, f"{memory}_rows")
    return [
        (memory, head["row"] + (head["rows"] - 1) * (1 + head["row_skip"]) + 1, rows),
        ("dram", dma.dram_bytes(head, chip.dram_bus_bytes).stop, dram_bytes),
    ]


def _copy_extents(chip: ChipParams, head: Mapping[str, int]) -> list[tuple[str, int, int]]:
    multicast.check(head, chip)
    last = _affine(head["source_base"], head["outer"], head["source_outer"], head["inner"], head["source_inner"])
    end = _affine(head["base"], head["outer"], head["base_outer"], multicast.written(head), head["base_inner"])
    source = "attention" if head["source"] == sequencer.ATTENTION else "spike_out"
    target = "spike_in" if head["cores"] else "attention"
    return [(name, rows, getattr(chip, f"{name}_rows")) for name, rows in ((source, last), (target, end))]


def _affine(base: int, outer: int, outer_stride: int, inner: int, inner_stride: int) -> int:
    return base + (outer - 1) * outer_stride + (inner - 1) * inner_stride + 1


def _synapse_extents(chip: ChipParams, head: Mapping[str, int]) -> list[tuple[str, int, int]]:
    core.check(head, chip)
    bottom = min(
        head["in_height"] - 1, head["in_y"] + (head["out_height"] - 1) * head["stride"] + head["kernel_height"] - 1
    )
    right = min(
        head["in_width"] - 1, head["in_x"] + (head["out_width"] - 1) * head["stride"] + head["kernel_width"] - 1
    )
    first = head["in_origin"] - head["in_y"] * head["y_stride"] - head["in_x"] * head["x_stride"]
    row = first % (1 << ADDRESS_BITS) + bottom * head["y_stride"] + right * head["x_stride"]
    positions, steps = head["out_height"] * head["out_width"], head["steps"] * (1 if head["planes"] else head["slices"])
    taps = head["kernel_height"] * head["kernel_width"]

    def plane(base: str, position: str, step: str) -> int:
        return head[base] + (positions - 1) * head[position] + (steps - 1) * head[step] + head["blocks"]

    weights = head["tap_rows"] * taps if head["tap_rows"] else head["words"] * chip.columns
    result = [
        ("spike_in", row + (head["slices"] - 1) * head["slice_stride"] + head["words"], chip.spike_in_rows),
        ("weight", head["weight_base"] + min(weights, taps * head["words"] * chip.columns), chip.weight_rows),
    ]
    if not head["psum_out"]:
        result.append(("param", head["param_base"] + head["blocks"], chip.param_rows))
    if head["psum_in"] or head["psum_out"]:
        result.append(("psum", plane("psum_base", "psum_position", "psum_step"), chip.psum_rows))
    for name in ("residual_in", "residual_out"):
        if head[name]:
            result.append(("residual", plane(f"{name}_base", "residual_position", "residual_step"), chip.residual_rows))
    if head["reduce"]:
        result.append(("reduce", head["reduce_base"] + head["blocks"], chip.reduce_rows))
    if head["spike_out"]:
        slices = chip.slices(steps)
        end = _affine(head["out_base"], synapse_positions(head), head["out_position"], slices, head["out_slice"])
        result.append(("spike_out", end, chip.spike_out_rows))
    if head["pool"]:
        granules = steps * head["blocks"]
        result += [
            ("pool columns", granules, chip.pool_steps * chip.blocks),
            (
                "pool lines",
                pooled_size(head["out_width"], head["pool_left_odd"]) * granules,
                chip.pool_rows * chip.blocks,
            ),
        ]
    return result


def _experts_extents(chip: ChipParams, head: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """What follows from the instruction alone; the rows of packets follow from the choices, and the engine checks them."""
    if head["opcode"] == sequencer.TOPK:
        scores = _affine(head["score_base"], head["tokens"], head["score_token"], head["blocks"], 1)
        memory = "psum" if head["psum"] else "residual"
        return [
            (memory, scores, getattr(chip, f"{memory}_rows")), ("cores", head["core"] + 1, chip.cores),
            ("route", head["entry"] + head["tokens"] * head["choices"], chip.route_rows),
        ]  # fmt: skip
    places = [head["place"] >> 4 * expert & 15 for expert in range(head["experts"])]
    return [
        ("cores", max(head["cores"].bit_length(), *places, 0), chip.cores),
        ("route", head["entry"] + 1, chip.route_rows),
    ]


def _normaliser_extents(chip: ChipParams, head: Mapping[str, int]) -> list[tuple[str, int, int]]:
    weighs = head["opcode"] == sequencer.WEIGH
    normaliser.check(head, chip, weighs)
    if weighs:
        return [
            ("residual", _affine(head["score_base"], head["tokens"], head["score_token"], head["blocks"], 1), chip.residual_rows),
            ("psum", _affine(head["base"], head["tokens"], head["token_rows"], head["rows"], 1), chip.psum_rows),
        ]  # fmt: skip
    first = _affine(head["base"], head["tokens"], head["token_rows"], head["steps"], head["step_rows"])
    last = (head["words"] - 1) * head["word_rows"] + head["last_blocks"]
    if head["words"] > 1:
        last = max(last, (head["words"] - 2) * head["word_rows"] + head["blocks"])
    return [("residual", first + last - 1, chip.residual_rows)]


def _attend_extents(chip: ChipParams, head: Mapping[str, int]) -> list[tuple[str, int, int]]:
    slices, stop = head["steps"] // head["lanes"], head["first_word"] + head["words"]

    def rows(base: str, tokens: str, token_rows: str, words: str) -> int:
        return head[base] + (head[tokens] - 1) * head[token_rows] + (slices - 1) * head[words] + stop

    result = []
    if head["opcode"] == sequencer.ATTEND_SOFTMAX:
        attention_softmax.check(head, chip)
        entries = head["table_base"] + head["tile"] * head["tokens"]
        result.append(("table", entries, SoftmaxParams(chip).table.rows))
    if head["opcode"] != sequencer.ATTEND_Q:
        result += [
            ("attention", rows(base, "tokens", "token_rows", "map_words"), chip.attention_rows)
            for base in ("k_base", "v_base")
        ]
    if head["opcode"] != sequencer.ATTEND_KV:
        result.append(("attention", rows("q_base", "tile", "token_rows", "map_words"), chip.attention_rows))
        result.append(("attention", rows("out_base", "tile", "out_token_rows", "out_words"), chip.attention_rows))
    if head["opcode"] in (sequencer.ATTEND_KV, sequencer.ATTEND_Q):
        blocks = head["count_base"] + (head["steps"] - 1) * head["count_step"] + head["words"] * head["head_words"]
        result.append(("count", blocks * chip.columns, chip.count_rows))
    return result
