"""A small Masked Spiking Transformer in PyTorch with the module names, and so the checkpoint keys, of the published one.

bic-L/Masked-Spiking-Transformer, ``models/mst.py`` (ICCV 2023): a Swin transformer with batch norms. It is trained without time,
its activations quantised (see :mod:`workloads.training.qcfs`), and runs for ``timesteps`` steps of integrate and fire neurons.

Departures, beside the sizes for 8x8 images:

- the norm before the classifier is a layer norm, as published, or on request a batch norm;
- heads of 16 channels, patches of 2x2 pixels, windows of 2x2 tokens;
- when it runs, every image sees the same masks, drawn from generators with fixed seeds; published are new ones each time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from workloads.training.models import apply_steps
from workloads.training.qcfs import Qcfs

BATCH, LAYER = "batch norm", "layer norm"
"""Norms before the classifier, in the words of the manifest."""


@dataclass(frozen=True)
class MaskedSpikingTransformerConfig:
    """Shape of a small network; ``masked``: share of the spikes of q, k and the scores that are dropped, of 256.

    ``levels``: of the quantised activations in training; ``last_norm``: that before the classifier, ``LAYER`` or ``BATCH``.
    """

    timesteps: int = 16
    levels: int = 8
    dim: int = 32
    depths: tuple[int, ...] = (2, 2)
    head_channels: int = 16
    window: int = 2
    patch: int = 2
    mlp_ratio: int = 2
    masked: float = 0.5
    image_size: int = 8
    in_channels: int = 1
    classes: int = 10
    last_norm: str = LAYER

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name."""
        return asdict(self)


class Masker(nn.Module):
    """Drops spikes (or activations) at random, each on its own, and rescales nothing."""

    def __init__(self, config: MaskedSpikingTransformerConfig, seed: int) -> None:
        super().__init__()
        self.masked, self.seed = config.masked, seed

    def forward(self, x: Tensor) -> Tensor:
        """Mask [T, B, ...]: new masks for every image in training, else the same for all."""
        if not self.masked:
            return x
        if self.training:
            return x * (torch.rand_like(x) >= self.masked)
        drawn = np.random.RandomState(self.seed).random_sample((len(x), 1, *x.shape[2:]))  # its stream is frozen
        return x * torch.from_numpy(drawn >= self.masked)


def norm(module: nn.Module, x: Tensor) -> Tensor:
    """Apply a batch norm to maps [T, B, C, H, W]."""
    return apply_steps(module, x)


def linear(module: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear layer to the channels of maps [T, B, C, H, W]."""
    return module(x.movedim(2, -1)).movedim(-1, 2)


def _regions(side: int, window: int, shift: int) -> Tensor:
    """Number of the region of each token [side, side] behind the shift: tokens of two regions do not see each other."""
    edges = torch.zeros(side, dtype=torch.long)
    edges[side - window : side - shift], edges[side - shift :] = 1, 2
    return edges[:, None] * 3 + edges


class WindowAttention(nn.Module):
    """Attention within windows, with relative positions and a softmax in every step."""

    def __init__(self, config: MaskedSpikingTransformerConfig, dim: int, side: int, shift: int, seed: int) -> None:
        super().__init__()
        self.window, self.shift = config.window, shift
        self.heads, self.scale = dim // config.head_channels, config.head_channels**-0.5
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * self.window - 1) ** 2, self.heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        for name in ("q", "k", "v", "attn", "attn_v", "proj"):
            self.add_module(f"{name}_if", Qcfs(config.levels))
        self.maskers = [Masker(config, 3 * seed + number) for number in range(3)]
        for number, masker in enumerate(self.maskers):
            self.add_module(f"mask{number}", masker)
        row = torch.arange(self.window)
        row, column = (axis.flatten() for axis in torch.meshgrid(row, row, indexing="ij"))
        reach = self.window - 1
        self.index = (row[:, None] - row + reach) * (2 * self.window - 1) + column[:, None] - column + reach
        regions = _regions(side, self.window, shift).roll((shift, shift), (0, 1))  # where its tokens are before the shift
        regions = self._windows(regions[None, None, None])[0, 0, 0, :, :, 0]
        self.apart = torch.where(regions[:, :, None] == regions[:, None], 0.0, -100.0) if shift else torch.zeros(())

    def _windows(self, x: Tensor) -> Tensor:
        """Split maps [T, B, C, H, W] into shifted windows and heads: [T, B, heads, windows, tokens, channels of a head]."""
        side, heads = x.shape[-1] // self.window, self.heads if x.shape[2] > 1 else 1
        x = x.roll((-self.shift, -self.shift), (3, 4))
        x = x.reshape(*x.shape[:2], heads, -1, side, self.window, side, self.window)
        return x.permute(0, 1, 2, 4, 6, 5, 7, 3).flatten(5, 6).flatten(3, 4)

    def _maps(self, x: Tensor, side: int) -> Tensor:
        """Undo :meth:`_windows`."""
        count = side // self.window
        x = x.unflatten(3, (count, count)).unflatten(5, (self.window, self.window))
        x = x.permute(0, 1, 2, 7, 3, 5, 4, 6).reshape(*x.shape[:2], -1, side, side)
        return x.roll((self.shift, self.shift), (3, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Map spikes [T, B, C, H, W] to what is added to the stream, of the same shape."""
        parts = linear(self.qkv, x).chunk(3, 2)
        q, k, v = (self.get_submodule(f"{name}_if")(part) for name, part in zip("qkv", parts, strict=True))
        q, k, v = (self._windows(part) for part in (self.mask0(q), self.mask1(k), v))
        scores = self.mask2(self.attn_if(q @ k.transpose(-2, -1) * self.scale))
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1)[:, None]
        attention = (scores + bias + self.apart).softmax(-1)
        return self.proj_if(linear(self.proj, self.attn_v_if(self._maps(attention @ v, x.shape[-1]))))


