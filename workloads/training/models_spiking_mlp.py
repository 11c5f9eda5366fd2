"""A small Spiking MLP in PyTorch with the module names, and so the checkpoint keys, of the published one.

EMI-Group/mixer-snn, ``mixers_sparse_patchcell_origin.py`` (Li et al., IEEE TNNLS 2024): stages with spiking patch encoding, token
mixing along height and width, channel mixing with norms by token, and a membrane that a stage keeps for all its blocks. For 8x8
images it has two stages instead of four, and patches of 2x2 pixels instead of 4x4.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from workloads.training.lif import Lif
from workloads.training.models import apply_steps


@dataclass(frozen=True)
class SpikingMlpConfig:
    """Shape of a small Spiking MLP; each stage after the first has twice the channels and half the height and width."""

    timesteps: int = 4
    dim: int = 36
    depths: tuple[int, ...] = (2, 1)
    patch: int = 2
    alpha: int = 3
    image_size: int = 8
    in_channels: int = 1
    classes: int = 10

    def __post_init__(self) -> None:
        if len(self.depths) > 1 and 2 * self.dim % 3:
            raise ValueError(f"dim required to be a multiple of 3 for nodes of a third, given {self.dim}: change it")

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name, tuples as lists."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def conv_norm(cin: int, cout: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Sequential:
    """A convolution and its batch norm; an odd kernel is padded."""
    padding = kernel // 2 if kernel % 2 else 0
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, padding, bias=bias), nn.BatchNorm2d(cout))


class PatchEmbedding(nn.Module):
    """The first stage's membrane: a convolution whose kernel and stride are the patch."""

    def __init__(self, config: SpikingMlpConfig) -> None:
        super().__init__()
        self.timesteps = config.timesteps
        self.add_module("0", conv_norm(config.in_channels, config.dim, config.patch, config.patch))
        if config.patch % 2 and config.patch > 1:
            raise ValueError(f"patch required to be 1 or even, given {config.patch}: change it")
        self.lif = Lif()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images float32 [B, C, H, W] to membrane and spikes float32 [T, B, D, H/patch, W/patch]."""
        current = self.get_submodule("0")(images)
        membrane = current.expand(self.timesteps, *current.shape)
        return membrane, self.lif(membrane)


class PatchCell(nn.Module):
    """Spiking patch encoding: three nodes of a third of the channels; n2 += f(n1), n3 += n1 + g(n2), of spikes of n1 and n2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        third = dim // 3
        self.cell2node = nn.ModuleList(conv_norm(dim // 2, third, 3, 2) for _ in range(3))
        self.node1_node2 = conv_norm(third, third, 3)
        self.node2_node3 = conv_norm(third, third, 3)
        self.n1_lif, self.n2_lif, self.n3_lif = Lif(), Lif(), Lif()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map spikes float32 [T, B, D/2, H, W] to membrane and spikes float32 [T, B, D, H/2, W/2]."""
        n1, n2, n3 = (apply_steps(node, x) for node in self.cell2node)
        s1 = self.n1_lif(n1)
        n2 = n2 + apply_steps(self.node1_node2, s1)
        s2 = self.n2_lif(n2)
        n3 = n3 + n1 + apply_steps(self.node2_node3, s2)
        return torch.cat((n1, n2, n3), 2), torch.cat((s1, s2, self.n3_lif(n3)), 2)


class TokenMixing(nn.Module):
    """Linear layers along height and along width beside the identity, and one that fuses the three."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        for axis in ("h", "w"):  # the published module swaps axes at place 0
            mixing = nn.Sequential(nn.Identity(), *conv_norm(side, side, 1, bias=True))
            self.add_module(f"proj_{axis}", mixing)
            self.add_module(f"proj_{axis}_lif", Lif())
        self.fuse = conv_norm(3 * dim, dim, 1)

    def _mixed(self, axis: str, x: Tensor, place: int) -> Tensor:
        """Mix along axis ``place`` of spikes [T, B, D, H, W]."""
        swapped = apply_steps(self.get_submodule(f"proj_{axis}"), x.transpose(2, place))
        return self.get_submodule(f"proj_{axis}_lif")(swapped.transpose(2, place))

    def forward(self, x: Tensor) -> Tensor:
        """Map spikes float32 [T, B, D, H, W] to what is added to the stage's membrane."""
        mixed = torch.cat((x, self._mixed("h", x, 3), self._mixed("w", x, 4)), 2)
        return apply_steps(self.fuse, mixed)


class ChannelNet(nn.Module):
    """Two linear layers D -> alpha * D -> D over the channels of a token, each with a batch norm over tokens."""

    def __init__(self, dim: int, tokens: int, alpha: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, alpha * dim), nn.BatchNorm1d(tokens), Lif(), nn.Linear(alpha * dim, dim), nn.BatchNorm1d(tokens)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map spikes float32 [T, B, D, H, W] to what is added to the membrane."""
        linear, norm, lif, second, last = self.net
        tokens = x.flatten(3).transpose(2, 3)
        hidden = lif(apply_steps(norm, linear(tokens)).transpose(2, 3)).transpose(2, 3)
        return apply_steps(last, second(hidden)).transpose(2, 3).reshape(x.shape)


class SpikingMlp(nn.Module):
    """The whole network: stages of mixing blocks, a norm on the last spikes, mean over tokens and steps, linear head.

    The norm is linear in the mean of spikes, which is recorded as the head's input.
    """

    HEAD = "mean"

    def __init__(self, config: SpikingMlpConfig) -> None:
        super().__init__()
        self.config = config
        self.to_patch_embedding = nn.ModuleList()
        for name in ("token_mix", "token_mix_lif", "channel_mix", "channel_mix_lif"):
            self.add_module(name, nn.ModuleList())
        side, dim = config.image_size // config.patch, config.dim
        for stage, depth in enumerate(config.depths):
            if stage:
                side, dim = side // 2, 2 * dim
            self.to_patch_embedding.append(PatchCell(dim) if stage else PatchEmbedding(config))
            for _ in range(depth):
                self.token_mix.append(TokenMixing(dim, side))
                self.token_mix_lif.append(Lif())
                self.channel_mix.append(nn.Sequential(nn.Identity(), ChannelNet(dim, side * side, config.alpha)))
                self.channel_mix_lif.append(Lif())
        self.mean = nn.Identity()
        self.batch_norm = nn.BatchNorm2d(dim)
        self.mlp_head = nn.Sequential(nn.Identity(), nn.Linear(dim, config.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Map images float32 [B, C, H, W] to logits float32 [B, classes]."""
        x, block = images, 0
        for embedding, depth in zip(self.to_patch_embedding, self.config.depths, strict=True):
            membrane, x = embedding(x)
            for number in range(block, block + depth):
                mixed = membrane + self.token_mix[number](x)
                x = self.token_mix_lif[number](mixed)
                x = self.channel_mix_lif[number](mixed + self.channel_mix[number](x))
            block += depth
        self.mean(x.flatten(3).mean(3).mean(0))
        return self.mlp_head(apply_steps(self.batch_norm, x).flatten(3).mean(3).mean(0))
