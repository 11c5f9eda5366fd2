"""A small spike-driven transformer, dense or with experts, in PyTorch with the module names, and so the keys, of published code.

Backbone: BICLab/Spike-Driven-Transformer (arXiv 2307.01694), ``module/sps.py`` and ``module/ms_conv.py``; experts:
HyunseokErikJung/Spike-Driven-Transformer_MoE. SpikingMoE (arXiv 2605.23188), whose code is not published, is what the network with
experts is *inspired by*: a spike-driven gate, the top-k experts by a binary choice, losses on balance and entropy.

Departures, each for addition-only hardware unless said otherwise:

- a chosen expert's result is added as it is. Published is its product with the gate's probability; here the probability only
  takes the gradient (a straight-through estimator);
- an expert of ratio 1 does not add its input to its first layer's sums: spikes go to it, and no membranes;
- top-2 of the experts instead of top-1, and a capacity of 1.5 times the mean load, so that choices compete;
- the tokenizer pools the spikes of ``proj_lif2`` and not the membranes of ``proj_conv3``: 8x8 images have room for one pool;
- the head reads the mean of the stream over tokens and steps, without the LIF between them;
- :class:`WeighedConfig` takes the first two of these back;
- what the published code creates and never calls (``talking_heads``, ``attn_lif``) is left out;
- in training, the norms of an expert see all tokens, not those alone that chose it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workloads.training.lif import Lif
from workloads.training.models import apply_steps


@dataclass(frozen=True)
class SpikingMoeConfig:
    """Shape of a small network; ``experts`` of ratio ``mlp_ratio``, 0: one dense MLP; ``capacity``: tokens of an expert."""

    timesteps: int = 4
    dim: int = 64
    heads: int = 4
    depth: int = 2
    mlp_ratio: int = 1
    experts: int = 4
    choices: int = 2
    capacity: int = 12
    image_size: int = 8
    in_channels: int = 1
    classes: int = 10
    gate_threshold: float = 0.5
    penalty_weight: float = 1e-2

    @property
    def steps(self) -> tuple[int, ...]:
        """Time steps of each expert."""
        return (self.timesteps,) * self.experts

    @property
    def weighed(self) -> bool:
        """Whether the gate's probability multiplies a result, and an expert of ratio 1 adds its input, as published."""
        return False

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class WeighedConfig(SpikingMoeConfig):
    """The same with the experts of the published code: top-1, room for all, weighed, of ratio 1, and short but the first."""

    choices: int = 1
    capacity: int = 16
    expert_steps: tuple[int, ...] = (4, 1, 1, 1)

    @property
    def steps(self) -> tuple[int, ...]:
        """Time steps of each expert."""
        return self.expert_steps

    @property
    def weighed(self) -> bool:
        """As published."""
        return True

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self) | {"expert_steps": list(self.expert_steps)}


