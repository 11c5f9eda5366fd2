"""Does one core in Verilog do every instruction of its queue in the cycles of the law, and leave the same bits?

Every expectation is made before the Verilog runs: times by the contract's law of the queue and a model of SYNAPSE, the
fast one and the cycle-stepped one; memories by the models.
"""

from collections.abc import Mapping

import numpy as np
import pytest
from amaranth.hdl import Signal
from amaranth.lib.wiring import connect

from archsim.contracts import core, event_encoder, neuron, sequencer, spike_fetch, spike_writer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.neuron import IF_HALF, IF_ZERO, LIF
from archsim.units.sram import CoreMemory
from rtl.units.core import Core
from tests.rtl.queue_run import expected
from tests.rtl.slice import CORE, fast_model, stepped_model
from tests.rtl.slice_programs import chip_of, convolution, planes_of, queue_of, random_instruction, random_memory

ONE = chip_of("one")
FOUR = chip_of("four", lanes=4, columns=16, membrane_bits=12)
ODD = chip_of(
    "odd", lanes=2, columns=6, neurons=6, membrane_bits=10, weight_bits=4, pool_steps=6, pool_rows=12
)  # fmt: skip
MAXIMUM = chip_of("maximum", lanes=2, columns=6, neurons=3, membrane_bits=9, residual_maximum=1)
CHIPS = [pytest.param(chip, id=chip.name) for chip in (ONE, FOUR, ODD, MAXIMUM)]
"""One lane; four lanes and four blocks; two lanes, a single block, no power of two, sums that reach the rails, the least
memories for the pools; and one that takes maxima, whose sums pass the rails."""


def law(fields: Mapping[str, int], chip: ChipParams, memory: CoreMemory) -> int:
    """The cycles alone, from the contracts' own functions in plain Python; the memory stays as it is."""
    if fields["opcode"] == sequencer.PLANES:
        return core.planes_cycles(fields["planes"], fields["blocks"])
    handover, taken, cycles = core.FIRST_ADD, 0, 0
    for row, _, shift, _, last in spike_fetch.reference(dict(fields), chip.columns):
        lanes = memory.spike_in[fields["in_bank"], row].tolist() if row >= 0 else [0]
        cycles += event_encoder.word_cycles(int(np.bitwise_or.reduce(np.array(lanes, np.uint64))).bit_count(), shift)
        if last:
            handover, taken = core.group_end(handover, taken, cycles, fields["blocks"] * fields["steps"])
            cycles = 0
    return taken + core.drain(fields["pool"])


def check(chip, instructions, memory, posts=(), models=(fast_model, stepped_model)):
    """Run the program on the models and then on the Verilog; all of them must agree in everything."""
    queue = queue_of(instructions)
    runs = [expected(chip, queue, memory, posts, model) for model in models]
    found = CORE.run(chip, queue, memory, posts)
    for name, run in zip(models, runs, strict=True):
        assert CORE.difference(run, found) == "", name.__name__
    return found


# ------------------------------------------------------------------------------ programs


def convolutions(chip):
    """3x3 with padding, 1x1, strides, several channel words, a window larger than the map."""
    spikes = {"neuron": LIF, "spike_out": 1}
    return [
        convolution(chip, (5, 6), 3, padding=1, **spikes),
        convolution(chip, (6, 6), 1, **spikes, out_bank=1, in_bank=1, weight_bank=1, param_bank=1),
        convolution(chip, (7, 7), 3, stride=2, padding=1, **spikes, out_base=40),
        convolution(chip, (4, 5), 2, stride=3, channels=2 * chip.columns, **spikes, out_base=100, param_base=2),
        convolution(chip, (2, 3), 5, padding=2, **spikes, out_base=110, tap_rows=0),
    ]


def kinds(chip):
    """Every neuron, four time steps."""
    return [
        convolution(chip, (3, 4), 3, padding=1, timesteps=4, neuron=kind, spike_out=1, out_base=48 * kind)
        for kind in (neuron.NONE, LIF, IF_HALF, IF_ZERO)
    ]


def residual_stream(chip):
    """Membranes stored, added to and stored in another place, read by a neuron, in place."""
    layer = {"timesteps": 4, "padding": 1}
    return [
        convolution(chip, (3, 3), 3, **layer, residual_out=1),
        convolution(
            chip, (3, 3), 3, **layer, residual_in=1, residual_out=1, residual_out_base=512, neuron=LIF, spike_out=1
        ),
        convolution(
            chip, (3, 3), 3, **layer, residual_in=1, residual_in_base=512, residual_out=1, residual_out_base=512
        ),
        convolution(
            chip, (3, 3), 3, **layer, residual_in=1, residual_in_base=512, neuron=IF_HALF, spike_out=1, out_bank=1
        ),
    ]


