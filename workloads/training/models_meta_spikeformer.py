"""A small Meta-SpikeFormer in PyTorch with the module names, and so the checkpoint keys, of the published one.

BICLab/Spike-Driven-Transformer-V2, ``classification/models.py`` (arXiv 2404.03663). All four stages, each with its
down-sampling, its blocks and its membrane shortcuts, are there; for 8x8 images the strides of the down-sampling, the number of
transformer blocks and the depthwise kernels on 4x4 maps are smaller (:class:`MetaSpikeformerConfig`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workloads.training.lif import Lif
from workloads.training.models import apply_steps

STREAM_GAIN, FIRING_GAIN, FIRING_BIAS = 1.5, 2.0, 1.0
"""Initial gain of the norms; gain and bias of those whose neurons must fire often: q, k, v, and the head's, which reads a mean
over tokens, of a smaller variance. Chosen by the rates (about 10 to 30 %) and gradients of 64 training images at the start."""


@dataclass(frozen=True)
class MetaSpikeformerConfig:
    """Shape of a small Meta-SpikeFormer.

    ``strides`` are of the five down-samplings (published: 2, 2, 2, 2, 1), ``separable_kernels`` of the depthwise convolutions
    of the four convolution blocks (published: 7; a 4x4 map has no use for it), ``depths`` of stages 3 and 4 (published: 6, 2).
    """

    timesteps: int = 4
    embed_dim: tuple[int, int, int, int] = (16, 16, 32, 32)
    heads: int = 4
    mlp_ratio: int = 4
    depths: tuple[int, int] = (1, 1)
    strides: tuple[int, int, int, int, int] = (1, 2, 1, 1, 1)
    separable_kernels: tuple[int, int, int, int] = (7, 3, 3, 3)
    image_size: int = 8
    in_channels: int = 1
    classes: int = 10
    attention_scale: float = 0.125
    attention_threshold: float = 0.5

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name, tuples as lists."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


class MsDownSampling(nn.Module):
    """LIF (unless it reads the image), convolution with bias, batch norm."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, first: bool = False) -> None:
        super().__init__()
        if not first:
            self.encode_lif = Lif()
        self.first = first
        self.encode_conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2)
        self.encode_bn = nn.BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        """Map a stream (or images) float32 [T, B, C, H, W] to the next stage's stream."""
        spikes = x if self.first else self.encode_lif(x)
        return apply_steps(self.encode_bn, apply_steps(self.encode_conv, spikes))


class SepConv(nn.Module):
    """LIF, 1x1 to twice the channels, LIF, depthwise and 1x1 with no neuron between them: one convolution once merged."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.lif1 = Lif()
        self.pwconv1 = nn.Conv2d(dim, 2 * dim, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * dim)
        self.lif2 = Lif()
        self.dwconv = nn.Conv2d(2 * dim, 2 * dim, kernel, padding=kernel // 2, groups=2 * dim, bias=False)
        self.pwconv2 = nn.Conv2d(2 * dim, dim, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, C, H, W] to what is added to it."""
        x = self.lif2(apply_steps(self.bn1, apply_steps(self.pwconv1, self.lif1(x))))
        return apply_steps(self.bn2, apply_steps(self.pwconv2, apply_steps(self.dwconv, x)))


class MsConvBlock(nn.Module):
    """A separable convolution, then two 3x3 convolutions of the channels, both with a membrane shortcut."""

    def __init__(self, dim: int, mlp_ratio: int, kernel: int) -> None:
        super().__init__()
        self.Conv = SepConv(dim, kernel)
        self.lif1 = Lif()
        self.conv1 = nn.Conv2d(dim, dim * mlp_ratio, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim * mlp_ratio)
        self.lif2 = Lif()
        self.conv2 = nn.Conv2d(dim * mlp_ratio, dim, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, C, H, W] to the next one."""
        x = x + self.Conv(x)
        hidden = self.lif2(apply_steps(self.bn1, apply_steps(self.conv1, self.lif1(x))))
        return x + apply_steps(self.bn2, apply_steps(self.conv2, hidden))


class BNAndPad(nn.Module):
    """Batch norm, then a border of one pixel that holds the norm's value of zero: what a merged convolution has there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H + 2, W + 2]; the border takes the running statistics and no gradient."""
        bn = self.bn
        x = F.pad(bn(x), [1] * 4)
        border = bn.bias.detach() - bn.running_mean * bn.weight.detach() / torch.sqrt(bn.running_var + bn.eps)
        inside = F.pad(torch.ones_like(x[:1, :1, 1:-1, 1:-1]), [1] * 4)
        return x + (1 - inside) * border[:, None, None]


def rep_conv(dim: int) -> nn.Module:
    """1x1, norm with its border, depthwise 3x3, 1x1, norm: all linear, one dense 3x3 convolution once merged."""

    class RepConv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            depthwise = nn.Conv2d(dim, dim, 3, groups=dim, bias=False)
            last = nn.Sequential(depthwise, nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim))
            self.body = nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), BNAndPad(dim), last)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    return nn.Sequential(RepConv(), nn.BatchNorm2d(dim))


