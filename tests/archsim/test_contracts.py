"""Does every contract take what lies inside its ranges, refuse what lies outside, and keep the formats that others rely on?

Programs are files, and ports are where units of other people meet: their bits stand here a second time, by hand.
"""

from dataclasses import dataclass, replace

import pytest

from archsim.contracts import core, dma, multicast, neuron, sequencer, spike_fetch, spike_writer, synapse_array
from archsim.contracts.attention import AttentionParams
from archsim.contracts.attention_softmax import SoftmaxParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.core import CoreParams
from archsim.contracts.crossbar import CrossbarParams
from archsim.contracts.event_encoder import EventEncoderParams
from archsim.contracts.experts import ExpertsParams
from archsim.contracts.masker import MaskerParams
from archsim.contracts.neuron import NeuronParams
from archsim.contracts.router import RouterParams
from archsim.contracts.spike_fetch import SpikeFetchParams
from archsim.contracts.spike_writer import SpikeWriterParams
from archsim.contracts.sram import SramParams
from archsim.contracts.synapse_array import SynapseArrayParams
from archsim.contracts.transposer import TransposerParams
from archsim.contracts.vector import VectorParams

CHIP = ChipParams(
    name="odd", clock_mhz=100.0, cores=2, lanes=3, columns=12, neurons=4, weight_bits=5, membrane_bits=10, weight_rows=100,
    param_rows=8, spike_in_rows=64, spike_out_rows=33, residual_rows=70, psum_rows=20, reduce_rows=9, attention_rows=50,
    count_rows=30, count_bits=6, dram_bus_bytes=8, dram_latency_cycles=10, dram_burst_bytes=32, dram_outstanding=2,
    queue_rows=64,
)  # fmt: skip


@dataclass(frozen=True)
class Range:
    """The values of a parameter that are legal beside those of ``base``: low..high, or no upper end."""

    base: object
    name: str
    low: int
    high: int | None = None


ARRAY = SynapseArrayParams(2, 12, 4, 5, 10, 100)
NEURON = NeuronParams(4, 4, 10, 2, 2, 2, 2)
WRITER = SpikeWriterParams(2, 4, 4, 8)
CROSSBAR = CrossbarParams(4, 3, 8)
ROUTER = RouterParams(4, 8, 8, 6)
VECTOR = VectorParams(2, 8, 6, 12, 5)
RANGES = [
    *(Range(SramParams(2, 2, 2), name, 1) for name in ("rows", "granule_bits", "granules")),
    Range(EventEncoderParams(2, 16, 6), "lanes", 1, 16), Range(EventEncoderParams(2, 16, 6), "word_bits", 1, 64),
    Range(EventEncoderParams(2, 64, 7), "row_bits", 6), Range(EventEncoderParams(2, 33, 7), "row_bits", 6),
    Range(ARRAY, "lanes", 1, 16), Range(SynapseArrayParams(2, 12, 1, 5, 10, 100), "columns", 1, 64), Range(ARRAY, "neurons", 1, 4),
    Range(ARRAY, "weight_bits", 2, 8), Range(ARRAY, "membrane_bits", 6, 24), Range(ARRAY, "weight_rows", 2, 1 << 14),
    Range(SpikeFetchParams(2, 16, 8, 9), "rows", 2, 1 << 20),
    Range(NEURON, "neurons", 1, 64), Range(NEURON, "blocks", 1, 64), Range(NEURON, "membrane_bits", 4, 24),
    *(Range(NEURON, name, 1) for name in ("param_rows", "residual_rows", "psum_rows", "reduce_rows")),
    *(Range(WRITER, name, 1) for name in ("lanes", "neurons", "blocks", "pool_steps", "pool_rows")), Range(WRITER, "rows", 2),
    Range(CROSSBAR, "ports", 2, 16), Range(CrossbarParams(4, 3, 1), "depth", 1, 64), Range(CROSSBAR, "data_bits", 1),
    Range(ROUTER, "neurons", 1, 64), Range(ROUTER, "score_bits", 2, 24), Range(ROUTER, "experts", 2, 16),
    Range(ROUTER, "slot_bits", 1, 16), Range(VECTOR, "elements", 1, 64), Range(VECTOR, "operand_bits", 2, 8),
    Range(VECTOR, "sum_bits", 9, 15), Range(VECTOR, "table_bits", 1, 8), Range(VectorParams(2, 24, 6, 40, 5), "table_bits", 1, 12),
    Range(MaskerParams(2, 8), "lanes", 1, 16), Range(MaskerParams(2, 8), "word_bits", 1, 64),
    Range(TransposerParams(8), "word_bits", 1, 64),
    *(Range(CHIP, name, low, high) for name, (low, high) in {
        "cores": (1, 32), "lanes": (1, 16), "weight_bits": (2, 8), "membrane_bits": (8, 24), "count_bits": (2, 16),
        "dram_latency_cycles": (0, 4095), "dram_outstanding": (1, 64), "queue_rows": (1, 1 << 20),
        "weight_rows": (2, 1 << 14), "param_rows": (1, 1 << 10), "spike_in_rows": (2, 1 << 20),
        "spike_out_rows": (2, 1 << 20), "residual_rows": (2, 1 << 20), "psum_rows": (2, 1 << 20),
        "reduce_rows": (1, 1 << 10), "attention_rows": (2, 1 << 20), "count_rows": (2, 1 << 20), "pool_steps": (1, 255),
        "pool_rows": (1, 1 << 16), "crossbar_depth": (0, 64), "route_rows": (1, 1 << 16), "clock_mhz": (1, None),
        "transposer": (0, 1), "masker": (0, 1), "softmax_tokens": (0, 64),
    }.items()),
    Range(CHIP.replace(neurons=1), "columns", 2, 64), Range(CHIP.replace(columns=64, neurons=8), "neurons", 1, 64),
    Range(CHIP.replace(dram_burst_bytes=256), "dram_bus_bytes", 1, 256),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", RANGES, ids=lambda case: f"{type(case.base).__name__}-{case.name}-{case.low}-{case.high}"
)
def test_ranges_end_where_they_say(case):
    if case.high is not None:
        replace(case.base, **{case.name: case.high})
        with pytest.raises(ArchsimError, match=case.name):
            replace(case.base, **{case.name: case.high + 1})
    replace(case.base, **{case.name: case.low})
    with pytest.raises(ArchsimError, match=case.name):
        replace(case.base, **{case.name: case.low - 1})