class Mlp(nn.Module):
    """Two linear layers, each with a batch norm and neurons behind it."""

    def __init__(self, config: MaskedSpikingTransformerConfig, dim: int) -> None:
        super().__init__()
        hidden = dim * config.mlp_ratio
        for number, (before, behind) in enumerate(((dim, hidden), (hidden, dim)), 1):
            self.add_module(f"fc{number}", nn.Linear(before, behind))
            self.add_module(f"norm{number}", nn.BatchNorm2d(behind))
            self.add_module(f"fc{number}_if", Qcfs(config.levels))

    def forward(self, x: Tensor) -> Tensor:
        """Map spikes [T, B, C, H, W] to what is added to the stream, of the same shape."""
        x = self.fc1_if(norm(self.norm1, linear(self.fc1, x)))
        return self.fc2_if(norm(self.norm2, linear(self.fc2, x)))


class Block(nn.Module):
    """One block: a norm beside the stream before the attention, and one on the stream behind it."""

    def __init__(self, config: MaskedSpikingTransformerConfig, dim: int, side: int, number: int, seed: int) -> None:
        super().__init__()
        shift = config.window // 2 if number % 2 and side > config.window else 0
        self.norm1, self.norm2 = nn.BatchNorm2d(dim), nn.BatchNorm2d(dim)
        self.shortcut1_if, self.shortcut2_if = Qcfs(config.levels), Qcfs(config.levels)
        self.attn = WindowAttention(config, dim, side, shift, seed)
        self.mlp = Mlp(config, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream [T, B, C, H, W] to the next one."""
        x = x + self.attn(self.shortcut1_if(norm(self.norm1, x)))
        x = norm(self.norm2, x)
        return x + self.mlp(self.shortcut2_if(x))


class PatchMerging(nn.Module):
    """Halves a map: batch norm and linear layer over 2x2 neighbours, side by side as published, and neurons."""

    def __init__(self, config: MaskedSpikingTransformerConfig, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.reduction_if = Qcfs(config.levels)

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream [T, B, C, H, W] to spikes [T, B, 2 C, H / 2, W / 2]."""
        beside = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction_if(linear(self.reduction, norm(self.norm, torch.cat(beside, 2))))


class PatchEmbed(nn.Module):
    """Image to spikes: a convolution whose windows do not overlap, batch norm, neurons."""

    def __init__(self, config: MaskedSpikingTransformerConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.in_channels, config.dim, config.patch, config.patch)
        self.norm = nn.BatchNorm2d(config.dim)
        self.proj_if = Qcfs(config.levels)

    def forward(self, images: Tensor, steps: int) -> Tensor:
        """Map images [B, 1, H, W] to spikes [T, B, D, H / patch, W / patch]; the convolution is computed once and repeated."""
        current = self.norm(self.proj(images))
        return self.proj_if(current.expand(steps, *current.shape))


class Stage(nn.Module):
    """Blocks of one size, and the merging behind them but for the last."""

    def __init__(self, config: MaskedSpikingTransformerConfig, number: int) -> None:
        super().__init__()
        dim, side = config.dim << number, config.image_size // config.patch >> number
        first = sum(config.depths[:number])
        self.blocks = nn.ModuleList(
            Block(config, dim, side, block, first + block) for block in range(config.depths[number])
        )
        self.downsample = PatchMerging(config, dim) if number + 1 < len(config.depths) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream at the begin of the stage to that of the next stage."""
        for block in self.blocks:
            x = block(x)
        return self.downsample(x)


class MaskedSpikingTransformer(nn.Module):
    """The whole network; the classifier reads the mean over tokens and steps behind a norm."""

    def __init__(self, config: MaskedSpikingTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.layers = nn.ModuleList(Stage(config, number) for number in range(len(config.depths)))
        dim = config.dim << len(config.depths) - 1
        self.norm = nn.LayerNorm(dim) if config.last_norm == LAYER else nn.BatchNorm2d(dim)
        self.head = nn.Linear(dim, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [B, 1, H, W] to logits [B, classes]."""
        x = self.patch_embed(images, 1 if self.training else self.config.timesteps)
        for stage in self.layers:
            x = stage(x)
        x = linear(self.norm, x) if self.config.last_norm == LAYER else norm(self.norm, x)
        return self.head(x.flatten(3).mean(3).mean(0))
