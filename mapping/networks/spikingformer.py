"""Spikingformer (Zhou et al., arXiv 2304.11954; zhouchenlin2096/Spikingformer, imagenet/model.py and cifar10/model.py).

A LIF stands before every convolution but the first; sums join a membrane stream that starts after the tokenizer. In this
representation a neuron belongs to the layer that feeds it, so each layer that updates the stream also fires the next LIF.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mapping.ir import IMAGE, Attention, Classifier, Layer, Map, Network, Synapse
from mapping.networks.weights import Weights

STREAM = "x"

THRESHOLD, ATTENTION_THRESHOLD = 1.0, 0.5
"""Published thresholds of all neurons, and of those behind the attention."""

SCALE = 0.125
"""Published factor of the attention's counts."""


@dataclass(frozen=True)
class Stage:
    """A convolution of the tokenizer, 3x3 with padding 1 where published, with the LIF and the pool that stand before it."""

    conv: str
    norm: str
    lif: str | None
    cin: int
    cout: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: bool = False


@dataclass(frozen=True)
class Spikingformer:
    """A size of the family.

    Attributes:
        name: for reports.
        image: height, width, channels.
        stages: the tokenizer.
        dim, depth, heads, mlp_ratio, classes, timesteps: as in the published code.
        scale: factor of the attention's counts.
    """

    name: str
    image: Map
    stages: tuple[Stage, ...]
    dim: int
    depth: int
    heads: int
    mlp_ratio: int
    classes: int
    timesteps: int
    scale: float = SCALE

    def network(self, weights: Weights, image_limit: float = 1.0, head_limit: float = 1.0) -> Network:
        """The network with these weights; the limits are as in :class:`~mapping.ir.Network`."""
        layers = [*self._tokenizer(weights), *(x for block in range(self.depth) for x in self._block(weights, block))]
        layers.append(Classifier("head", layers[-1].name, *weights.linear("head", (self.classes, self.dim))))
        return Network(self.name, self.timesteps, self.image, image_limit, head_limit, tuple(layers))

    def _tokenizer(self, weights: Weights) -> Iterator[Synapse]:
        source = IMAGE
        for number, stage in enumerate(self.stages):
            following = self.stages[number + 1] if number + 1 < len(self.stages) else None
            name, last = f"patch_embed.{stage.conv}", following is None
            shape = (stage.cout, stage.cin, stage.kernel, stage.kernel)
            weight, bias = weights.conv(name, f"patch_embed.{stage.norm}", shape)
            lif = f"patch_embed.{following.lif}" if following else "block.0.attn.proj_lif"
            yield Synapse(
                name, source, weight, bias, stage.stride, stage.padding, stream=STREAM if last else None, opens=last,
                threshold=weights.threshold(lif, THRESHOLD), spikes=lif, pool=following is not None and following.pool,
            )  # fmt: skip
            source = lif

    def _block(self, weights: Weights, block: int) -> Iterator[Layer]:
        attn, mlp, dim, last = f"block.{block}.attn", f"block.{block}.mlp", self.dim, block == self.depth - 1
        hidden = dim * self.mlp_ratio
        for norm in ("norm1", "norm2"):  # layer norms that the published code constructs and never calls
            weights.unused(f"block.{block}.{norm}", 2 * dim)
        for part in ("k", "v", "q"):  # Q streams behind K and V
            kernel, lif = weights.conv(f"{attn}.{part}_conv", f"{attn}.{part}_bn", (dim, dim, 1)), f"{attn}.{part}_lif"
            threshold = weights.threshold(lif, THRESHOLD)
            yield Synapse(f"{attn}.{part}_conv", f"{attn}.proj_lif", *kernel, threshold=threshold, spikes=lif)
        yield Attention(
            attn, f"{attn}.q_lif", f"{attn}.k_lif", f"{attn}.v_lif", f"{attn}.attn_lif", self.heads, self.scale,
            weights.threshold(f"{attn}.attn_lif", ATTENTION_THRESHOLD),
        )  # fmt: skip
        kernel, lif = weights.conv(f"{attn}.proj_conv", f"{attn}.proj_bn", (dim, dim, 1), bias=True), f"{mlp}.mlp1_lif"
        yield Synapse(
            f"{attn}.proj_conv", f"{attn}.attn_lif", *kernel, stream=STREAM, threshold=weights.threshold(lif, THRESHOLD),
            spikes=lif,
        )  # fmt: skip
        kernel = weights.conv(f"{mlp}.mlp1_conv", f"{mlp}.mlp1_bn", (hidden, dim, 1, 1), bias=True)
        source, lif = lif, f"{mlp}.mlp2_lif"
        threshold = weights.threshold(lif, THRESHOLD)
        yield Synapse(f"{mlp}.mlp1_conv", source, *kernel, threshold=threshold, spikes=lif)
        kernel = weights.conv(f"{mlp}.mlp2_conv", f"{mlp}.mlp2_bn", (dim, hidden, 1, 1), bias=True)
        source, lif = lif, f"block.{block + 1}.attn.proj_lif"
        yield Synapse(
            f"{mlp}.mlp2_conv", source, *kernel, stream=STREAM, neuron=None if last else "lif",
            threshold=0.0 if last else weights.threshold(lif, THRESHOLD), spikes=None if last else lif, reduce=last,
        )  # fmt: skip


def _published(
    name: str, size: int, prefixes: tuple[str, ...], pooled: int, dim: int, depth: int, heads: int, classes: int
) -> Spikingformer:
    """A published size: its tokenizer's convolutions by the prefix of their names, a pool before those from ``pooled`` on."""
    channels = (3, dim // 8, dim // 4, dim // 2, dim, dim)
    stages = tuple(
        Stage(
            f"{prefix}_conv", f"{prefix}_bn", f"{prefix}_lif" if number else None, channels[number], channels[number + 1],
            pool=number >= pooled,
        )
        for number, prefix in enumerate(prefixes)
    )  # fmt: skip
    return Spikingformer(f"spikingformer_{name}", Map(size, size, 3), stages, dim, depth, heads, 4, classes, 4)


def _imagenet(dim: int) -> Spikingformer:
    return _published(f"8_{dim}", 224, ("proj", "proj1", "proj2", "proj3", "proj4"), 1, dim, 8, 8, 1000)


def _cifar(depth: int, dim: int, heads: int, classes: int) -> Spikingformer:
    prefixes = ("block0", "block1", "block2", "block3", "block4")
    return _published(f"{depth}_{dim}_cifar{classes}", 32, prefixes, 3, dim, depth, heads, classes)


PUBLISHED = {
    **{f"8-{dim}": _imagenet(dim) for dim in (384, 512, 768)},
    "cifar10-4-256": _cifar(4, 256, 8, 10),  # heads assumed: the 12 of the published configuration do not divide 256
    "cifar10-2-384": _cifar(2, 384, 12, 10), "cifar10-4-384": _cifar(4, 384, 12, 10),
    "cifar100-4-384": _cifar(4, 384, 8, 100),
}  # fmt: skip
"""The published sizes: ImageNet at 224 x 224 by depth and dimension, CIFAR at 32 x 32."""
