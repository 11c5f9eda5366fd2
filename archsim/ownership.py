"""The rules of a program, proven before it runs: each bank has one owner at a time, every address exists, gangs agree.

Two instructions that touch one bank must be ordered by queues and semaphores, not by the luck of their durations. The proof walks
the program without time and carries, for every instruction, what is known to have ended when it starts (a vector clock).
"""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma, multicast, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.ownership import Bank, banks, fetched_half
from archsim.contracts.spike_fetch import ADDRESS_BITS
from archsim.contracts.spike_writer import pooled_size
from archsim.tensors import synapse_positions

Queues = Mapping[int, Sequence[Mapping[str, int]]]
Place = tuple[int, int]
"""An instruction: engine and index in its queue."""

_MEMBER_FIELDS = ("wait", "post", "columns", "param_base")
"""Fields in which the members of a gang may differ."""


def describe(bank: Bank) -> str:
    """A bank in words."""
    unit, number, memory, index = bank
    if unit == "queue":
        return f"{sequencer.engine_name(number)} {memory}[{index}]"
    return f"attention {memory}[{index}]" if unit == "attention" else f"{unit} {number} {memory}[{index}]"


def _name(place: Place, queues: Queues) -> str:
    engine, index = place
    return f"{sequencer.engine_name(engine)} instruction {index} ({sequencer.OPCODES[queues[engine][index]['opcode']]})"


def members(engine: int, head: Mapping[str, int], chip: ChipParams) -> list[int]:
    """Engines that execute an instruction together, the leader first."""
    if head["opcode"] != sequencer.SYNAPSE:
        return [engine]
    return [sequencer.CORE0 + core for core in range(chip.cores) if head["gang"] >> core & 1]


class _Proof:
    """Walks the queues in an order that the semaphores allow."""

    def __init__(self, chip: ChipParams, queues: Queues) -> None:
        self.chip, self.queues = chip, queues
        self.next = dict.fromkeys(queues, 0)
        self.clock = {engine: np.zeros(max(queues) + 1, np.int64) for engine in queues}
        self.posts: dict[Place, deque[NDArray[np.int64]]] = {}
        self.owner: dict[Bank, Place] = {}
        self.parts = {("queue", engine, "program", half): half for engine in queues for half in (0, 1)}

    def run(self) -> None:
        pending = deque(self.queues)
        while pending:
            engine = pending.popleft()
            while (woken := self._step(engine)) is not None:
                pending.extend(woken)

    def _head(self, engine: int) -> Mapping[str, int] | None:
        index = self.next[engine]
        return self.queues[engine][index] if index < len(self.queues[engine]) else None

    def _step(self, engine: int) -> list[int] | None:
        head = self._head(engine)
        if head is None:
            return None
        group = members(engine, head, self.chip)
        heads = []
        for member in group:
            other = self._head(member)
            if other is None or other["opcode"] != head["opcode"] or other.get("gang") != head.get("gang"):
                return None
            if any(not self.posts.get((producer, member)) for producer in _bits(other["wait"])):
                return None
            heads.append(other)
        self._check_gang(group, heads)
        clock = np.max([self.clock[member] for member in group], axis=0)
        for member, other in zip(group, heads, strict=True):
            for producer in _bits(other["wait"]):
                clock = np.maximum(clock, self.posts[producer, member].popleft())
        for member, other in zip(group, heads, strict=True):
            self._own(member, other, clock)
        for member in group:
            clock[member] = self.next[member] + 1
        woken = list(group)
        for member, other in zip(group, heads, strict=True):
            self.clock[member] = clock
            self.next[member] += 1
            for consumer in _bits(other["post"]):
                self.posts.setdefault((member, consumer), deque()).append(clock)
                woken.append(consumer)
        return woken

    def _own(self, engine: int, head: Mapping[str, int], clock: NDArray[np.int64]) -> None:
        """Take the banks of an instruction; raises ArchsimError if the last owner of one may still run."""
        place, rows = (engine, self.next[engine]), self.chip.queue_rows
        following = fetched_half(*place, rows)
        refilled = len(self.queues[engine]) >= rows  # HALT takes a row too
        if refilled and self.parts[following] != sequencer.part(self.next[engine] + 1, rows):
            raise ArchsimError(
                f"program: {_name(place, self.queues)} is followed by a part of its queue that {describe(following)} may not hold "
                "then; required a LOAD that brings it, ordered by semaphores"
            )
        if head["opcode"] == sequencer.LOAD and head["memory"] == dma.PROGRAM:
            self.parts[banks(engine, head)[0]] += 2
        for bank in (*banks(engine, head), following):
            last = self.owner.get(bank, place)
            if last[0] != engine and clock[last[0]] <= last[1]:
                raise ArchsimError(
                    f"program: {_name(place, self.queues)} touches {describe(bank)}, which {_name(last, self.queues)} may still "
                    "own; required a semaphore between them (ownership rule)"
                )
            self.owner[bank] = place

    def _check_gang(self, group: Sequence[int], heads: Sequence[Mapping[str, int]]) -> None:
        for member, head in zip(group, heads, strict=True):
            if head["opcode"] == sequencer.SYNAPSE and not head["gang"] >> (member - sequencer.CORE0) & 1:
                place = _name((member, self.next[member]), self.queues)
                raise ArchsimError(
                    f"program: {place}: required a gang that this core belongs to, given mask {head['gang']:#x}"
                )
            wrong = [name for name in head if name not in _MEMBER_FIELDS and head[name] != heads[0][name]]
            if wrong:
                raise ArchsimError(
                    f"program: {_name((member, self.next[member]), self.queues)}: the members of a gang must agree in all fields "
                    f"but {_MEMBER_FIELDS}; they differ in {wrong}"
                )


