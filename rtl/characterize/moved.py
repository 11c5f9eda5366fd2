"""Stimuli of units that move spikes and rows by instructions: spike fetch, spike writer, DMA, multicast.

An instruction a window, but for the first one, in which nothing happens; it ends within its window.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.neuron import NeuronParams
from archsim.contracts.spike_fetch import TILE_FIELDS, SpikeFetchParams, reference
from archsim.contracts.spike_writer import SpikeWriterParams
from rtl.characterize import recorded
from rtl.characterize.stimuli import RECORDED, STEPS, WINDOW, WINDOWS, Stimulus
from rtl.units.spike_fetch import WRITERS, bank_write_layout
from rtl.units.spike_writer import CONFIG, READERS

SETUP, START = 2, 6
"""Cycles from the beginning of a window until its instruction stands and starts."""

BUSY_CYCLES = 850
"""Cycles of a window in which its instruction works, about."""

MAP, MAP_WORDS = 8, 2
"""Rows and columns of the map that is fetched, and words of a position."""

KERNELS = {0.05: 3, 0.2: 1, 0.5: 1, RECORDED: 3}
"""Kernel size of the window's layer; the map is padded so that its size stays."""

POOLED = {0.05: True, 0.2: False, 0.5: False, RECORDED: True}
"""Whether what is written in a window is pooled."""

BLOCKS = 4
"""Blocks of a word of the writer."""

CENTRE = 24
"""Position from which on recorded spikes are taken: the middle of a map of 8 x 8, whose edge has few."""

TILE = (5, 6)
"""Rows and columns of positions that are written in a window: half of its cycles have a granule."""


def each(warm_up: int, values: Sequence[int]) -> list[int]:
    """A level with a value for each window, by cycle; the warm-up has that of the first."""
    return [values[0]] * warm_up + np.repeat(np.array(values, object), WINDOW).tolist()


def pulses(warm_up: int, offset: int) -> list[int]:
    """A level that is 1 for a cycle in every window but the first, ``offset`` cycles from its beginning."""
    cycles = [0] * (warm_up + WINDOW * len(WINDOWS))
    for index in range(1, len(WINDOWS)):
        cycles[warm_up + WINDOW * index + offset] = 1
    return cycles


