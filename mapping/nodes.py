"""Layers that are no convolution: sums, concatenation, norms that do not fold, attention with softmax, experts.

They stand beside those of :mod:`mapping.ir`, which reads networks made of both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BATCH, LAYER = "batch norm", "layer norm"
"""Norms that fold into no weight: a scale and an offset per channel, or statistics of each token."""


@dataclass(frozen=True)
class Sum:
    """The sum of maps, position by position: of spike maps, an integer map ``name``; ``reduce``: as in :class:`Synapse`."""

    name: str
    sources: tuple[str, ...]
    reduce: bool = False


@dataclass(frozen=True)
class Concat:
    """Maps side by side, by channel: the map ``name``; ``streams``: those side by side, the stream ``name``."""

    name: str
    sources: tuple[str, ...]
    streams: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transpose:
    """The map ``source`` with its axes in another order, as the map ``name``.

    ``order``: numbers of the source's axes (0 height, 1 width, 2 channels) that become height, width and channels.
    """

    name: str
    source: str
    order: tuple[int, int, int]


@dataclass(frozen=True)
class Norm:
    """A norm that folds into no weight, as the map ``name``, and the neuron behind it.

    Attributes:
        kind: ``BATCH`` or ``LAYER``: of each token in each step, over its channels.
        scale, offset: float64 [channels]; of a layer norm, behind it.
        neuron, threshold, spikes: as in :class:`Synapse`.
        reduce: as in :class:`Synapse`.
    """

    name: str
    source: str
    kind: str
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    neuron: str | None = None
    threshold: float = 1.0
    spikes: str | None = None
    reduce: bool = False


@dataclass(frozen=True)
class Expert:
    """Two linear layers with a neuron between them.

    Attributes:
        hidden, hidden_bias, weight, bias: float64 [H, C], [H], [C, H] and [C].
        threshold: of the neuron.
        steps: time steps in which it runs; its last result stands for the others. None: all.
        residual: the membranes of the token's stream join the first layer's sums, before the neuron; it then has as many channels.
    """

    hidden: NDArray[np.float64]
    hidden_bias: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    threshold: float = 1.0
    steps: int | None = None
    residual: bool = False


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: each position is a token, and the experts that it chooses add their results to its stream.

    The gate reads the spikes of the first time step and chooses for all of them; ties to the lowest expert.

    Attributes:
        source: map of the tokens, written by the layer right before, which joins the same stream.
        stream: residual stream that the results join.
        gate, gate_bias: float64 [experts, C] and [experts].
        experts: the experts.
        choices: experts of a token.
        capacity: tokens that an expert accepts, in the order of positions; a choice beyond that adds nothing.
        neuron, threshold, spikes, reduce: as in :class:`Synapse`, of the stream behind the experts.
        softmax: results are multiplied with the gate's probability, a real number.
    """

    name: str
    source: str
    stream: str
    gate: NDArray[np.float64]
    gate_bias: NDArray[np.float64]
    experts: tuple[Expert, ...]
    choices: int
    capacity: int
    neuron: str | None = None
    threshold: float = 1.0
    spikes: str | None = None
    reduce: bool = False
    softmax: bool = False


@dataclass(frozen=True)
class WindowAttention:
    """Attention with softmax within windows: ``neuron(softmax(mask * neuron(scale * q k^T) + bias) v)``, of masked q and k.

    Attributes:
        window: height and width of a window; ``shift``: of the windows, up and left, cyclic.
        bias: float64 [heads, window ** 2, window ** 2], relative positions.
        keep: probability with which a spike of q, of k and of the scores is kept, drawn anew in every step.
        score_threshold, threshold: of the IF neurons on the scores and on the result.
        score_height: of a spike of the scores; None: as high as their threshold.
        unit: a spike of the result is 1, not as high as its threshold.
    """

    name: str
    q: str
    k: str
    v: str
    spikes: str
    heads: int
    scale: float
    window: int
    shift: int
    bias: NDArray[np.float64]
    keep: float
    score_threshold: float
    threshold: float
    score_height: float | None = None
    unit: bool = False

    @property
    def height(self) -> float:
        """Height of a spike of the scores."""
        return self.score_threshold if self.score_height is None else self.score_height