class SpikingPatchSplitting(nn.Module):
    """Image to membrane stream: three convolutions with LIFs, a max-pool (an OR) on the last spikes, a fourth plus a fifth."""

    def __init__(self, config: SpikingMoeConfig) -> None:
        super().__init__()
        self.timesteps, dim = config.timesteps, config.dim
        channels = (config.in_channels, dim // 8, dim // 4, dim // 2, dim)
        for number, suffix in enumerate(("", "1", "2", "3")):
            self.add_module(
                f"proj_conv{suffix}", nn.Conv2d(channels[number], channels[number + 1], 3, 1, 1, bias=False)
            )
            self.add_module(f"proj_bn{suffix}", nn.BatchNorm2d(channels[number + 1]))
            self.add_module(f"proj_lif{suffix}", Lif())
        self.maxpool2 = nn.MaxPool2d(3, 2, 1)
        self.rpe_conv = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
        self.rpe_bn = nn.BatchNorm2d(dim)

    def _conv(self, suffix: str, spikes: Tensor) -> Tensor:
        """Apply ``proj_conv`` and its norm to spikes [T, B, C, H, W]."""
        return apply_steps(
            self.get_submodule(f"proj_bn{suffix}"), apply_steps(self.get_submodule(f"proj_conv{suffix}"), spikes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images float32 [B, 1, H, W] to the membrane stream float32 [T, B, D, H/2, W/2].

        Every step sees the same image, so its convolution is computed once and repeated.
        """
        current = self.proj_bn(self.proj_conv(images))
        spikes = self.proj_lif(current.expand(self.timesteps, *current.shape))
        spikes = self.proj_lif1(self._conv("1", spikes))
        spikes = apply_steps(self.maxpool2, self.proj_lif2(self._conv("2", spikes)))
        stream = self._conv("3", spikes)
        return stream + apply_steps(self.rpe_bn, apply_steps(self.rpe_conv, self.proj_lif3(stream)))


class SpikeDrivenSelfAttention(nn.Module):
    """SDSA-1: the spikes of K AND V are counted over the tokens, a LIF fires on each count, and its spike lets Q through."""

    def __init__(self, config: SpikingMoeConfig) -> None:
        super().__init__()
        self.shortcut_lif = Lif()
        for name in "qkv":
            self.add_module(f"{name}_conv", nn.Conv2d(config.dim, config.dim, 1, bias=False))
            self.add_module(f"{name}_bn", nn.BatchNorm2d(config.dim))
            self.add_module(f"{name}_lif", Lif())
        self.talking_heads_lif = Lif(threshold=config.gate_threshold)
        self.proj_conv = nn.Conv2d(config.dim, config.dim, 1)
        self.proj_bn = nn.BatchNorm2d(config.dim)

    def _spikes(self, name: str, spikes: Tensor) -> Tensor:
        """Make one of Q, K, V from spikes: spikes [T, B, D, H, W]."""
        current = apply_steps(self.get_submodule(f"{name}_bn"), apply_steps(self.get_submodule(f"{name}_conv"), spikes))
        return self.get_submodule(f"{name}_lif")(current)

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, D, H, W] to what is added to it, of the same shape."""
        spikes = self.shortcut_lif(x)
        q, k, v = (self._spikes(name, spikes) for name in "qkv")
        gate = self.talking_heads_lif((k * v).sum((3, 4), keepdim=True))  # [T, B, D, 1, 1] of counts 0..N
        return apply_steps(self.proj_bn, apply_steps(self.proj_conv, q * gate))


class SpikingMlp(nn.Module):
    """Two 1x1 convolutions D -> r*D -> D, each with a LIF before it and a batch norm after it.

    ``steps``: it runs so many, and its last result stands for the others; ``joins``: its input joins the first one's sums.
    """

    def __init__(self, dim: int, hidden: int, steps: int, joins: bool = False) -> None:
        super().__init__()
        self.steps, self.joins = steps, joins
        self.fc1_lif = Lif()
        self.fc1_conv = nn.Conv2d(dim, hidden, 1)
        self.fc1_bn = nn.BatchNorm2d(hidden)
        self.fc2_lif = Lif()
        self.fc2_conv = nn.Conv2d(hidden, dim, 1)
        self.fc2_bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Map the stream float32 [T, B, D, H, W] to what is added to it; ``chosen`` [B, 1, H, W]: tokens whose neurons fire."""
        left, x = len(x) - self.steps, x[: self.steps]
        hidden = apply_steps(self.fc1_bn, apply_steps(self.fc1_conv, self.fc1_lif(x)))
        hidden = hidden + x if self.joins else hidden
        spikes = self.fc2_lif(hidden if chosen is None else hidden * chosen)
        result = apply_steps(self.fc2_bn, apply_steps(self.fc2_conv, spikes))
        return torch.cat([result, result[-1:].expand(left, *result.shape[1:])]) if left else result


class Top2Gating(nn.Module):
    """Scores of the experts from the spikes of the first step; the greatest are chosen, ties to the lowest index."""

    def __init__(self, config: SpikingMoeConfig) -> None:
        super().__init__()
        self.choices, self.capacity = config.choices, config.capacity
        self.gate_lif1 = Lif()
        self.gate_fc1 = nn.Linear(config.dim, config.experts, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map the stream float32 [T, B, D, H, W] to (accepted, wanted, probability), float32 [B, N, experts].

        An expert accepts the first ``capacity`` tokens that want it, in the order of positions.
        """
        spikes = self.gate_lif1(x)[0].flatten(2).transpose(1, 2)
        scores = self.gate_fc1(spikes)
        order = scores.detach().argsort(dim=2, descending=True, stable=True)
        wanted = torch.zeros_like(scores).scatter_(2, order[..., : self.choices], 1.0)
        return wanted * (wanted.cumsum(1) <= self.capacity), wanted, scores.softmax(2)


class SpikingExperts(nn.Module):
    """Experts in place of an MLP; ``penalty`` holds the losses on balance and entropy of the last call."""

    def __init__(self, config: SpikingMoeConfig) -> None:
        super().__init__()
        self.gate = Top2Gating(config)
        self.experts = nn.ModuleList(
            SpikingMlp(config.dim, config.dim * config.mlp_ratio, steps, config.weighed) for steps in config.steps
        )
        self.weighed = config.weighed
        self.penalty = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream float32 [T, B, D, H, W] to what is added to it, of the same shape."""
        accepted, wanted, probability = self.gate(x)
        load = wanted.mean((0, 1)) / self.gate.choices  # the experts' shares of the choices: no gradient
        balance = len(self.experts) * (load * probability.mean((0, 1))).sum()
        entropy = -(probability * probability.clamp_min(1e-9).log()).sum(2).mean()
        self.penalty = balance + entropy
        # 0 or 1, with the probability's gradient; or the probability itself
        weight = accepted * (probability if self.weighed else 1.0 + probability - probability.detach())
        total = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            shape = (len(accepted), 1, *x.shape[3:])
            chosen, factor = (values[..., number].reshape(shape) for values in (accepted, weight))
            total = total + expert(x, chosen) * factor
        return total


class SpikeDrivenBlock(nn.Module):
    """One block: both branches start with a LIF and add to the real-valued stream (membrane shortcut)."""

    def __init__(self, config: SpikingMoeConfig) -> None:
        super().__init__()
        self.attn = SpikeDrivenSelfAttention(config)
        dim, hidden = config.dim, config.dim * config.mlp_ratio
        self.mlp = SpikingExperts(config) if config.experts else SpikingMlp(dim, hidden, config.timesteps)

    def forward(self, x: Tensor) -> Tensor:
        """Map the membrane stream float32 [T, B, D, H, W] to the next one."""
        x = x + self.attn(x)
        return x + self.mlp(x)


class SpikeDrivenTransformer(nn.Module):
    """The whole network: tokenizer, blocks, mean over tokens and steps, linear head on that analog mean."""

    def __init__(self, config: SpikingMoeConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = SpikingPatchSplitting(config)
        self.block = nn.ModuleList(SpikeDrivenBlock(config) for _ in range(config.depth))
        self.head = nn.Linear(config.dim, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images float32 [B, 1, H, W] to logits float32 [B, classes]."""
        x = self.patch_embed(images)
        for block in self.block:
            x = block(x)
        return self.head(x.flatten(3).mean(3).mean(0))


class SpikingMoe(SpikeDrivenTransformer):
    """The network with experts, whose routers' losses join that of the logits."""

    def penalty(self) -> Tensor:
        """Return the weighted losses of all routers in the last call."""
        return self.config.penalty_weight * torch.stack([block.mlp.penalty for block in self.block]).sum()