def partial_sums(chip):
    """Three parts of the input channels, the last of them through the neurons; one time step and four."""
    program = []
    for timesteps, base in ((1, 0), (4, 200)):
        parts = ({"psum_out": 1}, {"psum_in": 1, "psum_out": 1}, {"psum_in": 1, "neuron": LIF, "spike_out": 1})
        for number, part in enumerate(parts):
            common = {"psum_base": base, "out_base": base, "weight_bank": number % 2, "in_bank": number % 2}
            program.append(convolution(chip, (4, 4), 3, padding=1, timesteps=timesteps, **common, **part))
    return program


def bit_planes(chip):
    """Signed and unsigned planes, without and with replay of the sum over the time steps."""
    return [
        planes_of(chip, (4, 4), 6, 1, residual_out=1),
        planes_of(chip, (4, 4), 3, 1, residual_out=1, residual_out_base=512, signed=0, in_bank=1),
        planes_of(chip, (4, 4), 5, 4, neuron=LIF, spike_out=1),
        planes_of(chip, (4, 4), 4, 6, neuron=IF_HALF, spike_out=1, out_bank=1),
    ]


def reductions(chip):
    """Sums over positions and time: begun anew, continued by a second tile; of planes; with neurons beside."""
    layer = {"padding": 1, "reduce": 1}
    return [
        convolution(chip, (3, 4), 3, **layer, timesteps=4, reduce_first=1),
        convolution(chip, (3, 4), 3, **layer, timesteps=4, in_bank=1),
        convolution(chip, (4, 2), 3, **layer, reduce_base=4, neuron=LIF, spike_out=1, residual_in=1),
        planes_of(chip, (3, 3), 3, 4, reduce=1, reduce_first=1, reduce_base=2, residual_in=1),
    ]


def pools(chip):
    """Pooled maps of every parity of the sizes, down to one row or column; tiles that begin with an odd row; time steps."""
    layer = {"padding": 1, "neuron": LIF, "spike_out": 1, "pool": 1}
    steps = {"timesteps": 4}
    return [
        convolution(chip, (6, 6), 3, **layer, **steps),
        convolution(chip, (5, 7), 3, **layer, pool_first_odd=1, out_base=60, out_bank=1),
        convolution(chip, (7, 4), 3, **layer, **steps, pool_first_odd=1, out_base=100, blocks=1),
        convolution(chip, (3, 1), 3, **layer, out_base=200),
        convolution(chip, (1, 5), 3, **layer, **steps, out_base=220),
        convolution(chip, (1, 1), 3, **layer, out_base=240, blocks=1),
        convolution(chip, (4, 1), 3, **layer, pool_first_odd=1, out_base=250, blocks=1),
        convolution(chip, (1, 4), 3, **layer, pool_first_odd=1, out_base=260),
        planes_of(chip, (5, 4), 4, 6, neuron=IF_HALF, spike_out=1, pool=1, out_base=300),
        planes_of(chip, (4, 4), 4, 1, neuron=LIF, spike_out=1, pool=1, out_base=400),
    ]  # fmt: skip


def planes_of_sums(chip):
    """Sums turned into planes of several widths, from one block up to all, and used again by a reduction."""
    planes = {"opcode": sequencer.PLANES, "blocks": chip.blocks}
    return [
        convolution(chip, (3, 4), 3, padding=1, reduce=1, reduce_first=1),
        planes | {"planes": 8, "right_shift": 3, "out_bank": 1, "out_base": 5},
        planes | {"planes": 1, "right_shift": 0},
        planes | {"planes": 4, "right_shift": 0, "blocks": 1, "out_base": 16},
        convolution(chip, (3, 4), 3, padding=1, reduce=1, neuron=LIF, spike_out=1, out_base=200),
        planes | {"planes": 63, "right_shift": 31, "out_base": 100},
    ]


PROGRAMS = [convolutions, kinds, residual_stream, partial_sums, bit_planes, reductions, pools, planes_of_sums]


