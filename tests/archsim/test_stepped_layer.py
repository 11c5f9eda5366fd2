"""Does the stepped core compute random layers as NumPy does, in the cycles of the law?"""

import numpy as np
import pytest

from archsim.contracts import core as contract
from archsim.contracts import event_encoder, neuron, spike_fetch
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.spike_writer import pooled_size
from archsim.stepped import core
from archsim.units.sram import CoreMemory

CHIP = ChipParams(
    name="small", clock_mhz=100.0, cores=1, lanes=4, columns=8, neurons=4, weight_bits=8, membrane_bits=20,
    weight_rows=1024, param_rows=16, spike_in_rows=4096, spike_out_rows=4096, residual_rows=8192, psum_rows=8192,
    reduce_rows=16, attention_rows=64, count_rows=64, count_bits=8, dram_bus_bytes=8, dram_latency_cycles=10,
    dram_burst_bytes=32, dram_outstanding=2, queue_rows=64,
)  # fmt: skip


def law(fields, chip, bank):
    """Duration by the contract's law."""
    handover, taken, cycles = contract.FIRST_ADD, 0, 0
    for row, _, shift, _, last in spike_fetch.reference(fields, chip.columns):
        union = int(np.bitwise_or.reduce(bank[row])) if row >= 0 else 0
        cycles += event_encoder.word_cycles(union.bit_count(), shift)
        if last:
            handover, taken = contract.group_end(handover, taken, cycles, fields["blocks"] * fields["steps"])
            cycles = 0
    return taken + contract.drain(fields["pool"])


def convolve(x, weights, stride, pad):
    """[..., channels, height, width] with weights [kh, kw, channels, out] -> [..., out, height, width], as one matrix product."""
    kh, kw = weights.shape[:2]
    edges = [(0, 0)] * (x.ndim - 2) + [(pad, pad)] * 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, edges), (kh, kw), axis=(-2, -1))
    windows = windows[..., ::stride, ::stride, :, :]
    return np.einsum("...chwij,ijco->...ohw", windows, weights)


