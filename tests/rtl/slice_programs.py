"""Test support: programs of SYNAPSE and PLANES instructions for one core, and random contents of its memories."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.core import PLANES_FIELDS
from archsim.contracts.neuron import NONE
from archsim.contracts.spike_fetch import ADDRESS_BITS
from archsim.units.sram import CoreMemory


def chip_of(name: str, **sizes: int) -> ChipParams:
    """A small chip of two cores; ``sizes`` replace its parameters."""
    values = {
        "cores": 2, "lanes": 1, "columns": 8, "neurons": 4, "weight_bits": 8, "membrane_bits": 16, "weight_rows": 256,
        "param_rows": 16, "spike_in_rows": 512, "spike_out_rows": 512, "residual_rows": 1024, "psum_rows": 1024,
        "reduce_rows": 8, "attention_rows": 16, "count_rows": 16, "count_bits": 8, "dram_bus_bytes": 8,
        "dram_latency_cycles": 10, "dram_burst_bytes": 64, "dram_outstanding": 2, "queue_rows": 32,
    }  # fmt: skip
    return ChipParams(name=name, clock_mhz=100.0, **values | sizes)


def random_words(
    rng: np.random.Generator, shape: tuple[int, ...], columns: int, density: float, empty: float, full: float = 0.0
) -> NDArray[np.uint64]:
    """Words of random spikes of a density, but for shares of ``empty`` and of ``full`` ones."""
    spikes, kinds = rng.random((*shape, columns)) < density, rng.random(shape)
    spikes[kinds < empty] = False
    spikes[kinds > 1 - full] = True
    return (spikes * (np.uint64(1) << np.arange(columns, dtype=np.uint64))).sum(axis=-1, dtype=np.uint64)


def random_memory(chip: ChipParams, seed: int, density: float = 0.3) -> CoreMemory:
    """Memories full of random rows: spikes of a density, weights of all values, parameters near what sums reach."""
    rng = np.random.default_rng(seed)
    memory = CoreMemory.empty(chip)
    for bank in (memory.spike_in, memory.spike_out):
        bank[:] = random_words(rng, bank.shape, chip.columns, density, empty=0.2)
    half = 1 << (chip.weight_bits - 1)
    memory.weight[:] = rng.integers(-half, half, memory.weight.shape)
    reach = min(4 * half, (1 << (chip.membrane_bits - 1)) - 1)
    memory.param[:, :, 0] = rng.integers(-reach, reach, memory.param[:, :, 0].shape)
    memory.param[:, :, 1] = rng.integers(1, reach, memory.param[:, :, 1].shape)
    memory.param[:, :, 2] = rng.integers(-1, 4, memory.param[:, :, 2].shape)
    for rows in (memory.residual, memory.psum, memory.reduce):
        rows[:] = rng.integers(-reach, reach, rows.shape)
    return memory


def convolution(
    chip: ChipParams,
    size: tuple[int, int],
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    channels: int | None = None,
    timesteps: int = 1,
    **fields: int,
) -> dict[str, int]:
    """Fields of a convolution of a whole map of ``size`` that begins at row 0; ``fields`` replace or add."""  # fmt: skip
    height, width = size
    words = -(-(channels or chip.columns) // chip.columns)
    slices, lanes = chip.slices(timesteps), chip.lanes_used(timesteps)
    x_stride, blocks = slices * words, chip.blocks
    tile = {
        "in_origin": -padding * (width + 1) * x_stride % (1 << ADDRESS_BITS), "in_y": -padding, "in_x": -padding,
        "in_height": height, "in_width": width, "y_stride": width * x_stride, "x_stride": x_stride,
        "slice_stride": words, "slices": slices, "words": words, "kernel_height": kernel, "kernel_width": kernel,
        "stride": stride, "out_height": (height + 2 * padding - kernel) // stride + 1,
        "out_width": (width + 2 * padding - kernel) // stride + 1, "tap_rows": words * chip.columns,
        "columns": chip.columns, "blocks": blocks, "steps": lanes, "neuron": NONE,
        "psum_position": timesteps * blocks, "psum_step": blocks, "residual_position": timesteps * blocks,
        "residual_step": blocks, "out_position": slices, "out_slice": 1, "lanes": lanes,
    }  # fmt: skip
    return tile | fields


def planes_of(chip: ChipParams, size: tuple[int, int], planes: int, steps: int, **fields: int) -> dict[str, int]:
    """Fields of a 3x3 convolution, padding 1, of a map of bit planes; with ``steps`` above 1 its sum is replayed."""
    slices = chip.slices(steps)
    tile = convolution(chip, size, 3, padding=1, timesteps=1) | {
        "in_origin": -(size[1] + 1) * planes % (1 << ADDRESS_BITS), "y_stride": size[1] * planes, "x_stride": planes,
        "slice_stride": 1, "slices": planes, "planes": 1, "signed": 1, "steps": steps, "replay": int(steps > 1),
        "psum_position": steps * chip.blocks, "residual_position": steps * chip.blocks, "out_position": slices,
        "lanes": chip.lanes_used(steps),
    }  # fmt: skip
    return tile | fields


def queue_of(instructions: Sequence[Mapping[str, int]]) -> np.ndarray:
    """A queue of instructions (``opcode``, by default SYNAPSE, ``wait`` and ``post`` among their fields) and HALT.

    Returns uint8 [rows, bytes].
    """
    rows = []
    for instruction in instructions:
        fields = dict(instruction)
        opcode, wait, post = fields.pop("opcode", sequencer.SYNAPSE), fields.pop("wait", 0), fields.pop("post", 0)
        rows.append(sequencer.encode(opcode, fields, wait, post))
    rows.append(sequencer.encode(sequencer.HALT, {}))
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)


def random_planes(chip: ChipParams, rng: np.random.Generator) -> dict[str, int]:
    """A PLANES with any fields whose rows exist; now and then as wide as its field allows."""
    limits = {"planes": (1, 64), "right_shift": (0, 32)} if rng.random() < 0.2 else {
        "planes": (1, chip.membrane_bits + 1), "right_shift": (0, chip.membrane_bits)
    }  # fmt: skip
    limits |= {"blocks": (1, chip.blocks + 1), "out_bank": (0, 2), "out_base": (0, chip.spike_out_rows - 63)}
    limits["reduce_base"] = (0, chip.reduce_rows - chip.blocks + 1)
    return {field.name: int(rng.integers(*limits[field.name])) for field in PLANES_FIELDS} | {
        "opcode": sequencer.PLANES
    }


def pool_fits(chip: ChipParams, fields: Mapping[str, int]) -> bool:
    """Whether the pool's memories hold the granules of a position and of a pooled row."""
    granules = fields["steps"] * fields["blocks"] * (1 if fields.get("planes") else fields["slices"])
    lines = (fields["out_width"] + 1) // 2 * granules
    return granules <= chip.pool_steps * chip.blocks and lines <= chip.pool_rows * chip.blocks


