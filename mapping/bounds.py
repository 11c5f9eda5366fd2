"""Bounds: the proof, from the weights alone, that no accumulator, membrane or reduction can overflow."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError

if TYPE_CHECKING:
    from mapping.quantise import IntSynapse, Precision


class ReductionOverflow(ArchsimError):
    """A reduction needs ``excess`` bits more than there are; a stream of coarser units needs less."""

    def __init__(self, message: str, excess: int) -> None:
        super().__init__(message)
        self.excess = excess


class Bounds:
    """Least and greatest values of streams and operands, from the weights; refuses what could overflow.

    Attributes:
        limit, bits: of accumulators and membranes.
        streams: least and greatest values per channel of each residual stream so far, int64 [channels] each.
        layers: bits that each layer needs.
    """

    def __init__(self, precision: "Precision") -> None:
        self.limit, self.bits = 1 << (precision.membrane_bits - 1), precision.membrane_bits
        self.streams: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self.layers: dict[str, int] = {}

    def require(self, layer: str, what: str, *values: NDArray[np.int64]) -> None:
        """Note the bits that ``values`` need; raises ArchsimError when that is more than the chip has."""
        greatest = max(int(max(value.max(), -value.min() - 1)) for value in values)
        bits = greatest.bit_length() + 1
        self.layers[layer] = max(bits, self.layers.get(layer, 0))
        if greatest >= self.limit:
            message = (
                f"layer '{layer}': its {what} can reach {greatest}, which needs {bits} bits, but membrane_bits is {self.bits}; "
                "use a chip with wider membranes, fewer weight bits, or split the layer"
            )
            raise ReductionOverflow(message, bits - self.bits) if what == "reduction" else ArchsimError(message)

    def count(self, layer: str, spikes: int) -> None:
        """Prove the number of spikes of a sum, which a reduction may count."""
        self.require(layer, "count", np.array([spikes]))

    def synapse(self, layer: "IntSynapse", sums: int, addends: int = 1) -> None:
        """Prove a layer: accumulator, biased sum, stream, membrane.

        ``sums``: positions x steps of a reduction; ``addends``: operands that meet the same weights.
        """
        self.join(layer, *self.scaled(layer, addends), sums)

    def scaled(self, layer: "IntSynapse", addends: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Prove accumulator and biased sum of a layer; returns the least and greatest of its shifted sums, int64 [Cout] each."""
        weight = layer.weight.astype(np.int64).reshape(len(layer.weight), -1)
        low, high = np.minimum(weight, 0).sum(1) * addends, np.maximum(weight, 0).sum(1) * addends
        if layer.planes:
            # Every prefix of the planes is a smaller operand of the same form, so the whole one bounds them all.
            half = 1 << (layer.planes - 1)
            low, high = low * (half - 1) - high * half, high * (half - 1) - low * half
        self.require(layer.name, "accumulator", low, high)
        low, high = low + layer.bias, high + layer.bias
        self.require(layer.name, "biased sum", low, high, layer.bias)
        left, right = np.maximum(-layer.shift, 0), np.maximum(layer.shift, 0)
        return (low << left) >> right, (high << left) >> right

    def join(self, layer: "IntSynapse", low: NDArray[np.int64], high: NDArray[np.int64], sums: int) -> None:
        """Prove stream, membrane and reduction of a layer whose shifted sums are in ``low`` to ``high``."""
        if layer.stream:
            if not layer.opens:
                low, high = low + self.streams[layer.stream][0], high + self.streams[layer.stream][1]
            self.streams[layer.into or layer.stream] = low, high
        self.require(layer.name, "membrane", low, high, layer.threshold)
        if layer.reduce:
            self.require(layer.name, "reduction", low * sums, high * sums)
