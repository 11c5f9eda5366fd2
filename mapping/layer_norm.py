"""Layer norm before the classifier, in integers: the shifts of a NORMALISE for a stream, and what it makes of it.

The instruction divides by the deviation alone. Gain, offset, sqrt(channels) and the powers of two of its shifts are factors of the
classifier's weights (:mod:`mapping.head`). The published norm adds 1e-5 to the variance, the chip nothing.

Shifts follow from the least and greatest values of the stream, which are proven from the weights:

* no distance from the mean exceeds an operand, and no square a membrane, so that neither saturates;
* the reciprocal saturates for roots below about the square root of the greatest one: above it, each bit of the root that is lost
  is one that the reciprocal gains. A token of less deviation is normed as if it had that;
* results are as fine as their sum over all tokens and time steps allows, whatever saturates.
"""

from dataclasses import dataclass
from math import isqrt, log2

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import normaliser, vector
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.vector import VectorParams
from mapping.ir import Map


@dataclass(frozen=True)
class IntLayerNorm:
    """A layer norm of each token in each time step of the stream that a layer opens; its results are summed for the classifier.

    Attributes:
        name: of the norm.
        source: the layer that leaves the stream, and opens it.
        shape: of the stream.
        shifts: ``center_shift``, ``square_shift``, ``reciprocal_shift`` and ``scale_shift`` of NORMALISE.
        operand_bits, membrane_bits: of the normaliser that they are chosen for.
    """

    name: str
    source: str
    shape: Map
    shifts: tuple[int, int, int, int]
    operand_bits: int
    membrane_bits: int
    spikes: None = None

    @property
    def fields(self) -> dict[str, int]:
        """Fields of NORMALISE that do not depend on where the stream lies."""
        names = "center_shift", "square_shift", "reciprocal_shift", "scale_shift"
        return {**dict(zip(names, self.shifts, strict=True)), "elements": self.shape.channels, "digits": vector.ALL_DIGITS}

    @property
    def exponent(self) -> float:
        """The results count in units of ``2 ** -exponent``: no whole number, since sqrt(channels) is in it."""
        _, square, reciprocal, scale = self.shifts
        return reciprocal - scale + square / 2 - log2(self.shape.channels) / 2

    def values(self, stream: NDArray[np.int64]) -> NDArray[np.int64]:
        """The stream [T, positions, channels] normed, token by token, by the contract's plain integers."""
        params = VectorParams(1, self.membrane_bits, self.operand_bits, 2 * self.membrane_bits - 1, 1)
        tokens = stream.reshape(-1, self.shape.channels).tolist()
        normed = [normaliser.reference_normalise(token, self.fields, params) for token in tokens]
        return np.array(normed, np.int64).reshape(stream.shape)


def without_gains(values: NDArray[np.float64], norm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values [..., channels] behind a layer norm without its gains and offsets [2, channels]; 0 where the gain is 0."""
    gain, offset = norm
    result: NDArray[np.float64] = (values - offset) / np.where(gain == 0, np.inf, gain)
    return result


def quantise_layer_norm(
    source: str, shape: Map, low: NDArray[np.int64], high: NDArray[np.int64], count: int, operand_bits: int, membrane_bits: int
) -> tuple[IntLayerNorm, int]:
    """The layer norm behind a layer, and the greatest magnitude of a result.

    Args:
        source: name of the layer, which leaves the stream.
        shape: of the stream.
        low: int64 [channels], least values of the stream.
        high: int64 [channels], the greatest.
        count: results that are added up: positions x time steps.
        operand_bits: bits of the normaliser's operands.
        membrane_bits: bits of membranes.

    Raises ArchsimError for more channels than an operand holds, and for sums that overflow however coarse the results.
    """
    top, channels = (1 << (operand_bits - 1)) - 1, shape.channels
    if channels > top:
        raise ArchsimError(
            f"layer '{source}': a layer norm over {channels} channels needs operands that hold this number, but operand_bits is "
            f"{operand_bits}; use a chip with a wider normaliser"
        )
    distance = _greatest_distance(low, high)
    center = max(0, distance.bit_length() - (operand_bits - 1))
    distance = (distance >> center) + 1  # a floor may be one more; the least operand is -top - 1
    square = max(0, (distance * distance).bit_length() - (membrane_bits - 1))
    root = isqrt(channels * (distance * distance >> square))
    reciprocal = operand_bits - 1 + root.bit_length() // 2
    greatest = _greatest_result(distance, square, reciprocal, top)
    limit = ((1 << (membrane_bits - 1)) - 1) // count - 1  # a floor may be one more
    if limit < 1:
        raise ArchsimError(
            f"layer '{source}': {count} results of a layer norm do not fit a sum of {membrane_bits} bits; use a chip with wider "
            "membranes or fewer time steps"
        )
    scale = next(shift for shift in range(greatest.bit_length()) if greatest >> shift <= limit)
    shifts = center, square, reciprocal, scale
    return IntLayerNorm(f"{source}.normalised", source, shape, shifts, operand_bits, membrane_bits), (greatest >> scale) + 1


def _greatest_distance(low: NDArray[np.int64], high: NDArray[np.int64]) -> int:
    """Greatest magnitude of ``channels * x - sum`` of a stream whose values are in ``low`` to ``high``."""
    above = (len(low) - 1) * high - (low.sum() - low)
    below = (high.sum() - high) - (len(low) - 1) * low
    return int(max(above.max(), below.max(), 0))


def _greatest_result(distance: int, square: int, reciprocal: int, top: int) -> int:
    """Greatest magnitude of a distance times the reciprocal, unshifted, for distances up to ``distance``.

    The root of a token is at least that of one of its squares, and the reciprocal of a root of 0 is 0.
    """
    distances = np.arange(1, distance + 1, dtype=np.int64)
    roots = np.sqrt((distances * distances >> square).astype(np.float64)).astype(np.int64)  # exact: below 2^53
    quotients = np.minimum((1 << reciprocal) // np.maximum(roots, 1), top)
    return int((distances * quotients).max())
