"""Which banks an instruction owns between its start and its end."""

from collections.abc import Mapping

from archsim.contracts import dma, normaliser, sequencer

Bank = tuple[str, int, str, int]
"""A bank: ("core", core, memory, number), ("attention", 0, memory, number), ("experts", core, table, 0),
("normaliser", 0, "table", 0), or ("queue", engine, "program", half)."""


TABLE: Bank = ("attention", 0, "table", 0)
"""The entries of ATTEND_SOFTMAX."""

EXPONENTIALS: Bank = ("normaliser", 0, "table", 0)
"""The entries of WEIGH."""


def core_banks(mask: int, memory: str, number: int = 0) -> list[Bank]:
    """The bank ``number`` of a memory in every core of a mask."""
    return [("core", core, memory, number) for core in range(mask.bit_length()) if mask >> core & 1]


def fetched_half(engine: int, index: int, rows: int) -> Bank:
    """The half of a program memory of ``rows`` rows that holds the instruction behind ``index``, which reads it at its end."""
    return "queue", engine, "program", sequencer.part(index + 1, rows) % 2


def banks(engine: int, fields: Mapping[str, int]) -> list[Bank]:
    """Banks of the decoded instruction ``fields`` in the queue of ``engine``; of a gang, those of this member."""
    opcode = fields["opcode"]
    if opcode in (sequencer.LOAD, sequencer.STORE):
        if fields["memory"] == dma.PROGRAM:
            return [("queue", fields["cores"], "program", fields["bank"])]
        if opcode == sequencer.LOAD and fields["memory"] == dma.TABLE:
            return [EXPONENTIALS if fields["bank"] == normaliser.TABLE_BANK else TABLE]
        double = fields["memory"] in dma.BANKED
        return core_banks(fields["cores"], dma.MEMORIES[fields["memory"]], fields["bank"] if double else 0)
    if opcode in sequencer.COPIES:
        return _copy_banks(fields)
    if opcode in (sequencer.SYNAPSE, sequencer.PLANES):
        return _core_banks(engine - sequencer.CORE0, fields)
    if opcode == sequencer.HALT:
        return []
    if opcode in (sequencer.TOPK, sequencer.DISPATCH, sequencer.COLLECT):
        return _experts_banks(fields)
    if opcode in (sequencer.NORMALISE, sequencer.WEIGH):
        own = core_banks(1 << fields["core"], "residual")
        return own if opcode == sequencer.NORMALISE else [*own, *core_banks(1 << fields["core"], "psum"), EXPONENTIALS]
    return _attend_banks(fields)


def _copy_banks(fields: Mapping[str, int]) -> list[Bank]:
    if fields["source"] == sequencer.ATTENTION:
        source: Bank = ("attention", 0, "out", fields["source_bank"])
    else:
        source = ("core", fields["source"] - sequencer.CORE0, "spike_out", fields["source_bank"])
    targets = core_banks(fields["cores"], "spike_in", fields["bank"])
    return [source, *(targets or [("attention", 0, "spikes", fields["bank"])])]


def _core_banks(core: int, fields: Mapping[str, int]) -> list[Bank]:
    own = 1 << core
    if fields["opcode"] == sequencer.PLANES:
        return core_banks(own, "reduce") + core_banks(own, "spike_out", fields["out_bank"])
    used = core_banks(own, "weight", fields["weight_bank"])
    if fields["gang"] & -fields["gang"] == own:
        used += core_banks(own, "spike_in", fields["in_bank"])
    if not fields["psum_out"]:
        used += core_banks(own, "param", fields["param_bank"])
    if fields["psum_in"] or fields["psum_out"]:
        used += core_banks(own, "psum")
    if fields["residual_in"] or fields["residual_out"]:
        used += core_banks(own, "residual")
    if fields["reduce"]:
        used += core_banks(own, "reduce")
    if fields["spike_out"]:
        used += core_banks(own, "spike_out", fields["out_bank"])
    return used


def _experts_banks(fields: Mapping[str, int]) -> list[Bank]:
    if fields["opcode"] == sequencer.TOPK:
        table: Bank = ("experts", fields["core"], "routes", 0)
        return [table, *core_banks(1 << fields["core"], "psum" if fields["psum"] else "residual")]
    homes, cores = fields["cores"], 0
    for expert in range(fields["experts"]):
        cores |= 1 << (fields["place"] >> 4 * expert & 15)
    tables = _tables(homes, "routes")
    if fields["opcode"] == sequencer.COLLECT:
        tables += _tables(cores, "replies")
        if fields["membranes"]:
            return [*tables, *core_banks(cores, "residual"), *core_banks(homes, "psum")]
    sources, targets = (homes, cores) if fields["opcode"] == sequencer.DISPATCH else (cores, homes)
    moved = core_banks(sources, "spike_out", fields["source_bank"]) + core_banks(targets, "spike_in", fields["bank"])
    return tables + moved


def _tables(mask: int, table: str) -> list[Bank]:
    """A table of the expert engine for every core of a mask; only its queue ever owns them."""
    return [("experts", core, table, 0) for _, core, _, _ in core_banks(mask, table)]


def _attend_banks(fields: Mapping[str, int]) -> list[Bank]:
    opcode = fields["opcode"]
    keys: list[Bank] = [("attention", 0, "spikes", 2), ("attention", 0, "spikes", 3)]
    counts: list[Bank] = [("attention", 0, "counts", 0)]
    out: list[Bank] = [("attention", 0, "spikes", fields["q_bank"]), ("attention", 0, "out", fields["out_bank"])]
    if opcode == sequencer.ATTEND_KV:
        return keys + counts
    if opcode == sequencer.ATTEND_SOFTMAX:
        return [*out, *keys, TABLE, ("attention", 0, "scores", 0)]
    return out + (counts if opcode == sequencer.ATTEND_Q else keys)