def spikes_of(rng: np.random.Generator, window: float | str, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Words of a window [words, lanes, bits], spikes at its rate or recorded."""
    if not isinstance(window, str):
        return rng.random(shape) < window
    count, lanes, bits = shape
    first = CENTRE * (recorded.spikes().shape[1] // lanes) * (recorded.CHANNELS // bits)
    return recorded.words(first + count, lanes, bits)[first:]


def packed(bits: NDArray[np.bool_]) -> list[int]:
    """Rows of bits as integers, the lowest bit last."""
    return [int("".join("1" if bit else "0" for bit in row), 2) for row in bits]


def fetched(params: SpikeFetchParams) -> Stimulus:
    """A layer over a map of each window's spikes, taken at the mean pace of an encoder: a cycle for each channel with a spike.

    Counted: words, groups (positions), spikes of the words.
    """
    rng = np.random.default_rng(10)
    size = MAP * MAP * MAP_WORDS
    write = bank_write_layout(params.bank.address_bits, Field("data", params.word_bits, count=params.lanes))
    tiles, loads, ready = [0], [], [1] * WINDOW
    for index, window in enumerate(WINDOWS[1:]):
        bits = spikes_of(rng, window, (size, params.lanes, params.word_bits))
        rows = [packed(word) for word in bits]
        loads += [write.pack({"bank": 0, "row": index * size + row, "data": word}) for row, word in enumerate(rows)]
        pace = max(1, round(float(np.maximum(1, bits.any(axis=1).sum(axis=1)).mean())))
        tiles.append(_layer(params, KERNELS[window], index * size, BUSY_CYCLES // pace))
        ready += [int(cycle % pace == 0) for cycle in range(WINDOW)]
    warm_up = 4 * size + 8
    levels: dict[str, int | Sequence[int]] = {
        "tile": each(warm_up, tiles), "setup": pulses(warm_up, SETUP), "start": pulses(warm_up, START),
        "o__ready": [1] * warm_up + ready,
        **{f"{name}__{signal}": 0 for name in WRITERS[1:] for signal in ("valid", "payload")},
    }  # fmt: skip
    offers = [4 <= cycle < 4 + 4 * size for cycle in range(warm_up + WINDOW * len(WINDOWS))]

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        words = [params.o.unpack(item) for item in taken["o"]]
        lanes = (np.ravel(word["spikes"]).tolist() for word in words)
        return {
            "words": len(words), "groups": int(np.sum([word["last"] for word in words], dtype=int)),
            "spikes": sum(lane.bit_count() for word in lanes for lane in word),
        }  # fmt: skip

    streams = {"write": (offers, [loads, *[[] for _ in WINDOWS]])}
    return Stimulus(warm_up, levels, streams, counts, outputs=("o",))


def _layer(params: SpikeFetchParams, kernel: int, base: int, words: int) -> int:
    """The tile of a layer over the map at ``base``: as many rows of it as take ``words`` words at most, but one at least."""
    pad = kernel // 2
    tile = {
        "in_origin": (base - pad * MAP_WORDS * (MAP + 1)) % (1 << 20), "in_y": -pad, "in_x": -pad, "in_height": MAP,
        "in_width": MAP, "y_stride": MAP * MAP_WORDS, "x_stride": MAP_WORDS, "slices": 1, "words": MAP_WORDS,
        "kernel_height": kernel, "kernel_width": kernel, "stride": 1, "out_width": MAP,
        "tap_rows": MAP_WORDS * params.word_bits,
    }  # fmt: skip
    whole = {field.name: 0 for field in TILE_FIELDS} | tile

    def length(height: int) -> int:
        return sum(1 for _ in reference(whole | {"out_height": height}, params.word_bits))

    height = max([1, *(height for height in range(1, MAP + 1) if length(height) <= words)])
    return Layout.of("tile", TILE_FIELDS).pack(whole | {"out_height": height})


def written(params: SpikeWriterParams) -> Stimulus:
    """A tile of positions at random cycles, without the pool and with it. Counted: granules, their spikes; those of them pooled."""
    rng = np.random.default_rng(11)
    granule = NeuronParams(params.neurons, params.blocks, 4, 1, 1, 1, 1).o
    height, width = TILE
    number = height * width * params.blocks * STEPS
    lanes = min(params.lanes, STEPS)
    tile = {
        "slices": 1, "steps": STEPS, "lanes": lanes, "out_height": height, "out_width": width, "spike_out": 1,
        "out_position": STEPS // lanes, "out_slice": 1,
    }  # fmt: skip
    warm_up = 8
    items: list[list[int]] = [[], []]
    configs, offers = [CONFIG.pack(tile)], [False] * (warm_up + WINDOW)
    for window in WINDOWS[1:]:
        size = (height * width, STEPS, params.blocks * params.neurons)
        if isinstance(window, str):
            words = recorded.spikes()[CENTRE : CENTRE + size[0], :STEPS, : size[2]]
        else:
            words = rng.random(size) < window
        words = words.reshape(-1, STEPS, params.blocks, params.neurons).transpose(0, 2, 1, 3)  # position, block, step, neuron
        places = [(block, step) for _, block, step in np.ndindex(words.shape[:3])]
        last = (params.blocks - 1, STEPS - 1)
        items.append([
            granule.pack({"spikes": spikes, "block": place[0], "step": place[1], "last": int(place == last)})
            for place, spikes in zip(places, packed(words.reshape(number, -1)), strict=True)
        ])
        configs.append(CONFIG.pack(tile | {"pool": int(POOLED[window])}))
        chosen = rng.permutation(WINDOW - 2 * START)[:number] + START
        offers += np.isin(np.arange(WINDOW), chosen).tolist()
    levels: dict[str, int | Sequence[int]] = {
        "config": each(warm_up, configs), "start": pulses(warm_up, SETUP), "write__valid": 0, "write__payload": 0,
        **{f"{name}__{signal}": 0 for name in READERS for signal in ("en", "bank", "row")},
    }  # fmt: skip

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        spikes = granule.offsets["spikes"]
        words = (item >> spikes & (1 << params.neurons) - 1 for item in taken["i"])
        return {"granules": len(taken["i"]), "spikes": sum(word.bit_count() for word in words)}

    pooled: list[Mapping[str, int]] = [{"pooled": number * int(POOLED.get(window, False))} for window in WINDOWS]
    return Stimulus(warm_up, levels, {"i": (offers, items)}, counts, instructions=tuple(pooled))