class MsAttention(nn.Module):
    """Q(K^T V) without softmax on spikes; every projection is a re-parameterised convolution."""

    def __init__(self, dim: int, config: MetaSpikeformerConfig) -> None:
        super().__init__()
        self.heads, self.scale = config.heads, config.attention_scale
        self.head_lif = Lif()
        for name in "qkv":
            self.add_module(f"{name}_conv", rep_conv(dim))
            self.add_module(f"{name}_lif", Lif())
        self.attn_lif = Lif(threshold=config.attention_threshold)
        self.proj_conv = rep_conv(dim)

    def _heads(self, name: str, spikes: Tensor) -> Tensor:
        """Make one of Q, K, V from spikes [T, B, D, H, W], split by head: spikes [T, B, heads, D/heads, N]."""
        current = apply_steps(self.get_submodule(f"{name}_conv"), spikes)
        return self.get_submodule(f"{name}_lif")(current).flatten(3).unflatten(2, (self.heads, -1))

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, D, H, W] to what is added to it."""
        spikes = self.head_lif(x)
        q, k, v = (self._heads(name, spikes) for name in "qkv")
        kv = k @ v.transpose(-2, -1)  # [T, B, heads, D/heads of K, D/heads of V], counts 0..N
        attention = (kv.transpose(-2, -1) @ q) * self.scale
        return apply_steps(self.proj_conv, self.attn_lif(attention.flatten(2, 3)).reshape(x.shape))


class MsMlp(nn.Module):
    """Two 1x1 convolutions D -> r*D -> D over the tokens, each with a LIF before it and a batch norm after it."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1_lif = Lif()
        self.fc1_conv = nn.Conv1d(dim, hidden, 1)
        self.fc1_bn = nn.BatchNorm1d(hidden)
        self.fc2_lif = Lif()
        self.fc2_conv = nn.Conv1d(hidden, dim, 1)
        self.fc2_bn = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, D, H, W] to what is added to it."""
        hidden = apply_steps(self.fc1_bn, apply_steps(self.fc1_conv, self.fc1_lif(x.flatten(3))))
        return apply_steps(self.fc2_bn, apply_steps(self.fc2_conv, self.fc2_lif(hidden))).reshape(x.shape)


class MsBlock(nn.Module):
    """One transformer block: attention and MLP, both with a membrane shortcut."""

    def __init__(self, dim: int, config: MetaSpikeformerConfig) -> None:
        super().__init__()
        self.attn = MsAttention(dim, config)
        self.mlp = MsMlp(dim, dim * config.mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, D, H, W] to the next one."""
        x = x + self.attn(x)
        return x + self.mlp(x)


class MetaSpikeformer(nn.Module):
    """The whole network: two stages of convolution blocks, two of transformer blocks, LIF on the mean over tokens, head."""

    def __init__(self, config: MetaSpikeformerConfig) -> None:
        super().__init__()
        self.config = config
        e0, e1, e2, e3 = config.embed_dim
        stages = (("1_1", e0 // 2), ("1_2", e0), ("2", e1), ("3", e2), ("4", e3))
        cin = config.in_channels
        for (name, cout), stride in zip(stages, config.strides, strict=True):
            first = cin == config.in_channels
            self.add_module(f"downsample{name}", MsDownSampling(cin, cout, 7 if first else 3, stride, first))
            cin = cout
        widths = (("1_1", e0 // 2), ("1_2", e0), ("2_1", e1), ("2_2", e1))
        for (name, dim), kernel in zip(widths, config.separable_kernels, strict=True):
            self.add_module(f"ConvBlock{name}", nn.ModuleList([MsConvBlock(dim, 4, kernel)]))
        self.block3 = nn.ModuleList(MsBlock(e2, config) for _ in range(config.depths[0]))
        self.block4 = nn.ModuleList(MsBlock(e3, config) for _ in range(config.depths[1]))
        self.lif = Lif()
        self.head = nn.Linear(e3, config.classes)
        self._start_firing()

    def _start_firing(self) -> None:
        """Start the norms in front of neurons so that every neuron layer, those of the attention and the head's too, fires.

        With gain 1 and bias 0 about 4 % of q, k and v fire, no count of the attention reaches its neurons' threshold, and each of
        the norms behind those silent neurons divides the gradient by the root of a variance of 0: its norm is 4e8 at the first
        convolution, 2e-2 in the last block.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and ".body." not in name:
                nn.init.constant_(module.weight, STREAM_GAIN)
        blocks = (*self.block3, *self.block4)
        counted = [block.attn.get_submodule(f"{name}_conv.1") for block in blocks for name in "qkv"]
        for norm in (*counted, blocks[-1].mlp.fc2_bn):
            nn.init.constant_(norm.weight, FIRING_GAIN)
            nn.init.constant_(norm.bias, FIRING_BIAS)

    def forward(self, images: Tensor) -> Tensor:
        """Map images float32 [B, 1, H, W] to logits float32 [B, classes]."""
        x = self.downsample1_1(images[None])
        x = x.expand(self.config.timesteps, *x.shape[1:])  # every step sees the same image
        x = self.ConvBlock1_1[0](x)
        x = self.ConvBlock1_2[0](self.downsample1_2(x))
        x = self.ConvBlock2_2[0](self.ConvBlock2_1[0](self.downsample2(x)))
        for down, blocks in ((self.downsample3, self.block3), (self.downsample4, self.block4)):
            x = down(x)
            for block in blocks:
                x = block(x)
        return self.head(self.lif(x.flatten(3).mean(3, keepdim=True)).squeeze(3)).mean(0)
