"""Test support: a program by hand in which spikes of all engines are copied, transposed and masked, and read again."""

import numpy as np

from archsim.contracts import dma, neuron
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.program import Program
from archsim.contracts.sequencer import (
    ATTEND_KV,
    ATTEND_Q,
    ATTENTION,
    COPIES,
    CORE0,
    DMA,
    LOAD,
    MASK,
    MULTICAST,
    STORE,
    SYNAPSE,
    TRANSPOSE,
)
from mapping.data import DramImage, bits_to_bytes
from mapping.emit import Emitter
from tests.archsim.multicast_programs import random_instruction
from tests.rtl.attention_slice import attention_of
from tests.rtl.slice_programs import chip_of, convolution

ROWS = 64
"""Rows of each spike bank."""

SIZE = (6, 6)
"""Height and width of the maps: 36 rows."""

TOKENS = 9


def chip(name: str, lanes: int, columns: int, neurons: int) -> ChipParams:
    """A small chip of two cores with a transposer and a masker."""
    return chip_of(
        name, lanes=lanes, columns=columns, neurons=neurons, transposer=1, masker=1, weight_rows=columns, spike_in_rows=ROWS,
        spike_out_rows=ROWS, attention_rows=ROWS, count_rows=lanes * columns, residual_rows=16, psum_rows=16, reduce_rows=8,
        queue_rows=256, dram_burst_bytes=16,
    )  # fmt: skip


CHIPS = {"lanes_1": chip("moves_lanes_1", 1, 8, 4), "lanes_3": chip("moves_lanes_3", 3, 5, 5)}
"""One lane; three lanes of words of five channels."""


WHOLE = {"cores": 0, "base": 0, "base_outer": 1, "base_inner": 1, "source_base": 0, "source_outer": 1, "source_inner": 1}
"""Rows from 0 on, to the attention unit."""


