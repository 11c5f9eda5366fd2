"""Small networks in PyTorch with the module names, and so the checkpoint keys, of the published ones.

Spikingformer: zhouchenlin2096/Spikingformer, ``imagenet/model.py`` (arXiv 2304.11954). The LayerNorms
``norm1`` and ``norm2`` that the official code creates and never calls are left out, and the tokenizer has two
convolutions instead of five, for 8x8 images.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor, nn

from workloads.training.lif import Lif


@dataclass(frozen=True)
class SpikingformerConfig:
    """Shape of a small Spikingformer; ``attention_scale`` of Q(K^T V) is 0.125 whatever the head size."""

    timesteps: int = 4
    dim: int = 64
    heads: int = 4
    depth: int = 2
    mlp_ratio: int = 4
    image_size: int = 8
    in_channels: int = 1
    stem_channels: int = 32
    classes: int = 10
    attention_scale: float = 0.125
    attention_threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"dim required to be a multiple of heads = {self.heads}, given {self.dim}: change either")

    def as_dict(self) -> dict[str, int | float]:
        """Return the fields by name."""
        return asdict(self)


def apply_steps(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer without memory to every time step: [T, B, ...] is folded to [T*B, ...] and back."""
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class SpikingTokenizer(nn.Module):
    """Image to membrane stream: conv, BN, LIF, max-pool (an OR on spikes), conv, BN."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        self.timesteps = config.timesteps
        self.proj_conv = nn.Conv2d(config.in_channels, config.stem_channels, 3, 1, 1, bias=False)
        self.proj_bn = nn.BatchNorm2d(config.stem_channels)
        self.proj1_lif = Lif()
        self.maxpool1 = nn.MaxPool2d(3, 2, 1)
        self.proj1_conv = nn.Conv2d(config.stem_channels, config.dim, 3, 1, 1, bias=False)
        self.proj1_bn = nn.BatchNorm2d(config.dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map images float32 [B, 1, H, W] to the membrane stream float32 [T, B, D, H/2, W/2].

        Every step sees the same image, so its convolution is computed once and repeated.
        """
        current = self.proj_bn(self.proj_conv(images))
        spikes = self.proj1_lif(current.expand(self.timesteps, *current.shape))
        return apply_steps(self.proj1_bn, apply_steps(self.proj1_conv, apply_steps(self.maxpool1, spikes)))


class SpikingSelfAttention(nn.Module):
    """Q(K^T V) on spikes, no softmax: all products are integers until the scale."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        self.heads, self.scale = config.heads, config.attention_scale
        self.proj_lif = Lif()
        for name in "qkv":
            self.add_module(f"{name}_conv", nn.Conv1d(config.dim, config.dim, 1, bias=False))
            self.add_module(f"{name}_bn", nn.BatchNorm1d(config.dim))
            self.add_module(f"{name}_lif", Lif())
        self.attn_lif = Lif(threshold=config.attention_threshold)
        self.proj_conv = nn.Conv1d(config.dim, config.dim, 1)
        self.proj_bn = nn.BatchNorm1d(config.dim)

    def _heads(self, name: str, spikes: Tensor) -> Tensor:
        """Make one of Q, K, V from spikes [T, B, D, N], split by head: spikes [T, B, heads, D/heads, N]."""
        current = apply_steps(self.get_submodule(f"{name}_bn"), apply_steps(self.get_submodule(f"{name}_conv"), spikes))
        return self.get_submodule(f"{name}_lif")(current).unflatten(2, (self.heads, -1))

    def forward(self, x: Tensor) -> Tensor:
        """Map the membrane stream float32 [T, B, D, H, W] to what is added to it, of the same shape."""
        spikes = self.proj_lif(x).flatten(3)
        q, k, v = (self._heads(name, spikes) for name in "qkv")  # channel = head * D/heads + place in head
        kv = k @ v.transpose(-2, -1)  # [T, B, heads, D/heads of K, D/heads of V], counts 0..N
        attention = (kv.transpose(-2, -1) @ q) * self.scale  # [T, B, heads, D/heads, N]
        gated = self.attn_lif(attention.flatten(2, 3))
        return apply_steps(self.proj_bn, apply_steps(self.proj_conv, gated)).reshape(x.shape)


class SpikingMlp(nn.Module):
    """Two 1x1 convolutions D -> r*D -> D, each with a LIF before it and a batch norm after it."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        hidden = config.dim * config.mlp_ratio
        self.mlp1_lif = Lif()
        self.mlp1_conv = nn.Conv2d(config.dim, hidden, 1)
        self.mlp1_bn = nn.BatchNorm2d(hidden)
        self.mlp2_lif = Lif()
        self.mlp2_conv = nn.Conv2d(hidden, config.dim, 1)
        self.mlp2_bn = nn.BatchNorm2d(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map the membrane stream float32 [T, B, D, H, W] to what is added to it, of the same shape."""
        x = apply_steps(self.mlp1_bn, apply_steps(self.mlp1_conv, self.mlp1_lif(x)))
        return apply_steps(self.mlp2_bn, apply_steps(self.mlp2_conv, self.mlp2_lif(x)))


class SpikingTransformer(nn.Module):
    """One block: both branches start with a LIF and add to the real-valued stream (membrane shortcut)."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        self.attn = SpikingSelfAttention(config)
        self.mlp = SpikingMlp(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map the membrane stream float32 [T, B, D, H, W] to the next one."""
        x = x + self.attn(x)
        return x + self.mlp(x)


class Spikingformer(nn.Module):
    """The whole network: tokenizer, blocks, mean over tokens and steps, linear head on that analog mean."""

    def __init__(self, config: SpikingformerConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = SpikingTokenizer(config)
        self.block = nn.ModuleList(SpikingTransformer(config) for _ in range(config.depth))
        self.head = nn.Linear(config.dim, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images float32 [B, 1, H, W] to logits float32 [B, classes]."""
        x = self.patch_embed(images)
        for block in self.block:
            x = block(x)
        return self.head(x.flatten(3).mean(3).mean(0))
