"""Meta-SpikeFormer (Yao et al., arXiv 2404.03663; BICLab/Spike-Driven-Transformer-V2, classification/models.py).

It is the Spike-driven Transformer V2: convolution blocks, then attention blocks, a LIF before every convolution but the first, a
membrane stream that starts anew with each down-sampling, and a LIF between the mean over tokens and the classifier. Two kinds of
chains of convolutions have no neuron inside: RepConv (of q, k, v and the projection), and the depthwise and pointwise convolution
of SepConv. ``merge_rep`` and ``merge_sep`` make each one convolution.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mapping.ir import IMAGE, LIF, Attention, Chain, Classifier, Layer, Map, Network, Part, Synapse
from mapping.merge import merge, merged_shape, scaled
from mapping.networks.weights import Weights

THRESHOLD, ATTENTION_THRESHOLD, SCALE = 1.0, 0.5, 0.125
"""Published thresholds of all neurons and of those behind the attention; factor of the attention's counts."""

STREAM = "x"

SEP_RATIO, CONV_RATIO = 2, 4
"""Published expansion of SepConv and of the convolution behind it."""


@dataclass(frozen=True)
class MetaSpikeformer:
    """A size of the family.

    Attributes:
        name: for reports.
        dims: channels of the four stages (embed_dim); the first convolution has half the first.
        depths: blocks of the third and fourth stage.
        merge_rep, merge_sep: RepConv and SepConv's chain are given as one dense convolution.
        distilled: a second head, trained on a teacher; logits are the mean of both.
        heads, mlp_ratio, classes, timesteps, image, scale: as in the published code.
        strides: of the five down-samplings.
        sep_kernels: of SepConv's depthwise convolution in each of the four convolution blocks.
        note: what of this size is not published.
    """

    name: str
    dims: tuple[int, int, int, int]
    depths: tuple[int, int] = (6, 2)
    merge_rep: bool = True
    merge_sep: bool = True
    distilled: bool = False
    heads: int = 8
    mlp_ratio: int = 4
    classes: int = 1000
    timesteps: int = 4
    image: Map = Map(224, 224, 3)
    scale: float = SCALE
    strides: tuple[int, ...] = (2, 2, 2, 2, 1)
    sep_kernels: tuple[int, ...] = (7, 7, 7, 7)
    note: str = ""

    def network(self, weights: Weights, image_limit: float = 1.0, head_limit: float = 1.0) -> Network:
        """The network with these weights; the limits are as in :class:`~mapping.ir.Network`."""
        names = self._neurons()
        layers = tuple(self._layers(weights, names))
        return Network(self.name, self.timesteps, self.image, image_limit, head_limit, layers)

    def _neurons(self) -> Iterator[str]:
        """Names of the LIF that read the stream, in order: the layer before each fires it."""
        yield from ("ConvBlock1_1.0.Conv.lif1", "ConvBlock1_1.0.lif1", "downsample1_2.encode_lif")
        yield from ("ConvBlock1_2.0.Conv.lif1", "ConvBlock1_2.0.lif1", "downsample2.encode_lif")
        for number in (1, 2):
            yield from (f"ConvBlock2_{number}.0.Conv.lif1", f"ConvBlock2_{number}.0.lif1")
        for stage, depth in zip((3, 4), self.depths, strict=True):
            yield f"downsample{stage}.encode_lif"
            for block in range(depth):
                yield from (f"block{stage}.{block}.attn.head_lif", f"block{stage}.{block}.mlp.fc1_lif")

    def _layers(self, weights: Weights, names: Iterator[str]) -> Iterator[Layer]:
        first, second, third, fourth = self.dims
        lif, strides = next(names), iter(self.strides)
        yield self._down(weights, "1_1", IMAGE, first // 2, self.image.channels, lif, next(strides), kernel=7)
        blocks = ("1_1", first // 2, "1_2"), ("1_2", first, "2"), ("2_1", second, ""), ("2_2", second, "3")
        for (place, dim, entry), kernel in zip(blocks, self.sep_kernels, strict=True):
            inside, behind = next(names), next(names)
            yield from self._separable(weights, f"ConvBlock{place}.0.Conv", lif, dim, inside, kernel)
            yield from self._convolutions(weights, f"ConvBlock{place}.0", inside, dim, behind)
            lif = behind
            if entry:
                cout = {"1_2": first, "2": second, "3": third}[entry]
                lif = next(names)
                yield self._down(weights, entry, behind, cout, dim, lif, next(strides))
        for stage, dim, depth in ((3, third, self.depths[0]), (4, fourth, self.depths[1])):
            for block in range(depth):
                inside, following = next(names), next(names, None)
                yield from self._attention(weights, f"block{stage}.{block}.attn", lif, dim, inside)
                yield from self._mlp(weights, f"block{stage}.{block}.mlp", inside, dim, following)
                lif = following or ""
            if stage == 3:
                before, lif = lif, next(names)
                yield self._down(weights, "4", before, fourth, third, lif, next(strides))
        yield self._classifier(weights, f"block4.{self.depths[1] - 1}.mlp.fc2_conv")

    def _down(
        self, weights: Weights, place: str, source: str, cout: int, cin: int, lif: str, stride: int, kernel: int = 3
    ) -> Synapse:
        """A convolution between stages, which opens the stream."""
        name = f"downsample{place}"
        weight, bias = weights.conv(f"{name}.encode_conv", f"{name}.encode_bn", (cout, cin, kernel, kernel), bias=True)
        threshold = weights.threshold(lif, THRESHOLD)
        return Synapse(
            f"{name}.encode_conv", source, weight, bias, stride, kernel // 2, STREAM, True, threshold=threshold, spikes=lif
        )

    def _separable(
        self, weights: Weights, place: str, source: str, dim: int, lif: str, size: int
    ) -> Iterator[Layer]:
        """SepConv: 1x1, LIF, depthwise ``size`` x ``size``, 1x1."""
        wide, inside = dim * SEP_RATIO, f"{place}.lif2"
        kernel = weights.conv(f"{place}.pwconv1", f"{place}.bn1", (wide, dim, 1, 1))
        threshold = weights.threshold(inside, THRESHOLD)
        yield Synapse(f"{place}.pwconv1", source, *kernel, threshold=threshold, spikes=inside)
        depthwise = weights.plain(f"{place}.dwconv", (wide, 1, size, size))
        parts = (
            Part(f"{place}.dwconv", *depthwise, groups=wide),
            Part(f"{place}.pwconv2", *weights.conv(f"{place}.pwconv2", f"{place}.bn2", (dim, wide, 1, 1))),
        )
        threshold = weights.threshold(lif, THRESHOLD)
        chain = _chain(f"{place}.pwconv2", inside, parts, size // 2, lif, threshold, STREAM)
        yield merge(chain) if self.merge_sep else chain

    def _convolutions(self, weights: Weights, place: str, source: str, dim: int, lif: str) -> Iterator[Layer]:
        """Two dense 3x3 convolutions."""
        wide, inside = dim * CONV_RATIO, f"{place}.lif2"
        kernel = weights.conv(f"{place}.conv1", f"{place}.bn1", (wide, dim, 3, 3))
        threshold = weights.threshold(inside, THRESHOLD)
        yield Synapse(f"{place}.conv1", source, *kernel, padding=1, threshold=threshold, spikes=inside)
        kernel = weights.conv(f"{place}.conv2", f"{place}.bn2", (dim, wide, 3, 3))
        threshold = weights.threshold(lif, THRESHOLD)
        yield Synapse(f"{place}.conv2", inside, *kernel, padding=1, stream=STREAM, threshold=threshold, spikes=lif)

    def _attention(self, weights: Weights, attn: str, source: str, dim: int, lif: str) -> Iterator[Layer]:
        for part in ("k", "v", "q"):
            yield self._rep_conv(weights, f"{attn}.{part}_conv", source, dim, f"{attn}.{part}_lif", None)
        threshold, fired = weights.threshold(f"{attn}.attn_lif", ATTENTION_THRESHOLD), f"{attn}.attn_lif"
        yield Attention(attn, f"{attn}.q_lif", f"{attn}.k_lif", f"{attn}.v_lif", fired, self.heads, self.scale, threshold)
        yield self._rep_conv(weights, f"{attn}.proj_conv", fired, dim, lif, STREAM)

    def _rep_conv(self, weights: Weights, name: str, source: str, dim: int, lif: str, stream: str | None) -> Layer:
        """RepConv and the norm behind it: 1x1 with a norm, depthwise 3x3, 1x1 with two norms."""
        body = f"{name}.0.body"
        first = Part(f"{body}.0", *weights.conv(f"{body}.0", f"{body}.1.bn", (dim, dim, 1, 1)))
        depthwise = Part(f"{body}.2.0", *weights.plain(f"{body}.2.0", (dim, 1, 3, 3)), groups=dim)
        last = Part(f"{body}.2.1", *weights.conv(f"{body}.2.1", f"{body}.2.2", (dim, dim, 1, 1)))
        parts = first, depthwise, scaled(last, *weights.norm(f"{name}.1", dim))
        chain = _chain(name, source, parts, 1, lif, weights.threshold(lif, THRESHOLD), stream)
        return merge(chain) if self.merge_rep else chain

    def _mlp(self, weights: Weights, mlp: str, source: str, dim: int, lif: str | None) -> Iterator[Layer]:
        """The last one of the network (no LIF behind it) is what the classifier reads."""
        hidden, inside = dim * self.mlp_ratio, f"{mlp}.fc2_lif"
        kernel = weights.conv(f"{mlp}.fc1_conv", f"{mlp}.fc1_bn", (hidden, dim, 1), bias=True)
        threshold = weights.threshold(inside, THRESHOLD)
        yield Synapse(f"{mlp}.fc1_conv", source, *kernel, threshold=threshold, spikes=inside)
        kernel = weights.conv(f"{mlp}.fc2_conv", f"{mlp}.fc2_bn", (dim, hidden, 1), bias=True)
        yield Synapse(
            f"{mlp}.fc2_conv", inside, *kernel, stream=STREAM, neuron=LIF if lif else None,
            threshold=weights.threshold(lif, THRESHOLD) if lif else 0.0, spikes=lif, reduce=lif is None,
        )  # fmt: skip

    def _classifier(self, weights: Weights, source: str) -> Classifier:
        weight, bias = weights.linear("head", (self.classes, self.dims[3]))
        if self.distilled:
            other, constant = weights.linear("head_kd", (self.classes, self.dims[3]))
            weight, bias = (weight + other) / 2, (bias + constant) / 2
        return Classifier("head", source, weight, bias, LIF, weights.threshold("lif", THRESHOLD), "lif")


def _chain(
    name: str, source: str, parts: tuple[Part, ...], padding: int, lif: str, threshold: float, stream: str | None
) -> Chain:
    shape = merged_shape(parts)
    nothing = np.broadcast_to(np.float64(0), shape), np.broadcast_to(np.float64(0), shape[0])
    synapse = Synapse(name, source, *nothing, padding=padding, stream=stream, threshold=threshold, spikes=lif)
    return Chain(parts, synapse)


PUBLISHED = {
    "15M": MetaSpikeformer(
        "meta_spikeformer_15m",
        (64, 128, 256, 360),
        note="its dimensions are not published; these give its 15.1 M parameters",
    ),
    "8-384": MetaSpikeformer("meta_spikeformer_8_384", (96, 192, 384, 480)),
    "8-512": MetaSpikeformer("meta_spikeformer_8_512", (128, 256, 512, 640)),
    "8-512-kd": MetaSpikeformer("meta_spikeformer_8_512_kd", (128, 256, 512, 640), distilled=True),
    "8-768": MetaSpikeformer("meta_spikeformer_8_768", (192, 384, 768, 960)),
}
"""The published sizes, on ImageNet at 224 x 224, by their names in the code."""


def unmerged(size: MetaSpikeformer) -> MetaSpikeformer:
    """The same size with its chains as separate convolutions, as it was trained."""
    return replace(size, merge_rep=False, merge_sep=False)
