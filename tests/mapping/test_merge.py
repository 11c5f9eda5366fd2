"""Is a merged chain the same function, border included? Against the parts one after the other, in exact integers."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from mapping.ir import IMAGE, Chain, Part, Synapse
from mapping.merge import merge, merged_shape, scaled


def convolve(x, part):
    """[C, H, W] without padding, group by group."""
    windows = sliding_window_view(x, part.weight.shape[2:], axis=(1, 2))
    inputs = part.weight.shape[1]
    cout = len(part.weight) // part.groups
    return np.concatenate([
        np.einsum("oiab,ihwab->ohw", part.weight[g * cout : (g + 1) * cout], windows[g * inputs : (g + 1) * inputs])
        for g in range(part.groups)
    ]) + part.bias[:, None, None]  # fmt: skip


def random_part(rng, name, cout, cin, kernel, groups=1):
    """Small integers, so that float64 adds them exactly in any order."""
    return Part(
        name, rng.integers(-9, 10, (cout, cin // groups, kernel, kernel)).astype(float),
        rng.integers(-9, 10, cout).astype(float), groups,
    )  # fmt: skip


def chain_of(parts):
    shape = merged_shape(parts)
    return Chain(parts, Synapse("whole", IMAGE, np.zeros(shape), np.zeros(shape[0]), padding=shape[2] // 2))


def rep_conv(rng):
    """1x1 with a norm (a bias of its own: the value of zeros at the border), depthwise 3x3, 1x1 with a norm."""
    return random_part(rng, "1", 5, 5, 1), random_part(rng, "dw", 5, 5, 3, 5), random_part(rng, "2", 5, 5, 1)


def sep_conv(rng):
    return random_part(rng, "dw", 6, 6, 7, 6), random_part(rng, "pw", 3, 6, 1)


def two_dense(rng):
    return random_part(rng, "a", 4, 2, 3), random_part(rng, "b", 3, 4, 3)


@pytest.mark.parametrize("make", [rep_conv, sep_conv, two_dense])
def test_merged_is_one_part_after_the_other(make):
    rng = np.random.default_rng(3)
    parts = make(rng)
    whole = merge(chain_of(parts))
    pixels = rng.integers(0, 2, (parts[0].weight.shape[1] * parts[0].groups, 6, 5)).astype(float)
    padding = whole.padding
    expected = padded = np.pad(pixels, ((0, 0), (padding, padding), (padding, padding)))
    for part in parts:
        expected = convolve(expected, part)
    given = convolve(padded, Part("whole", whole.weight, whole.bias))
    assert given.shape == expected.shape == (len(parts[-1].weight), 6, 5)
    assert (given == expected).all()


def test_the_border_holds_the_norm_of_zeros():
    """One channel, all ones: 1x1 gives 2x + 3, so the border is 3. A 3x3 sum at a corner of ones: 4 * 5 + 5 * 3 = 35."""
    parts = (
        Part("1", np.full((1, 1, 1, 1), 2.0), np.array([3.0])),
        Part("dw", np.ones((1, 1, 3, 3)), np.zeros(1)),
    )
    whole = merge(chain_of(parts))
    padded = np.pad(np.ones((1, 3, 3)), ((0, 0), (1, 1), (1, 1)))
    result = convolve(padded, Part("whole", whole.weight, whole.bias))
    assert result[0].tolist() == [[35, 39, 35], [39, 45, 39], [35, 39, 35]]


def test_a_norm_behind_a_part_is_folded():
    part = Part("p", np.array([[1.0, 2.0], [3.0, 4.0]])[:, :, None, None], np.array([1.0, -1.0]))
    folded = scaled(part, np.array([2.0, -1.0]), np.array([0.5, 0.25]))
    assert folded.weight[:, :, 0, 0].tolist() == [[2, 4], [-3, -4]]
    assert folded.bias.tolist() == [2.5, 1.25]


def test_shapes_alone_stay_so():
    zeros = np.broadcast_to(np.float64(0), (512, 512, 1, 1))
    depthwise = np.broadcast_to(np.float64(0), (512, 1, 3, 3))
    bias = np.broadcast_to(np.float64(0), 512)
    whole = merge(chain_of((Part("1", zeros, bias), Part("dw", depthwise, bias, 512))))
    assert whole.weight.shape == (512, 512, 3, 3)
    assert whole.weight.strides == (0, 0, 0, 0)