@pytest.mark.parametrize(
    ("base", "values", "message"),
    [
        (ARRAY, {"neurons": 5}, "neurons must divide columns, given 5 and 12"),
        (ARRAY, {"weight_bits": 8, "membrane_bits": 8}, "weight_bits < membrane_bits"),
        (EventEncoderParams(2, 16, 4), {"word_bits": 17}, "must address the 17 rows of a word, given 4"),
        (CrossbarParams(4, 8, 126), {"data_bits": 127}, "must be below 1024 bits, given 8 flits of 128"),
        (CrossbarParams(4, 31, 32), {"data_bits": 33}, "must be below 1024 bits, given 31 flits of 34"),
        (CHIP, {"neurons": 5}, "neurons must divide columns, given 5 and 12"),
        (CHIP, {"dram_burst_bytes": 36}, "must be a multiple of dram_bus_bytes"),
        (CHIP, {"dram_burst_bytes": 0}, "must be a multiple of dram_bus_bytes"),
        (CHIP, {"dram_burst_bytes": -8}, "must be a multiple of dram_bus_bytes"),
        (CHIP, {"cores": 2.0}, "must be an integer in 1..32, given 2.0"),
    ],
)
def test_what_does_not_fit_together_is_refused(base, values, message):
    with pytest.raises(ArchsimError, match=message):
        replace(base, **values)


@pytest.mark.parametrize("bits", [4, 24])
def test_membranes_of_a_vector_unit_end_where_they_say(bits):
    assert VectorParams(1, bits, bits, 2 * bits - 1, min(bits, 12)).membrane_bits == bits
    beyond = 3 if bits == 4 else 25
    with pytest.raises(ArchsimError, match=rf"membrane_bits must be in 4\.\.24, given {beyond}"):
        VectorParams(1, beyond, 2, beyond + 1, 1)