class Moves:
    """Builds the program."""

    def __init__(self, chip: ChipParams, seed: int) -> None:
        self.chip, self.rng = chip, np.random.default_rng(seed)
        self.dram, self.tensors = DramImage(chip), {}
        self.emitter = Emitter(chip, self.dram)

    def emit(self, engine: int, opcode: int, fields: dict[str, int], **note) -> None:
        self.emitter.emit([engine], opcode, fields, [{"layer": 0, **note}])

    def load(self, core: int, memory: int, bank: int, rows: np.ndarray) -> None:
        """Rows, uint8 [rows, bytes], to a bank of a core."""
        self.emit(DMA, LOAD, {
            "dram_address": self.dram.add(rows), "memory": memory, "cores": 1 << core, "bank": bank, "rows": len(rows),
            "row_bytes": rows.shape[1],
        })  # fmt: skip

    def store(self, core: int, bank: int) -> None:
        """A map of an output bank to DRAM."""
        size = -(-self.chip.lanes * self.chip.columns // 8)
        self.emit(DMA, STORE, {
            "dram_address": self.dram.reserve(36, size), "memory": dma.SPIKE_OUT, "cores": 1 << core, "bank": bank, "rows": 36,
            "row_bytes": size,
        })  # fmt: skip

    def spikes(self) -> np.ndarray:
        """A random map, a row a position."""
        return bits_to_bytes(self.rng.integers(0, 2, (SIZE[0] * SIZE[1], self.chip.lanes * self.chip.columns)), 1)

    def fill(self, core: int) -> None:
        """Random weights, low thresholds and spikes."""
        chip, rng = self.chip, self.rng
        weights = rng.integers(-40, 60, (chip.columns, chip.columns))
        self.load(core, dma.WEIGHT, 0, bits_to_bytes(weights, chip.weight_bits))
        params = np.zeros((chip.blocks, 3, chip.neurons), np.int64)
        params[:, 1] = rng.integers(1, 40, params[:, 1].shape)
        widths = [field.width for field in neuron.param_layout(chip.neurons, chip.membrane_bits).fields]
        parts = [(params[:, number, :, None] >> np.arange(width)) & 1 for number, width in enumerate(widths)]
        bits = np.concatenate([part.reshape(chip.blocks, -1) for part in parts], axis=1).astype(np.uint8)
        self.load(core, dma.PARAM, 0, np.packbits(bits, axis=1, bitorder="little"))
        self.load(core, dma.SPIKE_IN, 0, self.spikes())

    def tensor(self, positions: int) -> dict:
        """A new map of one word a position, and the note of the instruction that writes it."""
        chip, name = self.chip, f"map{len(self.tensors)}"
        self.tensors[name] = {
            "positions": positions, "slices": 1, "words": 1, "steps": chip.lanes, "channels": chip.columns, "planes": 0,
        }  # fmt: skip
        return {"tensor": name, "position": 0, "positions": positions, "word": 0, "words": 1}

    def synapse(self, core: int, in_bank: int, out_bank: int) -> None:
        """A map of a core becomes another, in all lanes."""
        chip = self.chip
        fields = convolution(chip, SIZE, 1, timesteps=chip.lanes, gang=1 << core, neuron=neuron.IF_ZERO, spike_out=1,
                             in_bank=in_bank, out_bank=out_bank)  # fmt: skip
        fields |= dict.fromkeys((
            "weight_bank", "param_bank", "psum_in", "psum_out", "residual_in", "residual_out", "reduce"
        ), 0)  # fmt: skip
        self.emit(CORE0 + core, SYNAPSE, fields, **self.tensor(SIZE[0] * SIZE[1]))

    def move(self, opcode: int, sources, **fields: int) -> None:
        """A random instruction of the multicast from rows that hold something, to any."""
        drawn = random_instruction(self.chip, self.rng, SIZE[0] * SIZE[1], opcode)
        del drawn["opcode"]
        source, bank = sources[int(self.rng.integers(len(sources)))]
        if source == ATTENTION:
            drawn |= {"source_base": int(self.rng.integers(TOKENS)), "source_outer": 1, "source_inner": 1}
        self.emit(MULTICAST, opcode, drawn | {"source": source, "source_bank": bank} | fields)

    def attend(self) -> None:
        """Masked, transposed and copied rows become Q, K and V; what the attention fires lies in its bank 0."""
        sources = [(CORE0, 0), (CORE0 + 1, 0)]
        for opcode, bank, sizes in (
            (MASK, 0, {"outer": 1, "inner": TOKENS, "keep": 200}), (COPIES[0], 2, {"outer": TOKENS, "inner": 1}),
            (TRANSPOSE, 3, {"outer": TOKENS, "inner": self.chip.columns, "turned": 2}),
        ):  # fmt: skip
            self.move(opcode, sources, **(WHOLE | sizes | {"bank": bank}))
        whole = {"q_bank": 0, "q_base": 0, "out_bank": 0, "neuron": neuron.IF_ZERO, "threshold": 1}
        for opcode in (ATTEND_KV, ATTEND_Q):
            fields = attention_of(self.chip, opcode, TOKENS, self.chip.lanes, 1, **whole)
            del fields["opcode"]
            self.emit(ATTENTION, opcode, fields, **(self.tensor(TOKENS) if opcode == ATTEND_Q else {}))


def program(chip: ChipParams, seed: int, rounds: int = 3, moves: int = 6) -> Program:
    """Every core fills a map; rounds of random moves to the second input banks, and maps from there.

    Meanwhile the first input banks are loaded, and maps go to DRAM: DMA and multicast are at both banks of a core at a time.
    """
    made = Moves(chip, seed)
    for core in range(chip.cores):
        made.fill(core)
        made.synapse(core, 0, 0)
    made.attend()
    sources = [(engine, 0) for engine in (ATTENTION, *range(CORE0, CORE0 + chip.cores))]
    for _ in range(rounds):
        for core in range(chip.cores):
            made.load(core, dma.SPIKE_IN, 0, made.spikes())
        for opcode in (*COPIES, *made.rng.choice(COPIES, moves - len(COPIES)).tolist()):
            cores = int(made.rng.integers(1, 1 << chip.cores))
            made.move(opcode, sources, cores=cores, bank=1)
        for core in range(chip.cores):
            made.synapse(core, 0, 0)
            made.synapse(core, 1, 1)
            made.store(core, 1)
            made.move(COPIES[0], [(CORE0 + core, 0)], **WHOLE, outer=SIZE[0] * SIZE[1], inner=1, bank=1)
        sources = sorted({*sources, *((CORE0 + core, 1) for core in range(chip.cores))})
    notes = {
        "instructions": made.emitter.notes(), "tensors": made.tensors,
        "layers": [{"name": "moves", "kind": "moves", "macs": 0, "operand": "spikes"}],
    }  # fmt: skip
    return Program(chip, made.emitter.rows(), made.dram.content(), notes)