def random_instruction(chip: ChipParams, rng: np.random.Generator) -> dict[str, int]:
    """A SYNAPSE, or a PLANES, at random."""
    if rng.random() < 0.15:
        return random_planes(chip, rng)
    return random_synapse(chip, rng) | {"opcode": sequencer.SYNAPSE}


def random_synapse(chip: ChipParams, rng: np.random.Generator) -> dict[str, int]:
    """A SYNAPSE with any geometry whose rows exist: convolutions, planes, and windows far off the map."""
    while True:
        size = tuple(rng.integers(1, 7, 2).tolist())
        kernel, stride, padding = (int(rng.integers(low, high)) for low, high in ((1, 5), (1, 4), (0, 6)))
        if min(size) + 2 * padding < kernel:
            continue
        if rng.random() < 0.3:
            fields = planes_of(chip, size, int(rng.integers(1, 5)), int(rng.choice([1, 2, 4, 6])), replay=1)
            fields["signed"] = int(rng.integers(2))
        else:
            words, timesteps = int(rng.integers(1, 3)), int(rng.choice([1, 2, 4, 6]))
            fields = convolution(chip, size, kernel, stride, padding, words * chip.columns, timesteps)
            if rng.random() < 0.5:
                fields |= _odd_window(chip, rng, fields)
        fields |= _random_neurons(chip, rng)
        positions = fields["out_height"] * fields["out_width"]
        rows = (fields[name] for name in ("residual_position", "psum_position", "out_position"))
        weights = fields["kernel_height"] * fields["kernel_width"] * max(fields["tap_rows"], 1)
        spikes = fields["in_height"] * fields["y_stride"]
        if fields["pool"] and not pool_fits(chip, fields):
            continue
        if weights <= chip.weight_rows and spikes <= chip.spike_in_rows and all(positions * row <= 500 for row in rows):
            return fields


def _odd_window(chip: ChipParams, rng: np.random.Generator, fields: Mapping[str, int]) -> dict[str, int]:
    """Changes to ``fields``: any kernel, stride and origin, over the same map."""
    height, width, y, x = (int(rng.integers(*limits)) for limits in ((1, 16), (1, 60), (-40, 10), (-80, 10)))
    tap_rows = chip.columns * fields["words"]
    return {
        "kernel_height": height, "kernel_width": width, "stride": int(rng.integers(1, 8)), "in_y": y, "in_x": x,
        "in_origin": (y * fields["y_stride"] + x * fields["x_stride"]) % (1 << ADDRESS_BITS),
        "out_height": int(rng.integers(1, 5)), "out_width": int(rng.integers(1, 12)),
        "tap_rows": tap_rows if height * width * tap_rows <= chip.weight_rows else 0,
    }  # fmt: skip


def _random_neurons(chip: ChipParams, rng: np.random.Generator) -> dict[str, int]:
    """Fields behind the synapse array, at random; a partial sum that is stored has no other effect."""
    flags = ("psum_in", "residual_in", "residual_out", "spike_out", "in_bank", "out_bank", "weight_bank", "param_bank")
    fields = {name: int(rng.integers(2)) for name in flags} | {"neuron": int(rng.integers(4))}
    fields["blocks"] = int(rng.integers(1, chip.blocks + 1))
    if rng.random() < 0.3:
        room = chip.reduce_rows - fields["blocks"]
        fields |= {"reduce": 1, "reduce_first": int(rng.integers(2)), "reduce_base": int(rng.integers(room + 1))}
    if chip.residual_maximum:
        fields["maximum"] = int(rng.random() < 0.5)
    fields["pool"] = int(rng.random() < 0.4)
    fields |= {name: int(rng.random() < 0.4) for name in ("pool_first_odd", "pool_left_odd")}
    if rng.random() < 0.15:
        fields |= {"psum_out": 1, "residual_in": 0, "residual_out": 0, "spike_out": 0, "neuron": NONE}
    fields |= {"psum_base": int(rng.integers(500)), "param_base": int(rng.integers(chip.param_rows - chip.blocks))}
    return fields | {"residual_out_base": int(rng.choice([0, 512]))}
