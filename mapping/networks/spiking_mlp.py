"""Spiking MLP (Li et al., IEEE TNNLS 2024; EMI-Group/mixer-snn, mixer_sparse and mixers_sparse_patchcell_origin).

Each stage embeds its input as a membrane that stays the same in all blocks of the stage. A block mixes tokens (linear layers
over height and width beside the identity) and channels; both results join the membrane, not each other over blocks. The norm of the
channel mixing has statistics by token, so it folds into no weight. SPE: the embedding is a small network of three nodes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mapping.ir import HEIGHT, IMAGE, LIF, WIDTH, Classifier, Layer, Map, Network, Synapse
from mapping.networks.weights import Weights
from mapping.nodes import BATCH, Concat, Norm

THRESHOLD, ALPHA, PATCH = 1.0, 3, 4
"""Published threshold of all neurons, expansion of the channel mixing, and side of a patch."""


@dataclass(frozen=True)
class SpikingMlp:
    """A size of the family.

    Attributes:
        name: for reports.
        dim: channels of the first stage; each further stage has twice as many.
        depths: blocks by stage.
        spe: stages are embedded by spiking patch encoding, else by one convolution.
        timesteps, classes, image: as in the published code.
        patch, alpha: side of the first stage's patches, and expansion of the channel mixing.
        note: what of this size is not published.
    """

    name: str
    dim: int
    depths: tuple[int, ...] = (2, 8, 14, 2)
    spe: bool = True
    timesteps: int = 4
    classes: int = 1000
    image: Map = Map(224, 224, 3)
    patch: int = PATCH
    alpha: int = ALPHA
    note: str = ""

    def network(self, weights: Weights, image_limit: float = 1.0, head_limit: float = 1.0) -> Network:
        """The network with these weights; the limits are as in :class:`~mapping.ir.Network`."""
        return Network(self.name, self.timesteps, self.image, image_limit, head_limit, tuple(self._layers(weights)))

    def _layers(self, weights: Weights) -> Iterator[Layer]:
        side, dim, x, block = self.image.height // self.patch, self.dim, IMAGE, 0
        for stage, depth in enumerate(self.depths):
            embed = f"to_patch_embedding.{stage}"
            if stage == 0:
                kernel = weights.conv(f"{embed}.0.0", f"{embed}.0.1", (dim, self.image.channels, self.patch, self.patch))
                yield _opening(f"{embed}.0.0", x, kernel, self.patch, 0, f"{embed}.h", weights, f"{embed}.lif")
            elif self.spe:
                yield from self._encoding(weights, embed, x, dim)
            else:
                kernel = weights.conv(f"{embed}.0", f"{embed}.1", (dim, dim // 2, 2, 2))
                yield _opening(f"{embed}.0", x, kernel, 2, 0, f"{embed}.h", weights, f"{embed}.lif")
            x = f"{embed}.h" if stage and self.spe else f"{embed}.lif"
            for _ in range(depth):
                yield from self._tokens(weights, block, x, f"{embed}.h", dim, side)
                yield from self._channels(weights, block, dim, side * side)
                x, block = f"channel_mix_lif.{block}", block + 1
            if stage + 1 < len(self.depths):
                side, dim = side // 2, 2 * dim
        yield self._classifier(weights, x, dim)

    def _encoding(self, weights: Weights, embed: str, source: str, dim: int) -> Iterator[Layer]:
        """Three convolutions with stride 2; n2 += f(n1), n3 += n1 + g(n2); side by side they are the stage's membrane."""
        third = dim // 3
        for number in range(3):
            name = f"{embed}.cell2node.{number}"
            weight, bias = weights.conv(f"{name}.0", f"{name}.1", (third, dim // 2, 3, 3))
            fires = number == 0
            yield Synapse(
                f"{name}.0", source, weight, bias, 2, 1, f"{embed}.n{1 if number == 2 else number + 1}", number != 2,
                LIF if fires else None, weights.threshold(f"{embed}.n1_lif", THRESHOLD) if fires else 0.0,
                f"{embed}.n1_lif" if fires else None, into=f"{embed}.n3" if number == 2 else None,
            )  # fmt: skip
        for number in (1, 2):
            name, lif = f"{embed}.node{number}_node{number + 1}", f"{embed}.n{number + 1}_lif"
            weight, bias = weights.conv(f"{name}.0", f"{name}.1", (third, third, 3, 3))
            threshold = weights.threshold(lif, THRESHOLD)
            yield Synapse(
                f"{name}.0", f"{embed}.n{number}_lif", weight, bias, 1, 1, f"{embed}.n{number + 1}",
                threshold=threshold, spikes=lif,
            )  # fmt: skip
        nodes = tuple(f"{embed}.n{number}" for number in (1, 2, 3))
        yield Concat(f"{embed}.h", tuple(f"{node}_lif" for node in nodes), nodes)

    def _tokens(self, weights: Weights, block: int, x: str, membrane: str, dim: int, side: int) -> Iterator[Layer]:
        """Mixing along height and width, and the layer that fuses both with the identity."""
        place = f"token_mix.{block}"
        identity = x
        if (
            not self.spe
        ):  # a norm and a neuron on the identity; it reads spikes, and folds into nothing before the neuron
            identity = f"{place}.lif"
            threshold = weights.threshold(identity, THRESHOLD)
            yield Norm(f"{place}.norm", x, BATCH, *weights.norm(f"{place}.norm", dim), LIF, threshold, identity)
        for part, axis in (("h", HEIGHT), ("w", WIDTH)):
            name, lif = f"{place}.proj_{part}", f"{place}.proj_{part}_lif"
            kernel = weights.conv(f"{name}.1", f"{name}.2", (side, side, 1, 1), bias=True)
            yield Synapse(f"{name}.1", x, *kernel, threshold=weights.threshold(lif, THRESHOLD), spikes=lif, axis=axis)
        yield Concat(f"{place}.all", (identity, f"{place}.proj_h_lif", f"{place}.proj_w_lif"))
        kernel, lif = weights.conv(f"{place}.fuse.0", f"{place}.fuse.1", (dim, 3 * dim, 1, 1)), f"token_mix_lif.{block}"
        yield Synapse(
            f"{place}.fuse.0", f"{place}.all", *kernel, stream=membrane, into=f"{place}.t",
            threshold=weights.threshold(lif, THRESHOLD), spikes=lif,
        )  # fmt: skip

    def _channels(self, weights: Weights, block: int, dim: int, tokens: int) -> Iterator[Layer]:
        """Two layers, each with a norm by token."""
        net, source = f"channel_mix.{block}.1.net", f"token_mix_lif.{block}"
        for number, lif, shape, stream in (
            (0, f"{net}.2", (self.alpha * dim, dim), None),
            (3, f"channel_mix_lif.{block}", (dim, self.alpha * dim), f"token_mix.{block}.t"),
        ):
            kernel = weights.plain(f"{net}.{number}", shape, bias=True)
            norm = np.stack(weights.norm(f"{net}.{number + 1}", tokens))
            threshold = weights.threshold(lif, THRESHOLD)
            yield Synapse(
                f"{net}.{number}", source, *kernel, stream=stream, threshold=threshold, spikes=lif, token_norm=norm
            )
            source = lif

    def _classifier(self, weights: Weights, source: str, dim: int) -> Classifier:
        """The linear layer, with the norm on the last spikes folded in: the mean over tokens keeps it linear."""
        (scale, offset), (weight, bias) = (
            weights.norm("batch_norm", dim), weights.linear("mlp_head.1", (self.classes, dim)),
        )  # fmt: skip
        return Classifier("mlp_head.1", source, weight * scale, bias + weight @ offset)


def _opening(
    name: str, source: str, kernel: tuple[np.ndarray, np.ndarray], stride: int, padding: int, stream: str, weights: Weights,
    lif: str,
) -> Synapse:  # fmt: skip
    """A convolution that opens the membrane of a stage."""
    threshold = weights.threshold(lif, THRESHOLD)
    return Synapse(name, source, *kernel, stride, padding, stream, True, threshold=threshold, spikes=lif)


PUBLISHED = {
    "mlp-spe-t": SpikingMlp("spiking_mlp_spe_t", 78),
    "mlp-spe-s": SpikingMlp("spiking_mlp_spe_s", 96),
    "mlp-s": SpikingMlp("spiking_mlp_s", 96, spe=False),
    "mlp-spe-b": SpikingMlp(
        "spiking_mlp_spe_b", 108, (2, 10, 24, 2), timesteps=6,
        note="its dimension and depths are not published; these come nearest to its 66 M parameters",
    ),
}  # fmt: skip
"""The published sizes, on ImageNet at 224 x 224; dimensions matched to their numbers of parameters."""