def maxima(chip):
    """Sums of a 4 x 4 map stored, then the maximum over the windows of a pooled row: opened, compared, fired."""
    rows = 4 * chip.blocks  # of a position
    nothing = {"in_height": 0, "in_width": 0, "psum_in": 1, "residual_out": 1, "psum_position": 2 * rows}
    program = [convolution(chip, (4, 4), 3, padding=1, timesteps=4, psum_out=1)]
    for number, (first, count, element) in enumerate(((0, 2, 0), (0, 2, 4), (1, 1, 1), (1, 1, 5), (0, 2, 1), (0, 2, 5))):
        last = {"neuron": LIF, "spike_out": 1, "out_base": 3} if number == 5 else {}
        program.append(convolution(chip, (1, count), 1, timesteps=4, **nothing, **last) | {
            "maximum": 1, "residual_in": int(number > 0), "psum_base": element * rows,
            "residual_in_base": 7 + first * rows, "residual_out_base": 7 + first * rows,
        })  # fmt: skip
    return program


@pytest.mark.parametrize("seed", range(4))
def test_maximum_over_windows(seed):
    memory = random_memory(MAXIMUM, seed, 0.4)
    found = check(MAXIMUM, maxima(MAXIMUM), memory)
    steps = 4 * MAXIMUM.blocks
    sums = found.memory.psum[: 16 * steps].astype(np.int64).reshape(4, 4, 4, -1)
    bias, _, shift = memory.param[0, : MAXIMUM.blocks].astype(np.int64).transpose(1, 0, 2).reshape(3, -1)
    y = np.floor((sums + bias) / 2.0**shift).astype(np.int64)
    y = (y + 256) % 512 - 256
    assert (y < 0).any() and (np.abs((sums + bias) / 2.0**shift) > 256).any()  # negative ones, and some that wrap
    windows = [y[:2, first : first + 2 + (first > 0)] for first in (0, 1)]
    wanted = np.array([window.max(axis=(0, 1)) for window in windows])
    assert np.array_equal(found.memory.residual[7 : 7 + 2 * steps].reshape(2, 4, -1), wanted)


@pytest.mark.parametrize("density", [0.05, 0.5])
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("chip", CHIPS)
def test_handmade_program(chip, program, density):
    memory = random_memory(chip, 1, density)
    found = check(chip, program(chip), memory)
    # Not vacuous: the run changed what it was to change.
    assert not np.array_equal(found.memory.spike_out, memory.spike_out)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("chip", CHIPS)
def test_random_program(chip, seed):
    rng = np.random.default_rng(seed)
    program = [random_instruction(chip, rng) for _ in range(rng.integers(1, 6))]
    check(chip, program, random_memory(chip, seed, rng.choice([0.02, 0.1, 0.3, 0.8])))


@pytest.mark.parametrize("seed", range(8))
def test_semaphores(seed):
    rng = np.random.default_rng(seed)
    engines = [0, 1, 2, 4]  # the other core is number 4, this one 3
    waits = [int(sum(1 << engine for engine in engines if rng.random() < 0.4)) for _ in range(10)]
    instructions = [
        convolution(ONE, (2, 3), 1, neuron=LIF, spike_out=1, out_base=8 * index, wait=wait, post=int(rng.integers(32)))
        for index, wait in enumerate(waits)
    ]
    # Some come long before they are needed and are counted, some in the cycle of a start or end, some late.
    latest = rng.integers(1, 1500)
    posts = [
        (int(rng.integers(latest)), engine)
        for engine in engines for _ in range(sum(wait >> engine & 1 for wait in waits))
    ]  # fmt: skip
    found = check(ONE, instructions, random_memory(ONE, seed), posts)
    assert len(found.posts) == sum(instruction["post"] > 0 for instruction in instructions)


@pytest.mark.parametrize("delay", range(-1, 3))
def test_post_around_the_first_ready_cycle(delay):
    posts = [(sequencer.DECODE + delay, 1)]
    instruction = convolution(ONE, (2, 2), 1, wait=1 << 1)
    found = check(ONE, [instruction], random_memory(ONE, 3), posts)
    assert found.times[0][0] == sequencer.DECODE + max(0, delay + 1)


def test_empty_queue_halts():
    assert check(ONE, [], random_memory(ONE, 0)).times == []


# ------------------------------------------------------------------------------ the comparison can fail


class LateGranules(Core):
    """A core with one register too many, between neurons and writer."""

    def _write(self, m, granules):
        late = Signal.like(granules.payload)
        valid = Signal()
        m.d.sync += [valid.eq(granules.valid), late.eq(granules.payload)]
        m.d.comb += [self.writer.i.valid.eq(valid), self.writer.i.payload.eq(late)]


class LatePlanes(Core):
    """A core whose reduction bank seems to answer a cycle too late."""

    def _planes(self, m, synapse):
        super()._planes(m, synapse)
        late = Signal.like(self.neuron.read_reduce.data)
        m.d.sync += late.eq(self.neuron.read_reduce.data)
        m.d.comb += self.planes.read.data.eq(late)


