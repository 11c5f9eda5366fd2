"""Stimuli of units that move rows between memories: DMA and multicast.

An instruction a window, but for the first one; it ends within its window.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.dma import SPIKE_IN, SPIKE_OUT, row_beats
from rtl.characterize.moved import START, each, packed, pulses, spikes_of
from rtl.characterize.stimuli import RECORDED, WINDOW, WINDOWS, Stimulus
from rtl.units.dma import TRANSFER, row_bits
from rtl.units.multicast import COPY

Levels = dict[str, int | Sequence[int]]
"""Inputs that are no stream."""

STORES = {0.05: True, 0.2: False, 0.5: False, RECORDED: True}
"""Whether the DMA's instruction of a window is a STORE; else it is a LOAD."""

BEATS = {0.05: 800, 0.2: 600, 0.5: 400, RECORDED: 400}
"""Beats of the DMA's instruction of a window, about: whole rows of them."""

ROWS = {0.05: 200, 0.2: 600, 0.5: 850, RECORDED: 400}
"""Rows of the multicast's instruction of a window."""

def transferred(chip: ChipParams) -> Stimulus:
    """Rows of spikes, loaded (beats at random cycles) or stored (a beat a cycle).

    Counted: beats of LOAD and of STORE, rows stored, spikes of all.
    """
    rng = np.random.default_rng(12)
    width, warm_up = chip.columns * chip.lanes, 8
    row_bytes = row_bits(chip)["spike_in"] // 8
    beats_of, bus = row_beats(row_bytes, chip.dram_bus_bytes), 8 * chip.dram_bus_bytes
    transfers, stores, offers = [0], [0], [False] * (warm_up + WINDOW)
    beats: list[list[int]] = [[], []]
    reads: list[list[int]] = [[], []]
    for window in WINDOWS[1:]:
        rows = BEATS[window] // beats_of
        words = spikes_of(rng, window, (rows, chip.lanes, chip.columns)).reshape(rows, width)
        store = STORES[window]
        transfers.append(TRANSFER.pack({
            "memory": SPIKE_OUT if store else SPIKE_IN, "cores": 1, "rows": rows, "row_bytes": row_bytes,
        }))  # fmt: skip
        stores.append(int(store))
        reads.append(packed(words) if store else [])
        padded = np.zeros((rows, beats_of * bus), bool)
        padded[:, : min(width, padded.shape[1])] = words
        beats.append([] if store else packed(padded.reshape(-1, bus)[:, ::-1]))  # the first bit of a row is its lowest
        first = START + 1 + chip.dram_latency_cycles
        chosen = rng.permutation(WINDOW - first - START)[: len(beats[-1])] + first
        offers += np.isin(np.arange(WINDOW), chosen).tolist()
    levels: Levels = {
        "transfer": each(warm_up, transfers), "store": each(warm_up, stores), "start": pulses(warm_up, START),
    }  # fmt: skip

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        set_bits = sum(item.bit_count() for name in ("beat", "read__data") for item in taken[name])
        return {
            "loaded": len(taken["beat"]), "sent": len(taken["send"]), "rows": len(taken["read__data"]), "spikes": set_bits,
        }  # fmt: skip

    answers = {"read__data": (["read__en"], reads)}
    return Stimulus(warm_up, levels, {"beat": (offers, beats)}, counts, answers, ("send",))


def copied(chip: ChipParams) -> Stimulus:
    """Rows of spikes from one output bank to input banks, one a cycle. Counted: rows, their spikes."""
    rng = np.random.default_rng(13)
    copies, warm_up = [0], 8
    rows: list[list[int]] = [[], []]
    for window in WINDOWS[1:]:
        words = spikes_of(rng, window, (ROWS[window], chip.lanes, chip.columns))
        rows.append(packed(words.reshape(ROWS[window], -1)))
        copies.append(COPY.pack({
            "source": 4, "outer": ROWS[window] // 2, "inner": 2, "source_outer": 2, "source_inner": 1, "cores": 1,
            "base_outer": 2, "base_inner": 1,
        }))  # fmt: skip
    levels: Levels = {"copy": each(warm_up, copies), "start": pulses(warm_up, START)}

    def counts(taken: Mapping[str, list[int]]) -> dict[str, int]:
        return {"rows": len(taken["read__data"]), "spikes": sum(item.bit_count() for item in taken["read__data"])}

    return Stimulus(warm_up, levels, {}, counts, {"read__data": (["read__en"], rows)})