@pytest.mark.parametrize(("cores", "beyond"), [(2, 1), (16, 17)])
def test_cores_of_an_expert_engine_end_where_they_say(cores, beyond):
    chip = CHIP.replace(crossbar_depth=1)
    assert ExpertsParams(chip.replace(cores=cores)).chip.cores == cores
    with pytest.raises(ArchsimError, match=rf"needs 2\.\.16 cores, given {beyond}"):
        ExpertsParams(chip.replace(cores=beyond))


def test_a_burst_of_one_beat_is_legal():
    assert replace(CHIP, dram_bus_bytes=1, dram_burst_bytes=1).dram_burst_bytes == 1


def test_a_fraction_of_a_megahertz_is_legal():
    assert replace(CHIP, clock_mhz=0.5).clock_mhz == 0.5


# ---------------------------------------------------------------------- what follows from the sizes


def test_an_address_has_the_bits_of_the_last_row():
    assert [SramParams(rows, 3, 4).address_bits for rows in (1, 2, 3, 4, 5, 512, 513)] == [1, 1, 2, 2, 3, 9, 10]
    assert (SramParams(5, 3, 4).row_bits, SramParams(5, 3, 4).bits) == (12, 60)
    assert SramParams(5, 3).row_bits == 3


def test_memories_of_a_core():
    banks = CoreParams(CHIP)
    assert banks.array.weight == SramParams(100, 60)  # 12 weights of 5 bits
    assert banks.fetch.bank == SramParams(64, 12, 3)  # a word for each lane
    assert banks.neuron.param_bank == SramParams(8, 4 * (10 + 10 + 5))  # bias, threshold and shift of 4 neurons
    assert banks.neuron.residual == SramParams(70, 40)
    assert banks.neuron.psum == SramParams(20, 40)
    assert banks.neuron.reduce == SramParams(9, 40)
    assert banks.neuron.v == SramParams(3, 40)  # a row for each of 3 blocks
    assert banks.writer.bank == SramParams(33, 4, 9)  # 4 spikes for each of 3 lanes and 3 blocks
    assert banks.writer.columns == SramParams(24, 4)  # 8 steps of 3 blocks
    assert banks.writer.lines == SramParams(1536, 4)  # 512 words of 3 blocks


def test_memories_of_the_attention_unit():
    banks = AttentionParams(CHIP)
    assert banks.bank == SramParams(50, 12, 3)
    assert banks.out.bank == SramParams(50, 4, 9)
    assert banks.counts == SramParams(30, 72)  # 12 counts of 6 bits
    assert banks.cleared == SramParams(3, 1, 12)  # 30 rows are 3 blocks of 12, the last in part
    assert banks.encoder == EventEncoderParams(1, 12, 6)  # 3 x 12 rows
    assert AttentionParams(CHIP.replace(columns=16, count_rows=16)).encoder.row_bits == 5
    assert banks.array == SynapseArrayParams(1, 12, 4, 2, 10, 2)
    assert banks.neuron == NeuronParams(4, 3, 10, 1, 1, 1, 1)


def test_memories_of_a_softmax():
    softmax = SoftmaxParams(CHIP.replace(membrane_bits=13, softmax_tokens=16))
    assert softmax.scores == SramParams(16, 13)  # a membrane a key
    assert softmax.table == SramParams(256, 16)  # two entries of 8 bits a pair of tokens
    assert softmax.total_bits == 12  # 16 entries of 255 are 4080
    assert text(softmax.row) == "low:8 high:8"


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_softmax_serves_four_tokens_or_more(tokens):
    with pytest.raises(ArchsimError, match=rf"softmax_tokens must be 0 \(no softmax\) or in 4\.\.64, given {tokens}"):
        CHIP.replace(softmax_tokens=tokens)
    assert CHIP.replace(softmax_tokens=4).softmax_tokens == 4


@pytest.mark.parametrize(("tokens", "least"), [(4, 11), (16, 13), (64, 15)])
def test_sums_of_a_softmax_fit_the_membranes(tokens, least):
    chip = CHIP.replace(softmax_tokens=tokens)
    assert SoftmaxParams(chip.replace(membrane_bits=least)).total_bits == least - 1
    with pytest.raises(ArchsimError, match=f"membrane_bits of {least} or more required .* given {least - 1}"):
        SoftmaxParams(chip.replace(membrane_bits=least - 1))


