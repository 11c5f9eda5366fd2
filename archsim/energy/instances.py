"""The units of a chip that have a law: their sizes, how many there are, and which counts of a run the law's counts are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.laws import FORMS
from archsim.contracts.core import CoreParams
from archsim.contracts.experts import ExpertsParams
from archsim.contracts.multicast import masker_of, transposer_of
from archsim.energy.coefficients import Reading, single
from archsim.energy.term import ATTENTION, ATTENTION_NEURON

Factors = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Count:
    """What a count of a law is in a run: a counter times factors, and shares that are assumed."""

    counter: str
    factors: Factors = ()
    assumed: tuple[Reading, ...] = ()


@dataclass(frozen=True)
class Instance:
    """Units of a kind in a chip.

    Attributes:
        law: name of the law.
        unit: the unit of logic that they are in, as `cosim.gates` names units.
        engine: the engine whose clock they have: ``core`` and so on.
        component: entry of the reports for what is no clock.
        params: their parameters.
        counts: what the law counts; what is missing must have no coefficient.
        copies: how many there are in an engine.
        components: entries of the reports for single counts.
        own: whether its known registers are its own; else they are memories, which have their area as banks.
    """

    law: str
    unit: str
    engine: str
    component: str
    params: Any
    counts: dict[str, Count]
    copies: int = 1
    components: dict[str, str] = field(default_factory=dict)
    own: bool = False

    @property
    def numbers(self) -> dict[str, int]:
        """Every size that the law may take."""
        return FORMS[self.law].numbers(self.params)


def instances(chip: ChipParams) -> list[Instance]:
    """All units of the chip that have a law."""
    return [*_core(chip), *_attention(chip), *_moving(chip), *_experts(chip)]


def _core(chip: ChipParams) -> Iterator[Instance]:
    core, columns = CoreParams(chip), (1 / chip.columns, "lane events: additions over columns")
    yield Instance("spike_fetch", "spike_fetch", "core", "spike_fetch", core.fetch, {
        "words": Count("words"), "groups": Count("fetch.groups"), "spikes": Count("lane_events"),
    })  # fmt: skip
    yield Instance("event_encoder", "event_encoder", "core", "event_encoders", core.encoder, _encoder(""))
    yield Instance("synapse_array", "synapse_array", "core", "synapse_adders", core.array, {
        "channels": Count("weight_reads"), "lane_events": Count("additions", (columns,)), "groups": Count("groups"),
        "busy_groups": Count("array.groups"),
    }, components={"groups": "accumulator_registers", "busy_groups": "accumulator_registers"})  # fmt: skip
    yield Instance("neuron", "neuron", "core", "neuron_units", core.neuron, {
        "granules": Count("granules"), "changes": Count("granules"), "runs": Count("groups"),
    })  # fmt: skip
    yield Instance("spike_writer", "spike_writer", "core", "spike_writers", core.writer, {
        "granules": Count("writer.granules"), "spikes": Count("spikes"), "pooled": Count("writer.pooled"),
    })  # fmt: skip


def _encoder(prefix: str) -> dict[str, Count]:
    return {
        "words": Count(prefix + "words"), "channels": Count(prefix + "events"), "lane_events": Count(prefix + "lane_events"),
    }  # fmt: skip


def _attention(chip: ChipParams) -> Iterator[Instance]:
    pairs, blocks = ATTENTION + "transposed", (chip.blocks if chip.blocks > 1 else 0, "blocks of V's channels")
    bits = (2 * chip.columns, "bits of a word of K and one of V")
    counts: dict[str, dict[str, Count]] = {
        "attention_popcount": {
            "pairs": Count(pairs), "selections": Count(pairs, (blocks,)), "spikes": Count(pairs, (bits,), (_in_rows(),)),
        },
        "attention_counts": {"words": Count("kv.words"), "additions": Count("kv.additions")},
        "attention_sums": {
            "additions": Count("q.additions", (), (single("counts_not_zero"),)), "groups": Count(ATTENTION + "groups"),
        },
    }  # fmt: skip
    yield Instance(
        "event_encoder", "attention", "attention", "event_encoders", AttentionParams(chip).encoder, _encoder(ATTENTION)
    )
    shifted = {"pairs": "transposer", "spikes": "transposer"}  # words that fill the transposer of K and the registers of V
    for law, own in counts.items():
        components = shifted if law == "attention_popcount" else {}
        yield Instance(law, "attention", "attention", "attention_adders", chip, own, components=components)
    granules = {"granules": Count(ATTENTION + "granules")}
    yield Instance("attention_neurons", ATTENTION_NEURON, "attention", "neuron_units", chip, granules)


def _moving(chip: ChipParams) -> Iterator[Instance]:
    beat = 8 * chip.dram_bus_bytes, "bits of a beat"
    yield Instance("dma", "dma", "dma", "dma_engine", chip, {
        "loaded": Count("dma.loaded"), "sent": Count("dma.sent"),
        "row_starts": Count("row_starts"), "toggles": Count("dma.loaded", (beat,), (single("bits_toggled_moved"),)),
    }, own=True)  # fmt: skip
    row, word = (chip.lanes * chip.columns, "bits of a row"), (chip.columns, "bits of a word")
    yield Instance("multicast", "multicast", "multicast", "multicast", chip, {
        "rows": Count("multicast.rows"), "spikes": Count("multicast.rows", (row,), (_in_rows(),)),
    })  # fmt: skip
    if chip.transposer:
        yield Instance("transposer", "multicast", "multicast", "transposer", transposer_of(chip), {
            "transposed": Count("transposed"), "spikes": Count("transposed", (word,), (_in_rows(),)),
        }, copies=chip.lanes)  # fmt: skip
    if chip.masker:
        yield Instance("masker", "multicast", "multicast", "masker", masker_of(chip), {
            "words": Count("masked", ((1 / chip.lanes, "words of a row"),)), "spikes": Count("masked", (word,), (_in_rows(),)),
        })  # fmt: skip


def _experts(chip: ChipParams) -> Iterator[Instance]:
    if not chip.crossbar_depth:
        return
    sizes = ExpertsParams(chip)
    yield Instance("router", "experts", "experts", "expert_engine", sizes.router, {
        "tokens": Count("choices", (), (single("tokens_a_choice"),)),
    })  # fmt: skip
    yield Instance("crossbar", "experts", "experts", "expert_engine", sizes.reply, {"flits": Count("flits")})
    # Every flit is counted with the crossbar of the replies, whose flits are at least as wide.
    yield Instance("crossbar", "experts", "experts", "expert_engine", sizes.request, {})


def _in_rows() -> Reading:
    return single("bits_set_in_rows")
