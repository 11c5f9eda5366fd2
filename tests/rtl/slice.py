"""Test support: one core with its queue in Verilog: its memories before a run, and what it left in them."""

from collections.abc import Mapping

import numpy as np

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.neuron import param_layout
from archsim.stepped import core as stepped
from archsim.units import core as fast
from archsim.units.sram import CoreMemory
from rtl.units.core import Core
from tests.rtl.engine import Engine
from tests.rtl.rows import bits, integers, load_inputs

WRITTEN = ("spike_out", "residual", "psum", "reduce")
"""Memories that instructions of a core write."""

READ = tuple(f"read_{name.removeprefix('spike_')}__data" for name in WRITTEN)
"""The outputs that show them."""


def fast_model(fields: Mapping[str, int], chip: ChipParams, memory: CoreMemory) -> int:
    """The fast simulator. A mapped sum over positions never overflows; these random ones wrap as in a row."""
    if fields["opcode"] == sequencer.PLANES:
        return fast.planes(fields, chip, memory)[0]
    return fast.synapse([fields], chip, [memory])[0]


def stepped_model(fields: Mapping[str, int], chip: ChipParams, memory: CoreMemory) -> int:
    """The cycle-stepped model."""
    if fields["opcode"] == sequencer.PLANES:
        return stepped.planes(fields, chip, memory)
    return stepped.synapse([fields], chip, [memory])


def retired(chip: ChipParams, memory: CoreMemory, dump: Mapping[str, np.ndarray]) -> CoreMemory:
    """The memory after a run, from the outputs over the cycles of ``dump_inputs``; ``memory`` is changed."""
    words = dump["read_out__data"][1 : 2 * chip.spike_out_rows + 1].reshape(2 * chip.spike_out_rows, -1)
    memory.spike_out[:] = integers(words, chip.columns, chip.lanes).reshape(memory.spike_out.shape)
    half = 1 << (chip.membrane_bits - 1)
    for name in ("residual", "psum", "reduce"):
        rows = getattr(memory, name)
        words = dump[f"read_{name}__data"][1 : len(rows) + 1].reshape(len(rows), -1)
        rows[:] = (integers(words, chip.membrane_bits, chip.neurons).astype(np.int64) + half) % (2 * half) - half
    return memory


def preload(chip: ChipParams, queue: np.ndarray, memory: CoreMemory) -> dict[str, np.ndarray]:
    """Inputs that write the queue and the memories, a row a cycle each; rows of 0 are left as they are at power-up."""
    param = [bits(memory.param[:, :, number], field.width) for number, field in enumerate(param_fields(chip))]
    data = {
        "program": bits(np.asarray(queue), 8),
        "write_spikes": bits(memory.spike_in, chip.columns),
        "write_out": bits(memory.spike_out, chip.columns),
        "write_weight": bits(memory.weight, chip.weight_bits),
        "write_param": np.concatenate(param, axis=-1),
        "write_residual": bits(memory.residual, chip.membrane_bits),
        "write_psum": bits(memory.psum, chip.membrane_bits),
        "write_reduce": bits(memory.reduce, chip.membrane_bits),
    }
    depths = {name: chip.queue_rows if name == "program" else contents.shape[-2] for name, contents in data.items()}
    return load_inputs(data, depths)


def dump_inputs(chip: ChipParams) -> dict[str, np.ndarray | int]:
    """Inputs that read every row of what a SYNAPSE writes; the answers come a cycle later."""
    cycle = np.arange(max(2 * chip.spike_out_rows, chip.residual_rows, chip.psum_rows, chip.reduce_rows) + 1)
    return {
        "read_out__en": 1, "read_out__bank": cycle // chip.spike_out_rows % 2, "read_out__row": cycle % chip.spike_out_rows,
        "read_residual__en": 1, "read_residual__row": cycle % chip.residual_rows,
        "read_psum__en": 1, "read_psum__row": cycle % chip.psum_rows,
        "read_reduce__en": 1, "read_reduce__row": cycle % chip.reduce_rows,
    }  # fmt: skip


def param_fields(chip: ChipParams):
    """Fields of a parameter row, in the order of :class:`CoreMemory`."""
    return param_layout(chip.neurons, chip.membrane_bits).fields


def written(memory: CoreMemory) -> dict[str, np.ndarray]:
    """What instructions of a core write."""
    return {name: getattr(memory, name) for name in WRITTEN}


CORE = Engine("core", Core, preload, dump_inputs, retired, written)
"""One core; it does not know its own number."""