def test_sizes_of_a_chip():
    assert (CHIP.adders, CHIP.blocks) == (72, 3)
    lanes = CHIP.replace(lanes=4)
    assert [lanes.lanes_used(steps) for steps in (1, 2, 3, 4, 5, 6, 8, 10)] == [1, 2, 3, 4, 1, 3, 4, 2]
    assert [lanes.slices(steps) for steps in (1, 4, 5, 6, 8)] == [1, 1, 5, 2, 2]


# ---------------------------------------------------------------------- formats


def text(layout: Layout) -> str:
    """The fields of a layout as ``name:width``, with an ``s`` if signed and the count if it is an array."""
    return " ".join(
        f"{field.name}:{field.width}{'s' if field.signed else ''}{f'*{field.count}' if field.count > 1 else ''}"
        for field in layout.fields
    )


HEADER = "opcode:4 wait:36 post:36"
TRANSFER = "dram_address:32 memory:3 cores:32 bank:1 row:20 rows:20 row_bytes:10 row_skip:10"
ATTEND = (
    "q_bank:1 q_base:20 k_base:20 v_base:20 tokens:13 tile:13 steps:8 lanes:5 token_rows:20 map_words:10 first_word:10 words:10 "
    "head_words:6 segment:7 count_base:20 count_step:20 neuron:2 threshold:24s shift:5s blocks:7 out_bank:1 out_base:20 "
    "out_token_rows:20 out_words:10 popcount:1"
)
ROUTE = (
    "cores:16 entry:16 experts:5 place:64 region:64 region_shift:5 slot_shift:4 other_shift:4 expert_base:20 home_base:20 "
    "home_token:16 home_choice:16 rows:10 source_bank:1 bank:1 membranes:1"
)
COPY = (
    "source:6 source_bank:1 source_base:20 source_outer:16 source_inner:10 outer:20 inner:10 cores:32 bank:2 base:20 "
    "base_outer:16 base_inner:10"
)
INSTRUCTIONS = {
    "HALT": "",
    "LOAD": TRANSFER,
    "STORE": TRANSFER,
    "COPY": COPY,
    "SYNAPSE": "in_bank:1 in_origin:20 in_y:12s in_x:12s in_height:11 in_width:11 y_stride:20 x_stride:20 slice_stride:10 "
    "slices:8 words:10 planes:1 signed:1 kernel_height:4 kernel_width:9 stride:3 out_height:11 out_width:11 weight_base:14 "
    "tap_rows:14 gang:32 weight_bank:1 columns:7 blocks:7 steps:8 replay:1 neuron:2 psum_in:1 psum_out:1 residual_in:1 "
    "residual_out:1 spike_out:1 reduce:1 reduce_first:1 pool:1 pool_first_odd:1 pool_left_odd:1 param_bank:1 param_base:10 "
    "psum_base:20 psum_position:12 psum_step:8 residual_in_base:20 residual_out_base:20 residual_position:16 "
    "residual_step:12 reduce_base:10 "
    "out_bank:1 out_base:20 out_position:16 out_slice:10 lanes:5 maximum:1",
    "PLANES": "reduce_base:10 blocks:7 planes:6 right_shift:5 out_bank:1 out_base:20",
    "ATTEND_KV": ATTEND,
    "ATTEND_Q": ATTEND,
    "ATTEND_SCORES": ATTEND,
    "ATTEND_GATE": ATTEND,
    "TOPK": "core:4 psum:1 score_base:20 score_token:16 tokens:16 blocks:5 experts:5 choices:4 capacity:12 first:1 "
    "entry:16",
    "DISPATCH": ROUTE,
    "COLLECT": ROUTE,
    "TRANSPOSE": f"{COPY} turned:7",
    "MASK": f"{COPY} seed:32 keep:9",
    "ATTEND_SOFTMAX": f"{ATTEND} channel:7 score_threshold:24s score_shift:4 seed:32 keep:9 fraction:4 table_base:20",
    "NORMALISE": "core:5 base:20 tokens:16 token_rows:16 steps:8 step_rows:16 words:7 word_rows:16 blocks:7 last_blocks:7 "
    "elements:16 center_shift:6 square_shift:6 reciprocal_shift:6 scale_shift:6 digits:5",
    "WEIGH": "core:5 score_base:20 score_token:16 tokens:16 blocks:5 experts:5 offset:24 table_shift:6 reciprocal_shift:6 base:20 "
    "token_rows:16 rows:10 scale_shift:6 digits:5",
}