def prove(chip: ChipParams, queues: Queues, dram_bytes: int) -> None:
    """Prove a decoded program; raises ArchsimError naming the instructions and the bank of a violation.

    A program that deadlocks passes here: the run itself reports it.
    """
    for engine, queue in queues.items():
        for index, head in enumerate(queue):
            for memory, end, size in _extents(chip, head, dram_bytes):
                if end > size:
                    raise ArchsimError(
                        f"program: {_name((engine, index), queues)} reaches row {end - 1} of {memory}, "
                        f"but chip '{chip.name}' has {size} rows; map the network for this chip"
                    )
    _Proof(chip, queues).run()


def check_intervals(chip: ChipParams, queues: Queues, records: NDArray[np.void]) -> None:
    """Check that no two instructions of a run owned one bank at the same time; raises ArchsimError."""
    last: dict[Bank, tuple[int, Place]] = {}
    for engine, index, start, end in zip(
        *(records[name].tolist() for name in ("engine", "index", "start", "end")), strict=True
    ):
        for bank in (*banks(engine, queues[engine][index]), fetched_half(engine, index, chip.queue_rows)):
            busy, place = last.get(bank, (-1, (engine, index)))
            if start <= busy:
                raise ArchsimError(
                    f"run: {_name((engine, index), queues)} started in cycle {start}, while {_name(place, queues)} owned "
                    f"{describe(bank)} until {busy}"
                )
            last[bank] = end, (engine, index)


def _extents(chip: ChipParams, head: Mapping[str, int], dram_bytes: int) -> list[tuple[str, int, int]]:
    """(memory, end of the rows that an instruction reaches, rows that exist)."""
    opcode = head["opcode"]
    if opcode in (sequencer.LOAD, sequencer.STORE):
        reached = (*dma.LOADED, dma.PROGRAM) if opcode == sequencer.LOAD else dma.STORED
        if head["memory"] not in reached:
            raise ArchsimError(
                f"program: {sequencer.OPCODES[opcode]} reaches {dma.names(reached)}, given memory number "
                f"{head['memory']}"
            )
        (memory,) = dma.names([head["memory"]])
        stride = dma.row_beats(head["row_bytes"], chip.dram_bus_bytes) * chip.dram_bus_bytes
        rows = getattr(chip, f"{memory}_rows") if head["memory"] != dma.PROGRAM else chip.queue_rows // 2
        if head["memory"] == dma.PROGRAM and head["cores"] not in sequencer.engines(chip):
            raise ArchsimError(
                f"program: LOAD of the program memory of engine {head['cores']}: required one of {sequencer.engines(chip)}"
            )
        return [
            (memory, head["row"] + (head["rows"] - 1) * (1 + head["row_skip"]) + 1, rows),
            ("dram", head["dram_address"] + head["rows"] * stride, dram_bytes),
        ]
    if opcode in sequencer.COPIES:
        return _copy_extents(chip, head)
    if opcode == sequencer.PLANES:
        out = ("spike_out", head["out_base"] + head["planes"], chip.spike_out_rows)
        return [out, ("reduce", head["reduce_base"] + head["blocks"], chip.reduce_rows)]
    if opcode == sequencer.SYNAPSE:
        return _synapse_extents(chip, head)
    if opcode in (sequencer.TOPK, sequencer.DISPATCH, sequencer.COLLECT):
        return _experts_extents(chip, head)
    return _attend_extents(chip, head)


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


def _attend_extents(chip: ChipParams, head: Mapping[str, int]) -> list[tuple[str, int, int]]:
    slices, stop = head["steps"] // head["lanes"], head["first_word"] + head["words"]

    def rows(base: str, tokens: str, token_rows: str, words: str) -> int:
        return head[base] + (head[tokens] - 1) * head[token_rows] + (slices - 1) * head[words] + stop

    result = []
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


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
