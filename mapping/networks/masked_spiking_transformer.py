"""Masked Spiking Transformer, MST (Wang et al., ICCV 2023; bic-L/Masked-Spiking-Transformer, models/mst.py).

A Swin-T whose activations are integrate and fire neurons: soft reset, start at half a learned threshold, spikes as high as the
threshold. The stream is real-valued and carries batch norms; attention within windows has a softmax in every step, a layer norm
stands before the classifier. Random masks drop spikes of q, k and the scores, in inference too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mapping.ir import IF_HALF, IMAGE, Classifier, Layer, Map, Network, Synapse
from mapping.networks.weights import Kernel, Weights
from mapping.nodes import BATCH, LAYER, Norm, Sum, WindowAttention

THRESHOLD = 2.0
"""Value from which the published code trains its thresholds."""

HEAD, PATCH = 32, 4
"""Published channels of a head, and side of a patch."""


@dataclass(frozen=True)
class MaskedSpikingTransformer:
    """A size of the family.

    Attributes:
        name: for reports.
        classes: as in the published code.
        mlp_norms: batch norms behind the layers of the MLP: in the network for ImageNet.
        masked: share of the spikes that are masked.
        dim, depths, window, mlp_ratio, timesteps, image: as in the published code.
        head, patch: channels of a head, and side of a patch.
        last_norm: kind of the norm before the classifier; published is a layer norm.
    """

    name: str
    classes: int
    mlp_norms: bool
    masked: float
    dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    window: int = 7
    mlp_ratio: int = 4
    timesteps: int = 128
    image: Map = Map(224, 224, 3)
    note: str = ""
    head: int = HEAD
    patch: int = PATCH
    last_norm: str = LAYER

    def network(self, weights: Weights, image_limit: float = 1.0, head_limit: float = 1.0) -> Network:
        """The network with these weights; the limits are as in :class:`~mapping.ir.Network`."""
        layers = tuple(self._layers(weights))
        return Network(self.name, self.timesteps, self.image, image_limit, head_limit, layers)

    def _layers(self, weights: Weights) -> Iterator[Layer]:
        shape = (self.dim, self.image.channels, self.patch, self.patch)
        kernel, x = weights.conv("patch_embed.proj", "patch_embed.norm", shape, bias=True), "patch_embed.proj_if"
        yield self._firing(weights, "patch_embed.proj", IMAGE, kernel, x, stride=self.patch)
        side, dim = self.image.height // self.patch, self.dim
        for stage, depth in enumerate(self.depths):
            for number in range(depth):
                shift = self.window // 2 if number % 2 and side > self.window else 0
                yield from self._block(weights, f"layers.{stage}.blocks.{number}", x, dim, shift)
                x = f"layers.{stage}.blocks.{number}.mlp.sum"
            if stage + 1 < len(self.depths):
                place, source, x = f"layers.{stage}.downsample", x, f"layers.{stage}.downsample.reduction_if"
                yield self._firing(weights, f"{place}.reduction", source, _merging(weights, place, dim), x, stride=2)
                side, dim = side // 2, 2 * dim
        last = weights.layer_norm("norm", dim) if self.last_norm == LAYER else weights.norm("norm", dim)
        yield Norm("norm", x, self.last_norm, *last, reduce=True)
        yield Classifier("head", "norm", *weights.linear("head", (self.classes, dim)))

    def _block(self, weights: Weights, place: str, x: str, dim: int, shift: int) -> Iterator[Layer]:
        attn, mlp = f"{place}.attn", f"{place}.mlp"
        yield self._norm(weights, f"{place}.norm1", x, dim, f"{place}.shortcut1_if")
        weight, bias = weights.plain(f"{attn}.qkv", (3 * dim, dim), bias=True)
        for number, part in enumerate("qkv"):
            rows = slice(number * dim, (number + 1) * dim)
            kernel = weight[rows], bias[rows]
            yield self._firing(weights, f"{attn}.qkv.{part}", f"{place}.shortcut1_if", kernel, f"{attn}.{part}_if")
        heads = dim // self.head
        table = weights.table(f"{attn}.relative_position_bias_table", ((2 * self.window - 1) ** 2, heads))
        yield WindowAttention(
            attn, f"{attn}.q_if", f"{attn}.k_if", f"{attn}.v_if", f"{attn}.attn_v_if", heads, self.head**-0.5, self.window, shift,
            _relative(table, self.window), 1 - self.masked, weights.threshold(f"{attn}.attn_if", THRESHOLD),
            weights.threshold(f"{attn}.attn_v_if", THRESHOLD),
        )  # fmt: skip
        kernel = weights.plain(f"{attn}.proj", (dim, dim), bias=True)
        yield self._firing(weights, f"{attn}.proj", f"{attn}.attn_v_if", kernel, f"{attn}.proj_if")
        yield Sum(f"{attn}.sum", (x, f"{attn}.proj_if"))
        yield self._norm(weights, f"{place}.norm2", f"{attn}.sum", dim, f"{place}.shortcut2_if")
        hidden, source = dim * self.mlp_ratio, f"{place}.shortcut2_if"
        for number, shape in enumerate(((hidden, dim), (dim, hidden)), 1):
            name, norm = f"{mlp}.fc{number}", f"{mlp}.norm{number}"
            kernel = (
                weights.conv(name, norm, shape, bias=True) if self.mlp_norms else weights.plain(name, shape, bias=True)
            )
            yield self._firing(weights, name, source, kernel, f"{name}_if")
            source = f"{name}_if"
        yield Sum(f"{mlp}.sum", (f"{place}.norm2", f"{mlp}.fc2_if"))

    def _firing(
        self, weights: Weights, name: str, source: str, kernel: Kernel, spikes: str, stride: int = 1
    ) -> Synapse:
        threshold = weights.threshold(spikes, THRESHOLD)
        return Synapse(name, source, *kernel, stride=stride, neuron=IF_HALF, threshold=threshold, spikes=spikes)

    def _norm(self, weights: Weights, name: str, source: str, dim: int, spikes: str) -> Norm:
        """A batch norm on the stream and the neuron behind it."""
        threshold = weights.threshold(spikes, THRESHOLD)
        return Norm(name, source, BATCH, *weights.norm(name, dim), IF_HALF, threshold, spikes)


def masked(network: Network, share: float) -> Network:
    """The network with another share of its spikes masked."""
    layers = (replace(x, keep=1 - share) if isinstance(x, WindowAttention) else x for x in network.layers)
    return replace(network, layers=tuple(layers))


def _merging(weights: Weights, place: str, dim: int) -> Kernel:
    """The linear layer over 2x2 neighbours as a convolution, the batch norm before it folded in.

    The published code puts the neighbours (0, 0), (1, 0), (0, 1), (1, 1) (row, column) side by side.
    """
    scale, offset = weights.norm(f"{place}.norm", 4 * dim)
    matrix = weights.plain(f"{place}.reduction", (2 * dim, 4 * dim))[0][:, :, 0, 0]
    kernel = (matrix * scale).reshape(2 * dim, 2, 2, dim).transpose(0, 3, 2, 1)
    return kernel, matrix @ offset


def _relative(table: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The learned table [(2 * window - 1) ** 2, heads] by pair of tokens: [heads, window ** 2, window ** 2]."""
    rows, columns = (axis.ravel() for axis in np.indices((window, window)))
    reach = window - 1
    index = (rows[:, None] - rows + reach) * (2 * window - 1) + columns[:, None] - columns + reach
    return np.moveaxis(table[index], 2, 0)


PUBLISHED = {
    f"{dataset}{suffix}": MaskedSpikingTransformer(
        f"masked_spiking_transformer_{dataset}{suffix.replace('-', '_')}", classes, dataset == "imagenet", masked
    )
    for dataset, classes in (("imagenet", 1000), ("cifar10", 10), ("cifar100", 100))
    for suffix, masked in (("", 0.0), ("-75", 0.75))
}
"""The published networks by data set, all at 224 x 224, without masks and with 75 % of the spikes masked."""