class LateEvents(Core):
    """A core with a register too many between encoder and array: it takes an event every other cycle."""

    def _join(self, m):
        source, target = self.encoder.o, self.array.i
        waiting, event = Signal(), Signal.like(source.payload)
        connect(m, self.fetch.o, self.encoder.i)
        m.d.comb += [source.ready.eq(~waiting), target.valid.eq(waiting), target.payload.eq(event)]
        with m.If(source.valid & source.ready):
            m.d.sync += [waiting.eq(1), event.eq(source.payload)]
        with m.Elif(target.ready):
            m.d.sync += waiting.eq(0)
        connect(m, self.array.o, self.neuron.i)
        self._write(m, self.neuron.o)


@pytest.mark.parametrize("wrong", [LateGranules, LateEvents])
def test_a_register_too_many_is_found(wrong):
    queue, memory = queue_of(convolutions(ONE)), random_memory(ONE, 1)
    wanted = expected(ONE, queue, memory, [], fast_model)
    found = CORE.run(ONE, queue, memory, library=CORE.library(ONE, wrong))
    assert CORE.difference(wanted, found).startswith("instruction 0: start and end")


def test_a_late_answer_to_planes_is_found():
    queue, memory = queue_of(planes_of_sums(ONE)), random_memory(ONE, 1)
    wanted = expected(ONE, queue, memory, [], fast_model)
    found = CORE.run(ONE, queue, memory, library=CORE.library(ONE, LatePlanes))
    assert CORE.difference(wanted, found).startswith("spike_out")


@pytest.mark.parametrize(
    ("module", "constant"),
    [
        (core, "FIRST_ADD"), (neuron, "LATENCY"), (neuron, "GROUP_GAP"), (sequencer, "DECODE"),
        (spike_writer, "POOL_DONE"), (core, "PLANES_OVERHEAD"), (None, ""),
    ],
)  # fmt: skip
def test_a_changed_constant_is_found(monkeypatch, module, constant):
    programs = {"POOL_DONE": pools, "PLANES_OVERHEAD": planes_of_sums}
    queue, memory = queue_of(programs.get(constant, convolutions)(ONE)), random_memory(ONE, 1)
    if module is not None:
        monkeypatch.setattr(module, constant, getattr(module, constant) + 1)
    wanted = expected(ONE, queue, memory, [], law)
    found = CORE.run(ONE, queue, memory)
    assert (wanted.times == found.times) == (module is None)


def test_a_changed_bit_is_found():
    queue, memory = queue_of(residual_stream(ONE)), random_memory(ONE, 1)
    found = CORE.run(ONE, queue, memory)
    assert CORE.difference(found, CORE.run(ONE, queue, memory)) == ""
    for name, message in (("spike_out", "spike_out"), ("residual", "residual"), ("weight", "spike_out|residual")):
        other = random_memory(ONE, 1)
        getattr(other, name)[-1, -1] ^= 1
        if name == "weight":
            other.weight[0, 5] ^= 1
        assert CORE.difference(found, CORE.run(ONE, queue, other)).split("[")[0] in message.split("|")


# ------------------------------------------------------------------------------ Icarus


def test_icarus(tmp_path):
    chip = chip_of("small", lanes=2, columns=4, neurons=2, weight_rows=64, spike_in_rows=64, spike_out_rows=32,
                   residual_rows=64, psum_rows=64, param_rows=4, queue_rows=8, pool_rows=16)  # fmt: skip
    layer = {"padding": 1, "timesteps": 4, "psum_position": 8, "residual_position": 8}
    program = [
        convolution(chip, (2, 3), 3, **layer, psum_out=1, wait=1),
        convolution(chip, (2, 3), 3, **layer, psum_in=1, residual_in=1, residual_out=1, neuron=LIF, spike_out=1,
                    in_bank=1, weight_bank=1, param_bank=1, out_bank=1),
        planes_of(chip, (2, 3), 3, 4, neuron=IF_HALF, spike_out=1),
        convolution(chip, (3, 3), 3, padding=1, neuron=LIF, spike_out=1, pool=1, out_base=20, reduce=1),
        {"opcode": sequencer.PLANES, "blocks": 2, "planes": 5, "right_shift": 2, "out_bank": 1, "out_base": 26},
    ]  # fmt: skip
    queue, memory, posts = queue_of(program), random_memory(chip, 5), [(9, 0)]
    wanted = expected(chip, queue, memory, posts, fast_model)
    outputs = CORE.on_cocotb(chip, queue, memory, posts, wanted.times[-1][1] + 20, tmp_path)
    assert CORE.difference(wanted, CORE.observed(chip, memory, outputs)) == ""
