"""scikit-learn's bundled digits: data, a fixed split, and the training loop shared by all small networks.

Source: ``sklearn.datasets.load_digits``, 1797 images of 8x8 pixels 0..16, the test part of "Optical
Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998). No
download. The split is stratified by digit and mixes the writers, as is usual for this set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

PIXEL_MAX = 16
MEAN, STD = 0.305, 0.376  # of pixel / 16 over the data set, rounded: constants, so no split moves them
CLASSES = 10


@dataclass(frozen=True)
class Part:
    """One part: ``images`` uint8 [n, 8, 8], ``labels`` uint8 [n], ``index`` int32 [n] in the data set."""

    images: np.ndarray
    labels: np.ndarray
    index: np.ndarray


@dataclass(frozen=True)
class Split:
    """Disjoint parts that together are the whole data set."""

    train: Part
    val: Part
    test: Part
    seed: int


@dataclass(frozen=True)
class TrainConfig:
    """How to train. ``max_shift_pixels`` augments: each image moves by up to that much on each axis."""

    epochs: int
    seed: int
    batch: int = 64
    max_learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    max_shift_pixels: int = 1


@dataclass(frozen=True)
class ClippedTrainConfig(TrainConfig):
    """How to train with gradients clipped: all parameters' together are scaled down to a norm of ``max_gradient_norm``."""

    max_gradient_norm: float = 1.0


def _stratified(labels: np.ndarray, count: int, rng: np.random.RandomState) -> np.ndarray:
    """Draw ``count`` positions in random order, classes in proportion (largest remainders rounded up)."""
    exact = np.bincount(labels, minlength=CLASSES) * (count / len(labels))
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: count - quota.sum()]] += 1
    drawn = [rng.permutation(np.flatnonzero(labels == digit))[:take] for digit, take in enumerate(quota)]
    return rng.permutation(np.concatenate(drawn))


def load_split(seed: int = 0, test_count: int = 360, val_count: int = 200) -> Split:
    """Split the 1797 images: ``test_count`` for the figure, ``val_count`` for choices, rest to train."""
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    rng = np.random.RandomState(seed)  # legacy: its stream is frozen across NumPy versions
    test = _stratified(labels, test_count, rng)
    rest = np.setdiff1d(np.arange(len(labels)), test)
    val = rest[_stratified(labels[rest], val_count, rng)]
    train = np.setdiff1d(rest, val)

    def part(index: np.ndarray) -> Part:
        return Part(images[index], labels[index], index.astype(np.int32))

    return Split(part(train), part(val), part(test), seed)


def normalise(images: np.ndarray) -> Tensor:
    """Turn pixels uint8 [n, 8, 8] into the input float32 [n, 1, 8, 8]: (pixel / 16 - MEAN) / STD."""
    unit = torch.from_numpy(images.astype(np.float32))[:, None] / PIXEL_MAX
    return (unit - MEAN) / STD


def shift(images: Tensor, max_shift: int, generator: torch.Generator) -> Tensor:
    """Move each of [n, 1, H, W] by its own -max_shift..max_shift pixels per axis; empty pixels move in."""
    n, _, height, width = images.shape
    padded = F.pad(images, [max_shift] * 4, value=-MEAN / STD)
    offset = torch.randint(0, 2 * max_shift + 1, (2, n, 1), generator=generator)
    rows = (offset[0] + torch.arange(height))[:, :, None]
    columns = (offset[1] + torch.arange(width))[:, None, :]
    return padded[torch.arange(n)[:, None, None], 0, rows, columns][:, None]


def configure_determinism(seed: int) -> None:
    """Seed everything, use one thread: the same script, seed, PyTorch and CPU type give the same bytes."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Decay the weights, not the biases and not the batch norms (parameters of one dimension)."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def train(model: nn.Module, part: Part, config: TrainConfig, penalty: Callable[[], Tensor] | None = None) -> None:
    """Train ``model`` in place: AdamW, one-cycle learning rate, cross-entropy on its logits [n, 10].

    ``penalty`` is asked after each batch for what its forward pass adds to the loss. The weights after the last epoch are
    the result: no epoch is picked by its score.
    """
    inputs, labels = normalise(part.images), torch.from_numpy(part.labels.astype(np.int64))
    generator = torch.Generator().manual_seed(config.seed)
    optimiser = torch.optim.AdamW(_parameter_groups(model, config.weight_decay), lr=config.max_learning_rate)
    steps = len(labels) // config.batch  # an incomplete last batch would disturb the norms: dropped
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.max_learning_rate, total_steps=config.epochs * steps
    )
    model.train()
    for _ in range(config.epochs):
        order = torch.randperm(len(labels), generator=generator)
        for batch in order[: steps * config.batch].split(config.batch):
            images = inputs[batch]
            if config.max_shift_pixels:
                images = shift(images, config.max_shift_pixels, generator)
            loss = F.cross_entropy(model(images), labels[batch], label_smoothing=config.label_smoothing)
            loss = loss + penalty() if penalty else loss
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if isinstance(config, ClippedTrainConfig):
                nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
            optimiser.step()
            schedule.step()
    model.eval()


@torch.no_grad()
def count_correct(model: nn.Module, part: Part) -> int:
    """Return how many images of ``part`` the model classifies correctly, in evaluation mode."""
    model.eval()
    predicted = torch.cat([model(images).argmax(1) for images in normalise(part.images).split(60)])
    return int((predicted.numpy() == part.labels).sum())
