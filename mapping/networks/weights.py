"""Where a network's definition takes its numbers from: a trained artefact, or shapes alone."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mapping.ir import Network

Kernel = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Weights [Cout, Cin, kernel height, kernel width] and bias [Cout], a norm folded in."""


class Weights(Protocol):
    """What a definition asks for, by the names of the published code."""

    def conv(self, name: str, norm: str, shape: tuple[int, ...], bias: bool = False) -> Kernel:
        """A convolution of weights ``shape`` as in the checkpoint, its own bias if ``bias``, and the norm behind it, folded."""

    def plain(self, name: str, shape: tuple[int, ...], bias: bool = False) -> Kernel:
        """A convolution without a norm."""

    def norm(self, name: str, channels: int) -> Kernel:
        """Scale and offset [channels] of a norm that is not folded here."""

    def layer_norm(self, name: str, channels: int) -> Kernel:
        """Gain and offset [channels] of a layer norm."""

    def table(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Other learned numbers."""

    def linear(self, name: str, shape: tuple[int, int]) -> Kernel:
        """A linear layer with bias and without a norm: weights [classes, channels], bias [classes]."""

    def threshold(self, neuron: str, published: float) -> float:
        """Threshold of a neuron layer whose published value is given."""

    def unused(self, name: str, parameters: int) -> None:
        """Parameters that the checkpoint holds and no computation reads."""


class Size(Protocol):
    """A size of a family of networks."""

    def network(self, weights: Weights, image_limit: float = 1.0, head_limit: float = 1.0) -> Network:
        """The network with these weights; the limits are as in :class:`~mapping.ir.Network`."""


@dataclass
class Shapes:
    """Weights of a network of which only the shapes are known; they take no memory, and are counted.

    Attributes:
        parameters: trainable parameters by layer, norms included, as the checkpoint counts them.
    """

    parameters: dict[str, int] = field(default_factory=dict)

    def conv(self, name: str, norm: str, shape: tuple[int, ...], bias: bool = False) -> Kernel:
        """Zeros; a norm has a gain and an offset for each channel."""
        self.norm(norm, shape[0])
        return self.plain(name, shape, bias)

    def plain(self, name: str, shape: tuple[int, ...], bias: bool = False) -> Kernel:
        """Zeros."""
        self.parameters[name] = int(np.prod(shape)) + shape[0] * bias
        return _zeros(*shape, *([1] * (4 - len(shape)))), _zeros(shape[0])

    def norm(self, name: str, channels: int) -> Kernel:
        """Zeros."""
        self.parameters[name] = 2 * channels
        return _zeros(channels), _zeros(channels)

    def layer_norm(self, name: str, channels: int) -> Kernel:
        """Zeros; it has as many parameters."""
        return self.norm(name, channels)

    def table(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Zeros."""
        self.parameters[name] = int(np.prod(shape))
        return _zeros(*shape)

    def linear(self, name: str, shape: tuple[int, int]) -> Kernel:
        """Zeros."""
        self.parameters[name] = shape[0] * shape[1] + shape[0]
        return _zeros(*shape), _zeros(shape[0])

    def threshold(self, neuron: str, published: float) -> float:
        """The published one."""
        return published

    def unused(self, name: str, parameters: int) -> None:
        """Counted like the others."""
        self.parameters[name] = parameters

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())


@dataclass(frozen=True)
class Synthetic:
    """Random weights of a network that was never trained: normal, variance 2 / inputs, the same for the same seed and name."""

    seed: int = 0

    def conv(self, name: str, norm: str, shape: tuple[int, ...], bias: bool = False) -> Kernel:
        """Random weights and a bias of 0, as if the norm had been folded in."""
        return self.plain(name, shape)

    def plain(self, name: str, shape: tuple[int, ...], bias: bool = False) -> Kernel:
        """Random weights and a bias of 0."""
        weight = self._normal(name, shape).reshape(*shape, *([1] * (4 - len(shape))))
        return weight, np.zeros(shape[0])

    def norm(self, name: str, channels: int) -> Kernel:
        """It changes nothing."""
        return np.ones(channels), np.zeros(channels)

    def layer_norm(self, name: str, channels: int) -> Kernel:
        """Gains of 1, no offsets."""
        return self.norm(name, channels)

    def table(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Zeros."""
        return np.zeros(shape)

    def linear(self, name: str, shape: tuple[int, int]) -> Kernel:
        """Random weights and a bias of 0."""
        return self._normal(name, shape), np.zeros(shape[0])

    def threshold(self, neuron: str, published: float) -> float:
        """The published one."""
        return published

    def unused(self, name: str, parameters: int) -> None:
        """Not made."""

    def _normal(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        draws = np.random.default_rng([self.seed, *name.encode()]).standard_normal(shape)
        draws *= np.sqrt(2 / np.prod(shape[1:]))
        return draws


def _zeros(*shape: int) -> NDArray[np.float64]:
    """Zeros of any shape in the memory of one."""
    return np.broadcast_to(np.float64(0), shape)
