"""Attention within windows in integers: counts, a table of exponentials, a division; and which spikes are masked.

A score is one spike, so ``exp(bias + height * spike)`` has two values for each pair of tokens. Both are rounded to 8 bits, the
greatest exponent of a query to 255, and tokens that a shifted window must keep apart get 0. Result and threshold count in units of
``2 ** -FRACTION`` of a spike of v.

Masks are sequences of the masker whose seeds are numbers of the layer, the map and the place: every image sees the same masks.
Those of q and k have one sequence for each position and word, so they depend on the lanes and columns of the chip, and on nothing
else of the mapping; those of the scores one for each window and head.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import masker
from archsim.contracts.attention_softmax import ENTRY_BITS
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from mapping.ir import Map
from mapping.nodes import WindowAttention

if TYPE_CHECKING:
    from mapping.quantise import IntNetwork

FRACTION = 8
"""Bits of the attention's result behind the binary point: as many as an entry of the table has."""

SCORE_SHIFT = 8
"""Counts are shifted so far to the left before the neurons of the scores: their threshold is rounded to 1/256 of a count."""

Q, K, SCORES = range(3)
"""Maps that are masked, as numbers of seeds."""


@dataclass(frozen=True)
class IntWindowAttention:
    """A layer in integers.

    Attributes:
        name, q, k, v, spikes, heads, window, shift: as in :class:`mapping.nodes.WindowAttention`.
        number: of the layer among those of its kind, for the seeds.
        shape: of the maps.
        table: uint8 [heads, classes, tokens of a window squared, 2], entries without and with a spike; row i * tokens + j.
        classes: of each window, that of its table: which of its tokens are kept apart.
        score_threshold, score_shift: of the neurons on ``count << score_shift``.
        threshold: of the neurons on the result.
        keep: of 256 spikes of q, of k and of the scores, those that stay.
        lanes, lanes_used, columns: of the words that are masked, and steps in them; 0: not known yet, see :func:`on_chip`.
    """

    name: str
    q: str
    k: str
    v: str
    spikes: str
    heads: int
    window: int
    shift: int
    number: int
    shape: Map
    table: NDArray[np.uint8]
    classes: tuple[int, ...]
    score_threshold: int
    score_shift: int
    threshold: int
    keep: int
    lanes: int = 0
    lanes_used: int = 0
    columns: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of a window."""
        return self.window**2

    @property
    def by_window(self) -> str:
        """Name of the map ``spikes`` as the attention unit stores it, window by window."""
        return f"{self.spikes} by window"

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Positions int64 [positions] of the tokens, window by window."""
        return window_order(self.shape, self.window, self.shift)

    def seed(self, kind: int, place: int) -> int:
        """Seed of the masks of Q or K (``place``: position x words + word) or of the scores (window x heads + head)."""
        return masker.seed_of(self.number << 20 | kind << 18 | place)

    def kept(self, kind: int, steps: int) -> NDArray[np.bool_]:
        """Which spikes of Q or K stay, bool [steps, positions, channels]."""
        words = -(-self.shape.channels // self.columns)
        result = np.zeros((steps, self.shape.positions, words * self.columns), np.bool_)
        for place in range(self.shape.positions * words):
            drawn = kept(self.seed(kind, place), self.keep, steps // self.lanes_used, self.lanes, self.columns)
            position, word = divmod(place, words)
            columns = slice(word * self.columns, (word + 1) * self.columns)
            result[:, position, columns] = drawn[:, : self.lanes_used].reshape(steps, self.columns)
        return result[:, :, : self.shape.channels]

    def kept_scores(self, steps: int) -> NDArray[np.bool_]:
        """Which spikes of the scores stay, bool [windows, heads, tokens of Q, steps, tokens of K]."""
        pairs = (self.tokens, steps, self.tokens)
        drawn = [
            kept(self.seed(SCORES, place), self.keep, int(np.prod(pairs)), 1, 1).reshape(pairs)
            for place in range(len(self.classes) * self.heads)
        ]
        return np.stack(drawn).reshape(len(self.classes), self.heads, *pairs)


@lru_cache(maxsize=1 << 12)
def kept(seed: int, keep: int, words: int, lanes: int, columns: int) -> NDArray[np.bool_]:
    """Which spikes of the words of a sequence stay, bool [words, lanes, columns]: by the masker's contract, bit by bit."""
    full = [[(1 << columns) - 1] * lanes for _ in range(words)]
    left, _ = masker.reference(full, [1] + [0] * (words - 1), seed, keep, columns)
    return (np.array(left, np.uint64)[..., None] >> np.arange(columns, dtype=np.uint64) & np.uint64(1)).astype(np.bool_)


def window_order(shape: Map, window: int, shift: int) -> NDArray[np.int64]:
    """Positions int64 [positions] of a map's tokens, window by window of the map that is shifted up and left, cyclic."""
    places = np.arange(shape.positions).reshape(shape.height, shape.width)
    places = np.roll(places, (-shift, -shift), (0, 1))
    tiles = places.reshape(shape.height // window, window, shape.width // window, window)
    return tiles.transpose(0, 2, 1, 3).reshape(-1)


def apart(shape: Map, window: int, shift: int) -> NDArray[np.bool_]:
    """Which tokens a window keeps apart, bool [windows, tokens, tokens]: those that were not neighbours before the shift."""
    edges = [np.zeros(size, np.int64) for size in (shape.height, shape.width)]
    if shift:
        for edge in edges:
            edge[-window:-shift], edge[-shift:] = 1, 2
    regions = np.roll((edges[0][:, None] * 3 + edges[1]), (shift, shift), (0, 1)).reshape(-1)
    seen = regions[window_order(shape, window, shift)].reshape(-1, window**2)
    return np.asarray(seen[:, :, None] != seen[:, None])


def quantise_window(layer: WindowAttention, shape: Map, number: int) -> IntWindowAttention:
    """A layer, whose spikes are 1, in integers; ``number``: of the layer among those of its kind.

    Raises ArchsimError for windows that do not divide the map.
    """
    if shape.height % layer.window or shape.width % layer.window:
        raise ArchsimError(
            f"layer '{layer.name}': not mapped yet: windows of {layer.window}x{layer.window} tokens that do not divide a map of "
            f"{shape.height}x{shape.width}"
        )
    masks = apart(shape, layer.window, layer.shift)
    kinds, classes = np.unique(masks, axis=0, return_inverse=True)
    exponents = np.stack([layer.bias, layer.bias + layer.height], -1)[:, None]  # [heads, 1, tokens, tokens, 2]
    exponents = np.where(kinds[None, ..., None], -np.inf, exponents)
    entries = np.exp(exponents - exponents.max((3, 4), keepdims=True)) * ((1 << ENTRY_BITS) - 1)
    table = np.rint(entries).astype(np.uint8).reshape(layer.heads, len(kinds), -1, 2)
    return IntWindowAttention(
        layer.name, layer.q, layer.k, layer.v, layer.spikes, layer.heads, layer.window, layer.shift, number, shape, table,
        tuple(classes.reshape(-1).tolist()), max(1, round(layer.score_threshold / layer.scale * 2**SCORE_SHIFT)), SCORE_SHIFT,
        max(1, round(layer.threshold * 2**FRACTION)), round(layer.keep * masker.KEEP_ALL),
    )  # fmt: skip


def on_chip(network: "IntNetwork", chip: ChipParams) -> "IntNetwork":
    """The network with the masks of a chip."""
    used = chip.lanes_used(network.timesteps)
    layers = (
        replace(x, lanes=chip.lanes, lanes_used=used, columns=chip.columns) if isinstance(x, IntWindowAttention) else x
        for x in network.layers
    )
    return replace(network, layers=tuple(layers))