def test_every_instruction_has_a_format_here():
    assert tuple(INSTRUCTIONS) == sequencer.OPCODES


@pytest.mark.parametrize("opcode", range(len(INSTRUCTIONS)))
def test_instruction_format(opcode):
    name = list(INSTRUCTIONS)[opcode]
    assert getattr(sequencer, name) == opcode
    assert text(sequencer.layout(opcode)) == f"{HEADER} {INSTRUCTIONS[name]}".strip()


def test_a_program_row_holds_the_longest_instruction():
    assert sequencer.layout(sequencer.SYNAPSE).width == 529
    assert sequencer.INSTRUCTION_BYTES == 72


def test_what_has_to_do_with_the_normaliser_lies_in_the_last_bits_of_a_row():
    """Post, wait and opcode from bit 573 on, above the longest instruction; without them a row is what its layout packs."""
    assert text(Layout.of("extension", sequencer.EXTENDED)) == "extended_post:1 extended_wait:1 extended_opcode:1"
    plain = int.from_bytes(sequencer.encode(sequencer.COPY, {"outer": 5}, 0b101, 1 << 35), "little")
    assert plain == sequencer.layout(sequencer.COPY).pack({"opcode": sequencer.COPY, "wait": 5, "post": 1 << 35, "outer": 5})
    top = 1 << 36
    for opcode, wait, post, high in ((3, top, 0, 2), (3, 0, top, 1), (3, top, top, 3), (17, 0, top, 5), (16, 0, 0, 4)):
        row = sequencer.encode(opcode, {}, wait | 2, post | 4)
        assert int.from_bytes(row, "little") == high << 573 | opcode & 15 | 2 << 4 | 4 << 40
        assert sequencer.decode(row) == sequencer.layout(opcode).unpack(0) | {"opcode": opcode, "wait": wait | 2, "post": post | 4}


@pytest.mark.parametrize("opcode", [-1, len(INSTRUCTIONS)])
def test_no_other_opcode(opcode):
    with pytest.raises(ArchsimError, match=f"opcode must be in 0..{len(INSTRUCTIONS) - 1}, given {opcode}"):
        sequencer.layout(opcode)


def test_numbers_that_programs_hold():
    numbers = (sequencer.DMA, sequencer.MULTICAST, sequencer.ATTENTION, sequencer.EXPERTS, sequencer.CORE0)
    assert numbers == (0, 1, 2, 3, 4) and sequencer.NORMALISER == 4 + 32 and sequencer.MAX_ENGINES == 4 + 32 + 1
    assert [sequencer.engine_name(engine) for engine in (0, 1, 2, 3, 4, 35, 36)] == [
        "dma", "multicast", "attention", "experts", "core 0", "core 31", "normaliser",
    ]  # fmt: skip
    assert sequencer.SEMAPHORE_BITS == 8
    numbers = (dma.WEIGHT, dma.PARAM, dma.SPIKE_IN, dma.RESIDUAL, dma.PSUM, dma.REDUCE, dma.SPIKE_OUT)
    assert [dma.MEMORIES[number] for number in numbers] == [
        "weight", "param", "spike_in", "residual", "psum", "reduce", "spike_out",
    ]  # fmt: skip
    assert (multicast.Q0, multicast.Q1, multicast.K, multicast.V) == (0, 1, 2, 3)
    assert (neuron.NONE, neuron.LIF, neuron.IF_HALF, neuron.IF_ZERO) == (0, 1, 2, 3)
    assert (spike_fetch.BANKS, spike_writer.BANKS, synapse_array.BANKS) == (2, 2, 2)
    assert neuron.SHIFT_LIMIT == 15  # the greatest of a signed field of 5 bits


