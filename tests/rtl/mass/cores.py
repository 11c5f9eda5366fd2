"""Mass runs of a core and of the attention unit: random programs, and instructions of the trained network."""

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from unittest import mock

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, Out

from archsim import kernel, simulate
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import DECODE
from archsim.contracts.spike_fetch import FIFO_DEPTH
from rtl.payload import forward
from rtl.units.attention import Attention, AttentionEngine
from rtl.units.core import Core
from rtl.units.spike_fetch import SpikeFetch
from tests.rtl import attention_slice, slice_programs, test_attention, test_digits_tiles
from tests.rtl import slice as core_slice
from tests.rtl.mass.instructions import Case, Cases, instructions
from tests.rtl.mass.recorded import PRESETS
from tests.rtl.queue_run import QueueRun
from tests.rtl.slice_programs import chip_of, queue_of
from tests.rtl.test_digits_tiles import WORKLOAD

DENSITIES = (0.02, 0.1, 0.3, 0.8)
"""Densities of spikes; from few, where neurons bind, to many, where the encoder does."""


class Probed(Component):
    """An engine with outputs ``probe_...``, signals from inside it."""

    def __init__(self, engine: Component, probes: dict[str, Signal]):
        self.engine, self.probes = engine, probes
        outputs = {f"probe_{name}": Out(1) for name in probes}
        super().__init__(dict(engine.signature.members) | outputs)

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = self.engine
        forward(m, self, {name: (self.engine, name) for name in self.engine.signature.members})
        m.d.comb += [getattr(self, f"probe_{name}").eq(signal) for name, signal in self.probes.items()]
        return m


class SeenFetch(SpikeFetch):
    """A fetch that says when its FIFO is full."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.full.eq(m.submodules.fifo.level == FIFO_DEPTH)
        return m


def probed_core(chip: ChipParams) -> Probed:
    """A core; ``full``: the fetch's FIFO is, ``waits``: an event waits because the hand-over bank is not free."""
    core = Core(chip)
    core.fetch.__class__, core.fetch.full = SeenFetch, Signal()
    return Probed(core, {"full": core.fetch.full, "waits": core.array.i.valid & ~core.array.i.ready})


class SeenAttention(Attention):
    """A unit that says when its FIFO is full, and when the adders wait for the hand-over bank."""

    def __init__(self, chip):
        super().__init__(chip)
        self.full, self.waits = Signal(), Signal()

    def elaborate(self, platform):
        m = super().elaborate(platform)
        array = m.submodules.array
        m.d.comb += [
            self.full.eq(m.submodules.fifo.level == FIFO_DEPTH), self.waits.eq(array.i.valid & ~array.i.ready)
        ]  # fmt: skip
        return m


def probed_attention(chip: ChipParams) -> Probed:
    """An attention unit; ``full``: the FIFO before its encoder is, ``waits``: see :class:`SeenAttention`."""
    engine = AttentionEngine(chip, SeenAttention)
    return Probed(engine, {"full": engine.unit.full, "waits": engine.unit.waits})


class CoreCases(Cases):
    """SYNAPSE with every option, and PLANES."""

    unit, output_stalls, full = "core", "waits", "full"
    engine = replace(core_slice.CORE, make=probed_core)
    sets = tuple(
        partial(chip_of, queue_rows=256)(name, **sizes) for name, sizes in {
            "one": {},
            "four": {"lanes": 4, "columns": 16, "membrane_bits": 12},
            "odd": {"lanes": 2, "columns": 6, "neurons": 6, "membrane_bits": 10, "weight_bits": 4, "pool_steps": 6,
                    "pool_rows": 12},
            "least": {"columns": 2, "neurons": 1, "membrane_bits": 8, "weight_bits": 2, "weight_rows": 64},
            "three": {"lanes": 3, "columns": 12, "neurons": 2, "membrane_bits": 24, "weight_bits": 5},
            "wide": {"lanes": 2, "columns": 64, "neurons": 16, "membrane_bits": 20, "weight_rows": 1024},
            "maximum": {"lanes": 2, "columns": 6, "neurons": 3, "membrane_bits": 9, "residual_maximum": 1},
        }.items()
    )  # fmt: skip

    def memory(self, chip, rng):
        return slice_programs.random_memory(chip, int(rng.integers(1 << 30)), rng.choice(DENSITIES))

    def instruction(self, chip, rng):
        return slice_programs.random_instruction(chip, rng)

    def fast(self, fields, chip, memory):
        return core_slice.fast_model(fields, chip, memory)

    def stepped(self, fields, chip, memory):
        return core_slice.stepped_model(fields, chip, memory)

    def recorded(self):
        return of_network(self, "core", test_digits_tiles.Recorder)


class AttentionCases(Cases):
    """ATTEND of every kind."""

    unit, output_stalls, full = "attention", "waits", "full"
    engine = replace(attention_slice.ENGINE, make=probed_attention)
    sets = tuple(
        partial(chip_of, queue_rows=256, attention_rows=256)(name, **sizes) for name, sizes in {
            "one": {"count_rows": 256, "count_bits": 4},
            "least": {"columns": 4, "neurons": 1, "membrane_bits": 8, "count_rows": 128, "count_bits": 2},
            "odd": {"lanes": 2, "columns": 6, "neurons": 6, "membrane_bits": 10, "count_rows": 200, "count_bits": 3},
            "three": {"lanes": 3, "columns": 12, "neurons": 2, "membrane_bits": 8, "count_rows": 600, "count_bits": 16},
            "four": {"lanes": 4, "columns": 16, "membrane_bits": 12, "count_rows": 512, "count_bits": 5},
            "softmax": {"lanes": 2, "columns": 9, "neurons": 3, "membrane_bits": 13, "count_rows": 200, "softmax_tokens": 9},
        }.items()
    )  # fmt: skip

    def memory(self, chip, rng):
        return attention_slice.random_memory(chip, int(rng.integers(1 << 30)), rng.choice(DENSITIES))

    def instruction(self, chip, rng):
        return attention_slice.random_instruction(chip, rng)

    def fast(self, fields, chip, memory):
        return attention_slice.fast_attend(fields, chip, memory)

    def stepped(self, fields, chip, memory):
        return attention_slice.stepped_attend(fields, chip, memory)

    def recorded(self):
        return of_network(self, "attention", test_attention.Recorder)


def of_network(cases: Cases, module: str, recorder) -> Iterator[tuple[ChipParams, list[Case]]]:
    """Instructions that a ``recorder`` in the place of a module of the simulator keeps of an image, each alone, by chip."""
    for preset in PRESETS:
        mapped, kept = simulate.load(WORKLOAD, preset), recorder()
        with mock.patch.object(kernel, module, kept):
            simulate.run_image(mapped, mapped.trained.normalised()[0], 0, record=True)  # instruction by instruction
        chip = mapped.program.chip
        yield chip, [_alone(cases, chip, *instruction) for instruction in kept.kept]


def _alone(cases: Cases, chip: ChipParams, opcode: int, fields, before, after, cycles: int) -> Case:
    """A queue of one instruction."""
    fields, memory = fields | {"opcode": opcode}, deepcopy(before)
    begin = time.perf_counter()
    cases.fast(fields, chip, memory)
    seconds = time.perf_counter() - begin
    wanted = QueueRun([(DECODE, DECODE + cycles)], [], after)
    return Case(queue_of([fields]), before, [], wanted, seconds)


core = instructions(CoreCases())
attention = instructions(AttentionCases())