def fire(y, threshold, kind):
    """Spikes of membrane inputs [steps, channels, ...] with thresholds [channels, 1, 1], by the equations of the neurons."""
    low, top = -(1 << CHIP.membrane_bits - 1), (1 << CHIP.membrane_bits - 1) - 1
    v = np.broadcast_to(threshold // 2 if kind == neuron.IF_HALF else 0 * threshold, y.shape[1:])
    spikes = []
    for x in y:
        h = np.floor_divide(v + x, 2) if kind == neuron.LIF else np.clip(v + x, low, top)
        spikes.append((h >= threshold) & (kind != neuron.NONE))
        v = np.where(spikes[-1], 0 if kind == neuron.LIF else np.clip(h - threshold, low, top), h)
    return np.array(spikes).astype(np.int64)


def pooled(spikes):
    """3 x 3 maxima with stride 2 and padding 1."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(spikes, [(0, 0)] * 2 + [(1, 1)] * 2), (3, 3), axis=(2, 3))
    return windows[:, :, ::2, ::2].max(axis=(4, 5))


def pack(spikes, lanes_used, lanes, columns):
    """[steps, channels, height, width] -> rows [(position, slice, word), lanes]."""
    steps, channels, height, width = spikes.shape
    words = -(-channels // columns)
    spikes = np.pad(spikes, ((0, 0), (0, words * columns - channels), (0, 0), (0, 0)))
    spikes = spikes.reshape(steps // lanes_used, lanes_used, words, columns, height * width)
    packed = (spikes.astype(np.uint64) << np.arange(columns, dtype=np.uint64)[:, None]).sum(axis=3, dtype=np.uint64)
    rows = packed.transpose(3, 0, 2, 1).reshape(-1, lanes_used)
    return np.pad(rows, ((0, 0), (0, lanes - lanes_used)))


class Layer:
    """A random convolution with everything behind it, as instruction fields, memory, and expected result of the whole map."""

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        lanes, neurons = int(rng.choice([1, 2, 4])), int(rng.choice([1, 2, 4, 8]))
        self.chip = CHIP.replace(lanes=lanes, neurons=neurons)
        self.planes = bool(rng.random() < 0.4)
        self.steps = int(rng.integers(1, 7))
        self.kernel, self.stride = int(rng.choice([1, 3])), int(rng.choice([1, 1, 2]))
        self.pad = int(rng.integers(0, self.kernel // 2 + 1))
        self.height, self.width, self.words = (int(rng.integers(low, high)) for low, high in ((2, 7), (2, 7), (1, 3)))
        if self.pad == 0:
            self.height, self.width = self.height + 2, self.width + 2
        self.kind = int(rng.integers(0, 4))
        self.blocks = int(rng.integers(1, self.chip.blocks + 1))
        flags = ("psum_in", "residual_in", "residual_out", "reduce", "reduce_first", "pool", "spike_out")
        self.flags = {name: int(rng.random() < 0.5) for name in flags}
        self.psum_out = int(rng.random() < 0.2)
        self.memory = CoreMemory.empty(self.chip)
        self.fill()

    def fill(self):
        """Random contents; the weights of the layer begin at row 3, the map at row 5 of bank 1."""
        rng, memory, chip = self.rng, self.memory, self.chip
        memory.weight[:] = rng.integers(-20, 21, memory.weight.shape)
        for name in ("residual", "psum", "reduce"):
            array = getattr(memory, name)
            array[:] = rng.integers(-300, 300, array.shape)
        memory.spike_out[:] = rng.integers(0, 1 << chip.columns, memory.spike_out.shape)
        memory.param[:, :, 0] = rng.integers(-40, 41, memory.param[:, :, 0].shape)
        memory.param[:, :, 1] = rng.integers(-30, 120, memory.param[:, :, 1].shape)
        memory.param[:, :, 2] = rng.integers(-2, 3, memory.param[:, :, 2].shape)
        channels = self.words * chip.columns
        shape = (channels, self.height, self.width)
        self.bits = int(rng.integers(1, 6))
        self.signed = int(rng.random() < 0.5)
        if self.planes:
            low = -(1 << self.bits - 1) if self.signed else 0
            self.operand = rng.integers(low, low + (1 << self.bits), shape) * (rng.random(shape) < 0.4)
            planes = np.array([self.operand >> bit & 1 for bit in reversed(range(self.bits))])
            rows = pack(planes, 1, chip.lanes, chip.columns)
        else:
            self.operand = (rng.random((self.steps, *shape)) < 0.2).astype(np.int64)
            rows = pack(self.operand, chip.lanes_used(self.steps), chip.lanes, chip.columns)
        memory.spike_in[1, 5 : 5 + len(rows)] = rows

    @property
    def out_size(self):
        return tuple((size + 2 * self.pad - self.kernel) // self.stride + 1 for size in (self.height, self.width))

    def fields(self, first=0, end=None):
        """Instruction for the output rows first..end-1 (before the pool)."""
        chip, (out_height, out_width) = self.chip, self.out_size
        end = out_height if end is None else end
        slices = self.bits if self.planes else chip.slices(self.steps)
        y = first * self.stride - self.pad
        position, step = self.blocks * self.steps, self.blocks
        origin = 5 + (y * self.width - self.pad) * slices * self.words
        return {field.name: 0 for field in contract.SYNAPSE_FIELDS} | self.flags | {
            "in_bank": 1, "in_origin": origin % (1 << 20), "in_y": y, "in_x": -self.pad, "in_height": self.height,
            "in_width": self.width, "y_stride": self.width * slices * self.words, "x_stride": slices * self.words,
            "slice_stride": self.words, "slices": slices, "words": self.words, "planes": int(self.planes),
            "signed": self.signed, "kernel_height": self.kernel, "kernel_width": self.kernel, "stride": self.stride,
            "out_height": end - first, "out_width": out_width, "weight_base": 3, "tap_rows": self.words * chip.columns,
            "weight_bank": 1, "blocks": self.blocks, "replay": int(self.planes), "neuron": self.kind,
            "steps": self.steps if self.planes else chip.lanes_used(self.steps), "psum_out": self.psum_out,
            "pool_first_odd": first % 2, "param_bank": 1, "param_base": 2, "psum_base": 7 + first * out_width * position,
            "psum_position": position, "psum_step": step, "residual_in_base": 11 + first * out_width * position,
            "residual_out_base": 4000 + first * out_width * position, "residual_position": position,
            "residual_step": step, "reduce_base": 1, "out_bank": 1, "out_position": 2 * chip.slices(self.steps),
            "out_base": 9 + self.out_row(first) * 2 * chip.slices(self.steps), "out_slice": 2,
            "lanes": chip.lanes_used(self.steps),
        }  # fmt: skip

    def out_row(self, first):
        """Position in the output map of the first one that a tile from row ``first`` writes."""
        width = self.out_size[1]
        return (first + 1) // 2 * ((width + 1) // 2) if self.flags["pool"] else first * width

    def blocks_of(self, name, base, shape):
        """Rows of a memory as [steps, channels, height, width]."""
        height, width = shape
        rows = getattr(self.memory, name)[base : base + height * width * self.steps * self.blocks].astype(np.int64)
        rows = rows.reshape(height, width, self.steps, self.blocks * self.chip.neurons)
        return rows.transpose(2, 3, 0, 1)

    def expected(self):
        """Contents of every memory after the whole map."""
        chip, shape = self.chip, self.out_size
        channels = self.blocks * chip.neurons
        count = self.kernel**2 * self.words * chip.columns
        weights = self.memory.weight[1, 3 : 3 + count, :channels].astype(np.int64)
        weights = weights.reshape(self.kernel, self.kernel, self.words * chip.columns, channels)
        sums = convolve(self.operand, weights, self.stride, self.pad)
        sums = np.broadcast_to(sums, (self.steps, channels, *shape)).astype(np.int64)
        if self.flags["psum_in"]:
            sums = sums + self.blocks_of("psum", 7, shape)
        memory = CoreMemory(**{name: value.copy() for name, value in vars(self.memory).items()})
        rows = shape[0] * shape[1] * self.steps * self.blocks
        if self.psum_out:
            memory.psum[7 : 7 + rows] = sums.transpose(2, 3, 0, 1).reshape(rows, -1)
            return memory
        params = memory.param[1, 2 : 2 + self.blocks].astype(np.int64).transpose(1, 0, 2).reshape(3, channels, 1, 1)
        y = np.floor((sums + params[0]) / 2.0 ** params[2]).astype(np.int64)
        if self.flags["residual_in"]:
            stream = self.blocks_of("residual", 11, shape)
            y = np.maximum(y, stream) if self.flags.get("maximum") else y + stream
        if self.flags["residual_out"]:
            memory.residual[4000 : 4000 + rows] = y.transpose(2, 3, 0, 1).reshape(rows, -1)
        if self.flags["reduce"]:
            total = y.sum(axis=(0, 2, 3)).reshape(self.blocks, -1)
            old = memory.reduce[1 : 1 + self.blocks]
            memory.reduce[1 : 1 + self.blocks] = total + (0 if self.flags["reduce_first"] else old)
        if self.flags["spike_out"]:
            spikes = fire(y, params[1], self.kind)
            spikes = pooled(spikes) if self.flags["pool"] else spikes
            used = chip.lanes_used(self.steps)
            words = pack(spikes, used, chip.lanes, chip.columns)[:, :used]
            target = memory.spike_out[1, 9 : 9 + 2 * len(words) : 2]
            target[:] = 0  # unused lanes and blocks hold no old spikes
            target[:, :used] = words
        return memory


def same(memory, other):
    for name, value in vars(memory).items():
        assert np.array_equal(value, getattr(other, name)), name


@pytest.mark.parametrize("seed", range(150))
def test_random_layer(seed):
    layer = Layer(seed)
    expected = layer.expected()
    fields = layer.fields()
    cycles = core.synapse(fields, layer.chip, [layer.memory])
    assert cycles == law(fields, layer.chip, layer.memory.spike_in[1])
    same(layer.memory, expected)


@pytest.mark.parametrize("seed", range(400, 440))
def test_random_layer_takes_the_maximum(seed):
    layer = Layer(seed)
    layer.psum_out = 0
    layer.flags |= {"maximum": 1, "residual_in": int(seed % 4 > 0), "residual_out": 1}
    expected = layer.expected()
    fields = layer.fields()
    cycles = core.synapse(fields, layer.chip, [layer.memory])
    assert cycles == law(fields | {"maximum": 0}, layer.chip, layer.memory.spike_in[1])  # it takes no time
    same(layer.memory, expected)


@pytest.mark.parametrize("seed", range(200, 240))
def test_random_layer_in_two_tiles(seed):
    layer = Layer(seed)
    height = layer.out_size[0]
    if height < 3:
        layer.pad, layer.kernel, layer.stride = 0, 1, 1
        height = layer.out_size[0]
    layer.flags["reduce_first"] = 0
    cut = 2 if height > 2 else 1
    if cut == 1:  # too low for two pooled tiles
        layer.flags["pool"] = 0
    if layer.flags["pool"]:
        layer.flags |= {"reduce": 0, "psum_in": 0, "residual_in": 0}  # the row that both tiles compute
        layer.psum_out = 0
    expected = layer.expected()
    # With a pool the first tile ends with an odd row, with which the second begins.
    tiles = [(0, cut), (cut - layer.flags["pool"], height)]
    for first, end in tiles:
        fields = layer.fields(first, end)
        cycles = core.synapse(fields, layer.chip, [layer.memory])
        assert cycles == law(fields, layer.chip, layer.memory.spike_in[1])
    same(layer.memory, expected)


@pytest.mark.parametrize("seed", range(300, 330))
def test_random_pooled_layer_in_two_tiles_side_by_side(seed):
    layer = Layer(seed)
    if layer.out_size[1] < 3:
        layer.pad, layer.kernel, layer.stride = 0, 1, 1
    layer.psum_out = 0
    layer.flags |= dict.fromkeys(("reduce", "psum_in", "residual_in", "residual_out"), 0) | {"pool": 1, "spike_out": 1}
    expected, whole, width = layer.expected(), layer.fields(), layer.out_size[1]
    if width < 3:
        return
    slices, rows = layer.chip.slices(layer.steps), pooled_size(layer.out_size[0])
    # The first tile ends with an odd column, with which the second begins.
    for first, end in ((0, 2), (1, width)):
        part = whole | {
            "in_x": whole["in_x"] + first * layer.stride, "out_width": end - first, "pool_left_odd": first,
            "in_origin": (whole["in_origin"] + first * layer.stride * whole["x_stride"]) % (1 << 20),
            "out_base": 3000, "out_position": slices, "out_slice": 1,
        }  # fmt: skip
        assert core.synapse(part, layer.chip, [layer.memory]) == law(part, layer.chip, layer.memory.spike_in[1])
        columns = range(first, first + pooled_size(end - first, first))
        for number, (y, x) in enumerate((y, x) for y in range(rows) for x in columns):
            place = 9 + 2 * (y * pooled_size(width) + x) * slices
            assert np.array_equal(
                layer.memory.spike_out[1, 3000 + number * slices : 3000 + (number + 1) * slices],
                expected.spike_out[1, place : place + 2 * slices : 2],
            )