PORTS = [
    (EventEncoderParams(3, 12, 7).i, "spikes:12*3 row:7 shift:1 subtract:1 last:1"),
    (EventEncoderParams(3, 12, 7).o, "op:2 row:7 mask:3 last:1"),
    (EventEncoderParams(3, 12, 7).state, "busy:1 remaining:12*3 shift:1"),
    (SpikeFetchParams(3, 12, 64, 7).o, "spikes:12*3 row:7 shift:1 subtract:1 last:1"),
    (ARRAY.i, "op:2 row:7 mask:2 last:1"),
    (ARRAY.i_weight, "bank:1 row:7 data:5s*12"),
    (ARRAY.config, "bank:1 blocks:7 steps:8 replay:1"),
    (ARRAY.o, "sums:10s*4 block:7 step:8 last:1"),
    (ARRAY.state, "sums:10s*24"),
    (NEURON.param, "bias:10s*4 threshold:10s*4 shift:5s*4"),
    (NEURON.o, "spikes:4 block:7 step:8 last:1"),
    (NEURON.state, "v:10s*4"),
    (CROSSBAR.i, "data:8 destination:2 last:1"),
    (CROSSBAR.o, "data:8 source:2 last:1"),
    (CROSSBAR.state, "counts:2*16 chosen:2*4"),
    (CrossbarParams(9, 4, 8).state, "counts:3*81 chosen:4*9"),
]


@pytest.mark.parametrize(
    ("layout", "expected"), PORTS, ids=lambda value: value.name if isinstance(value, Layout) else ""
)
def test_port_format(layout, expected):
    assert text(layout) == expected


def test_layouts_pack_from_the_lowest_bit():
    layout = Layout.of("mixed", [Field("a", 3), Field("b", 4, True, 2), Field("c", 1, True)])
    assert (layout.width, layout.offsets) == (12, {"a": 0, "b": 3, "c": 11})
    values = {"a": 5, "b": [-8, 7], "c": -1}
    assert layout.pack(values) == 5 | 8 << 3 | 7 << 7 | 1 << 11
    assert layout.unpack(layout.pack(values)) == values
    assert layout.pack({"b": [-1, 0]}) == 15 << 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": 8}, r"a value in 0\.\.7 \(3 bits\), given 8"),
        ({"a": -1}, r"a value in 0\.\.7"),
        ({"b": [8, 0]}, r"a value in -8\.\.7 \(4 bits, signed\), given 8"),
        ({"b": [0, -9]}, r"a value in -8\.\.7"),
        ({"b": 0}, "required 2 elements, given 1"),
        ({"d": 0}, r"no field \['d'\]"),
    ],
)
def test_what_does_not_fit_into_a_layout(values, message):
    with pytest.raises(ArchsimError, match=message):
        Layout.of("mixed", [Field("a", 3), Field("b", 4, True, 2)]).pack(values)


@pytest.mark.parametrize("fields", [[Field("a", 0)], [Field("a", 1, count=0)], [Field("a", 1), Field("a", 1)]])
def test_layouts_that_are_none(fields):
    with pytest.raises(ArchsimError, match="layout 'bad'"):
        Layout.of("bad", fields)


# ---------------------------------------------------------------------- laws without a unit's state


def test_constants_that_add_up():
    """FIRST_ADD and the drain, stage by stage as the figure of the core's page shows them."""
    assert core.FIRST_ADD == 5  # address 1, read 2, FIFO 3, event 4, added 5
    assert [core.drain(pool) for pool in (0, 1)] == [4, 6]
    assert [core.plane_value(total, 1, 3) for total in (-9, -8, -7, -1, 6, 7, 8)] == [-4, -4, -4, -1, 3, 3, 3]
    assert core.planes_cycles(3, 4) == 15
    assert sequencer.start(5, 3) == 5 and sequencer.start(5, 5) == 6


@pytest.mark.parametrize(("size", "rows", "emitted"), [(1, 1, [0]), (4, 2, [1, 3]), (5, 3, [1, 3, 4])])
def test_pooling(size, rows, emitted):
    assert spike_writer.pooled_size(size) == rows
    assert [index for index in range(size) if spike_writer.emits(index, size)] == emitted
    # With the odd one before it, the same windows are complete one later.
    assert spike_writer.pooled_size(size + 1, 1) == rows
    assert [index for index in range(size + 1) if spike_writer.emits(index, size + 1, 1)] == [
        index + 1 for index in emitted
    ]
