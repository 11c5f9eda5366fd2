"""Spikformer (Zhou et al., arXiv 2209.15425; ZK-Zhou/spikformer, imagenet/model.py and cifar10/model.py).

A LIF stands behind every convolution, and the shortcut adds spikes: the blocks read integers, from 0 to twice their number plus 1.
The CIFAR code has linear layers with a bias where that of ImageNet has convolutions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mapping.ir import IMAGE, KV_FIRST, QK_FIRST, Attention, Classifier, Layer, Map, Network, Synapse
from mapping.networks.weights import Kernel, Weights
from mapping.nodes import Sum

THRESHOLD, ATTENTION_THRESHOLD, SCALE = 1.0, 0.5, 0.125
"""Published thresholds of all neurons and of those behind the attention; factor of the attention's counts."""


@dataclass(frozen=True)
class Spikformer:
    """A size of the family.

    Attributes:
        name: for reports.
        image: height, width, channels.
        stem: channels of the tokenizer's convolutions before the last one, which has ``dim``.
        pools: whether a pool stands behind each of them, the last one included.
        dim, depth, heads, classes: as in the published code.
        linear: the blocks have linear layers, and multiply ``q k^T`` first, as in the code for CIFAR.
        mlp_ratio, timesteps, scale: as in the published code.
    """

    name: str
    image: Map
    stem: tuple[int, ...]
    pools: tuple[bool, ...]
    dim: int
    depth: int
    heads: int
    classes: int
    linear: bool = False
    mlp_ratio: int = 4
    timesteps: int = 4
    scale: float = SCALE

    def network(self, weights: Weights, image_limit: float = 1.0, head_limit: float = 1.0) -> Network:
        """The network with these weights; the limits are as in :class:`~mapping.ir.Network`."""
        layers = list(self._tokenizer(weights))
        for block in range(self.depth):
            layers += self._block(weights, block, layers[-1].name)
        layers.append(Classifier("head", layers[-1].name, *weights.linear("head", (self.classes, self.dim))))
        return Network(self.name, self.timesteps, self.image, image_limit, head_limit, tuple(layers))

    def _tokenizer(self, weights: Weights) -> Iterator[Layer]:
        """The convolutions, one more beside them, and the first sum."""
        dim, source, cin = self.dim, IMAGE, self.image.channels
        for number, (cout, pool) in enumerate(zip((*self.stem, dim), self.pools, strict=True)):
            conv, norm, lif = (f"patch_embed.proj_{part}{number or ''}" for part in ("conv", "bn", "lif"))
            kernel = weights.conv(conv, norm, (cout, cin, 3, 3))
            threshold = weights.threshold(lif, THRESHOLD)
            yield Synapse(conv, source, *kernel, padding=1, threshold=threshold, spikes=lif, pool=pool)
            source, cin = lif, cout
        kernel = weights.conv("patch_embed.rpe_conv", "patch_embed.rpe_bn", (dim, dim, 3, 3))
        lif = "patch_embed.rpe_lif"
        threshold = weights.threshold(lif, THRESHOLD)
        yield Synapse("patch_embed.rpe_conv", source, *kernel, padding=1, threshold=threshold, spikes=lif)
        yield Sum("patch_embed.sum", (source, lif))

    def _block(self, weights: Weights, block: int, x: str) -> Iterator[Layer]:
        attn, mlp, dim, hidden = f"block.{block}.attn", f"block.{block}.mlp", self.dim, self.dim * self.mlp_ratio
        for norm in ("norm1", "norm2"):  # layer norms that the published code constructs and never calls
            weights.unused(f"block.{block}.{norm}", 2 * dim)

        def layer(place: str, part: str, source: str, cout: int, cin: int, bias: bool) -> Synapse:
            lif = f"{place}.{part}_lif"
            kernel = self._kernel(weights, f"{place}.{part}", (cout, cin), bias)
            name = f"{place}.{part}_{'linear' if self.linear else 'conv'}"
            return Synapse(name, source, *kernel, threshold=weights.threshold(lif, THRESHOLD), spikes=lif)

        for part in ("k", "v", "q"):
            yield layer(attn, part, x, dim, dim, self.linear)
        yield Attention(
            attn, f"{attn}.q_lif", f"{attn}.k_lif", f"{attn}.v_lif", f"{attn}.attn_lif", self.heads, self.scale,
            weights.threshold(f"{attn}.attn_lif", ATTENTION_THRESHOLD), order=QK_FIRST if self.linear else KV_FIRST,
        )  # fmt: skip
        yield layer(attn, "proj", f"{attn}.attn_lif", dim, dim, True)
        yield Sum(f"{attn}.sum", (x, f"{attn}.proj_lif"))
        yield layer(mlp, "fc1", f"{attn}.sum", hidden, dim, True)
        yield layer(mlp, "fc2", f"{mlp}.fc1_lif", dim, hidden, True)
        yield Sum(f"{mlp}.sum", (f"{attn}.sum", f"{mlp}.fc2_lif"), reduce=block == self.depth - 1)

    def _kernel(self, weights: Weights, place: str, shape: tuple[int, int], bias: bool) -> Kernel:
        """A layer of a block; a linear one has weights of two dimensions, a Conv1d three, the Conv2d of an MLP four."""
        if self.linear:
            return weights.conv(f"{place}_linear", f"{place}_bn", shape, bias)
        ones = (1, 1) if ".mlp." in place else (1,)
        return weights.conv(f"{place}_conv", f"{place}_bn", (*shape, *ones), bias)


def _published(
    name: str, size: int, pooled: int, dim: int, depth: int, heads: int, classes: int, linear: bool = False
) -> Spikformer:
    """A published size: four convolutions in the tokenizer, a pool behind those from ``pooled`` on."""
    stem, pools = (dim // 8, dim // 4, dim // 2), tuple(number >= pooled for number in range(4))
    return Spikformer(f"spikformer_{name}", Map(size, size, 3), stem, pools, dim, depth, heads, classes, linear)


PUBLISHED = {
    **{f"8-{dim}": _published(f"8_{dim}", 224, 0, dim, 8, 8, 1000) for dim in (384, 512, 768)},
    "cifar10-4-384": _published("4_384_cifar10", 32, 2, 384, 4, 12, 10, linear=True),
}
"""The published sizes: ImageNet at 224 x 224 by depth and dimension, CIFAR-10 at 32 x 32."""
