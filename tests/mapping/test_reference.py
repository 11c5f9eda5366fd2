"""Is the integer reference right? The same network, written as loops over positions, taps, channels and time steps."""

from dataclasses import replace

import numpy as np
import pytest

from mapping import reference
from mapping.integer_nodes import IntAttention
from mapping.ir import GATE, IMAGE
from mapping.quantise import IntPlanes, Precision, quantise


def _conv(layer, maps, source):
    """Scaled sums [T, positions, Cout], one output at a time."""
    outputs, inputs, height, width = layer.weight.shape
    shape = layer.sums or layer.shape
    result = np.zeros((len(maps), shape.positions, outputs), np.int64)
    for t, y, x, c in np.ndindex(len(maps), shape.height, shape.width, outputs):
        total = int(layer.bias[c])
        for dy, dx, i in np.ndindex(height, width, inputs):
            row, column = y * layer.stride - layer.padding + dy, x * layer.stride - layer.padding + dx
            if 0 <= row < source.height and 0 <= column < source.width:
                total += int(layer.weight[c, i, dy, dx]) * int(maps[t][row * source.width + column][i])
        shift = int(layer.shift[c])
        result[t, y * shape.width + x, c] = total << -shift if shift < 0 else total >> shift
    return result


def _lif(inputs, threshold):
    spikes, potentials = np.zeros(inputs.shape, bool), np.zeros(inputs.shape, np.int64)
    for p, c in np.ndindex(*inputs.shape[1:]):
        v = 0
        for t in range(len(inputs)):
            v = (v + int(inputs[t, p, c])) >> 1  # v + (x - v) / 2
            potentials[t, p, c] = v
            if v >= threshold[c]:
                spikes[t, p, c], v = True, 0
    return spikes, potentials


def _pool(spikes, shape):
    height, width = (shape.height + 1) // 2, (shape.width + 1) // 2
    result = np.zeros((len(spikes), height * width, spikes.shape[2]), bool)
    for t, y, x in np.ndindex(len(spikes), height, width):
        for row in range(max(0, 2 * y - 1), min(shape.height, 2 * y + 2)):
            for column in range(max(0, 2 * x - 1), min(shape.width, 2 * x + 2)):
                result[t, y * width + x] |= spikes[t, row * shape.width + column]
    return result


def _peaks(sums, shape):
    """Maxima over the windows of :func:`_pool`, of sums of a map of ``shape``."""
    height, width = (shape.height + 1) // 2, (shape.width + 1) // 2
    result = np.zeros((len(sums), height * width, sums.shape[2]), np.int64)
    for t, y, x, c in np.ndindex(len(sums), height, width, sums.shape[2]):
        rows = range(max(0, 2 * y - 1), min(shape.height, 2 * y + 2))
        columns = range(max(0, 2 * x - 1), min(shape.width, 2 * x + 2))
        window = [int(sums[t, row * shape.width + column, c]) for row in rows for column in columns]
        result[t, y * width + x, c] = max(window)
    return result


def _attention(layer, spikes):
    """out[n, c] counts the (m, d): q[n, d] and k[m, d] and v[m, c], c and d of one head; the neuron takes twice that.

    A gate has one row, which counts the m: k[m, c] and v[m, c].
    """
    q, k, v = spikes[layer.q], spikes[layer.k], spikes[layer.v]
    if layer.gates:
        both = [[sum(bool(a and b) for a, b in zip(*columns, strict=True)) for columns in zip(kt.T, vt.T, strict=True)]
                for kt, vt in zip(k, v, strict=True)]  # fmt: skip
        return 2 * np.array(both)[:, None]
    size = q.shape[2] // layer.heads
    counts = np.zeros(q.shape, np.int64)
    for t, n, c in np.ndindex(*q.shape):
        head = range(c // size * size, (c // size + 1) * size)
        counts[t, n, c] = sum(q[t, n, d] & k[t, m, d] & v[t, m, c] for m in range(q.shape[1]) for d in head)
    return counts * 2


def _run(network, image):
    """(spikes, inputs, potentials, operand, logits)."""
    spikes, inputs, potentials, stream = {}, {}, {}, 0
    for layer in network.layers:
        if isinstance(layer, IntAttention):
            inputs[layer.name] = _attention(layer, spikes)
            threshold = [layer.threshold] * inputs[layer.name].shape[2]
            fired, potentials[layer.name] = _lif(inputs[layer.name], threshold)
            spikes[layer.spikes] = np.where(fired, spikes[layer.q], False) if layer.gates else fired
        elif isinstance(layer, IntPlanes):
            half = 1 << (layer.planes - 1)
            totals = [
                sum(int(y) for y in inputs[layer.source][:, :, c].ravel())
                for c in range(network.layers[-1].weight.shape[1])
            ]
            operand = [min(max(total >> layer.right_shift, -half), half - 1) for total in totals]
        elif layer is network.layers[-1]:
            rows = zip(layer.weight[:, :, 0, 0].tolist(), layer.bias.tolist(), strict=True)
            logits = [sum(w * x for w, x in zip(row, operand, strict=True)) + bias for row, bias in rows]
        else:
            maps = np.stack([image] * network.timesteps) if layer.source == IMAGE else spikes[layer.source]
            y = _conv(layer, maps, network.maps[layer.source])
            y = _peaks(y, layer.sums) if layer.sums else y
            if layer.stream:
                stream = y if layer.opens else y + stream
                y = stream
            inputs[layer.name] = y
            if layer.spikes:
                fired, potentials[layer.name] = _lif(y, layer.threshold)
                spikes[layer.spikes] = _pool(fired, layer.shape) if layer.pool else fired
    return spikes, inputs, potentials, operand, logits


CASES = [{}, {"height": 4, "width": 4, "stride": 2}, {"height": 3, "width": 8, "channels": 2, "heads": 1, "timesteps": 1},
         {"height": 5, "width": 6, "stride": 2, "dim": 6, "heads": 3, "timesteps": 3},
         {"kind": GATE, "dim": 10, "timesteps": 6}, {"peaks": True},
         {"peaks": True, "height": 12, "width": 9, "timesteps": 2}]  # fmt: skip


@pytest.mark.parametrize("seed, sizes", list(enumerate(CASES, 4)))
def test_reference_equals_loops(make_random, seed, sizes):
    network = quantise(make_random(seed, **sizes), Precision())
    shape = network.maps[IMAGE]
    rng = np.random.default_rng(seed)
    image = network.quantise_image(rng.normal(0, 0.7, (shape.channels, shape.height, shape.width)))
    given = reference.run(network, image)
    spikes, inputs, potentials, operand, logits = _run(network, image)
    for required, mine in ((spikes, given.spikes), (inputs, given.inputs), (potentials, given.potentials)):
        assert required.keys() == mine.keys()
        for name, values in required.items():
            assert np.array_equal(values, mine[name]), name
    assert given.operand.tolist() == operand
    assert given.logits.tolist() == logits
    for name, values in spikes.items():
        assert 0.02 < values.mean() < 0.98, f"{name}: the case tests nothing"


def test_the_operand_saturates(make_random):
    """Sums of far more than head_limit, of both signs, in 3 bits."""
    network = make_random(0)
    last = replace(network.layers[8], bias=np.array([-50.0, 50.0] * 4))
    layers = (*network.layers[:8], last, network.layers[9])
    integer = quantise(replace(network, layers=layers), Precision(head_bits=3))
    operand = reference.run(integer, integer.quantise_image(np.ones((7, 5)))).operand
    assert operand.tolist() == [-4, 3] * 4
