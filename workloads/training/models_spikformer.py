"""A small Spikformer in PyTorch with the module names, and so the checkpoint keys, of the published one.

ZK-Zhou/spikformer, ``imagenet/model.py`` (arXiv 2209.15425). A LIF stands behind every convolution, and both branches of a
block add spikes to the stream (spike shortcut), which so holds integers. The LayerNorms ``norm1`` and ``norm2`` that the official
code creates and never calls are left out, and the tokenizer has two convolutions before its position branch instead of
four, for 8x8 images.
"""

from __future__ import annotations

from torch import Tensor, nn

from workloads.training.lif import Lif
from workloads.training.models import SpikingformerConfig, apply_steps


class SpikingPatchSplitting(nn.Module):
    """Image to integer stream: conv, BN, LIF, max-pool (an OR on spikes), conv, BN, LIF; plus the spikes of a third convolution."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        self.timesteps = config.timesteps
        self.proj_conv = nn.Conv2d(config.in_channels, config.stem_channels, 3, 1, 1, bias=False)
        self.proj_bn = nn.BatchNorm2d(config.stem_channels)
        self.proj_lif = Lif()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.proj_conv1 = nn.Conv2d(config.stem_channels, config.dim, 3, 1, 1, bias=False)
        self.proj_bn1 = nn.BatchNorm2d(config.dim)
        self.proj_lif1 = Lif()
        self.rpe_conv = nn.Conv2d(config.dim, config.dim, 3, 1, 1, bias=False)
        self.rpe_bn = nn.BatchNorm2d(config.dim)
        self.rpe_lif = Lif()

    def forward(self, images: Tensor) -> Tensor:
        """Map images float32 [B, 1, H, W] to the integer stream float32 [T, B, D, H/2, W/2], 0..2.

        Every step sees the same image, so its convolution is computed once and repeated.
        """
        current = self.proj_bn(self.proj_conv(images))
        spikes = apply_steps(self.maxpool, self.proj_lif(current.expand(self.timesteps, *current.shape)))
        spikes = self.proj_lif1(apply_steps(self.proj_bn1, apply_steps(self.proj_conv1, spikes)))
        return spikes + self.rpe_lif(apply_steps(self.rpe_bn, apply_steps(self.rpe_conv, spikes)))


class SpikingSelfAttention(nn.Module):
    """Q(K^T V) without softmax; the three 1x1 convolutions read the integers of the stream."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        self.heads, self.scale = config.heads, config.attention_scale
        for name in "qkv":
            self.add_module(f"{name}_conv", nn.Conv1d(config.dim, config.dim, 1, bias=False))
            self.add_module(f"{name}_bn", nn.BatchNorm1d(config.dim))
            self.add_module(f"{name}_lif", Lif())
        self.attn_lif = Lif(threshold=config.attention_threshold)
        self.proj_conv = nn.Conv1d(config.dim, config.dim, 1)
        self.proj_bn = nn.BatchNorm1d(config.dim)
        self.proj_lif = Lif()

    def _heads(self, name: str, stream: Tensor) -> Tensor:
        """Make one of Q, K, V from the stream [T, B, D, N], split by head: spikes [T, B, heads, D/heads, N]."""
        current = apply_steps(self.get_submodule(f"{name}_conv"), stream)
        spikes = self.get_submodule(f"{name}_lif")(apply_steps(self.get_submodule(f"{name}_bn"), current))
        return spikes.unflatten(2, (self.heads, -1))

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, D, H, W] to the spikes that are added to it, of the same shape."""
        q, k, v = (self._heads(name, x.flatten(3)) for name in "qkv")  # channel = head * D/heads + place in head
        kv = k @ v.transpose(-2, -1)  # [T, B, heads, D/heads of K, D/heads of V], counts 0..N
        attention = (kv.transpose(-2, -1) @ q) * self.scale  # [T, B, heads, D/heads, N]
        spikes = self.attn_lif(attention.flatten(2, 3))
        return self.proj_lif(apply_steps(self.proj_bn, apply_steps(self.proj_conv, spikes))).reshape(x.shape)


class SpikingMlp(nn.Module):
    """Two 1x1 convolutions D -> r*D -> D, each with a batch norm and a LIF behind it."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        hidden = config.dim * config.mlp_ratio
        self.fc1_conv = nn.Conv2d(config.dim, hidden, 1)
        self.fc1_bn = nn.BatchNorm2d(hidden)
        self.fc1_lif = Lif()
        self.fc2_conv = nn.Conv2d(hidden, config.dim, 1)
        self.fc2_bn = nn.BatchNorm2d(config.dim)
        self.fc2_lif = Lif()

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, D, H, W] to the spikes that are added to it, of the same shape."""
        x = self.fc1_lif(apply_steps(self.fc1_bn, apply_steps(self.fc1_conv, x)))
        return self.fc2_lif(apply_steps(self.fc2_bn, apply_steps(self.fc2_conv, x)))


class SpikformerBlock(nn.Module):
    """One block: both branches add their spikes to the integer stream."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        self.attn = SpikingSelfAttention(config)
        self.mlp = SpikingMlp(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, D, H, W] to the next one, greater by 0..2."""
        x = x + self.attn(x)
        return x + self.mlp(x)


class Spikformer(nn.Module):
    """The whole network: tokenizer, blocks, mean over tokens and steps, linear head on that mean."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = SpikingPatchSplitting(config)
        self.block = nn.ModuleList(SpikformerBlock(config) for _ in range(config.depth))
        self.head = nn.Linear(config.dim, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images float32 [B, 1, H, W] to logits float32 [B, classes]."""
        x = self.patch_embed(images)
        for block in self.block:
            x = block(x)
        return self.head(x.flatten(3).mean(3).mean(0))
