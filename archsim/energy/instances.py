"""The units of a chip that have a law: their sizes, how many there are, and which counts of a run the law's counts are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.laws import FORMS
from archsim.contracts.core import CoreParams
from archsim.contracts.experts import ExpertsParams
from archsim.contracts.multicast import masker_of, transposer_of
from archsim.energy.clock import registers_by_unit
from archsim.energy.coefficients import Reading, single
from archsim.energy.normaliser import vector_unit
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
        counts: what the law counts, one or several of a run; what is missing must have no coefficient. Nothing where another
            instance has the counts of all.
        copies: how many there are in an engine.
        components: entries of the reports for single counts.
        own: whether its known registers are its own; else they are memories, which have their area as banks.
    """

    law: str
    unit: str
    engine: str
    component: str
    params: Any
    counts: Mapping[str, Count | tuple[Count, ...]]
    copies: int = 1
    components: dict[str, str] = field(default_factory=dict)
    own: bool = False

    @property
    def numbers(self) -> dict[str, int]:
        """Every size that the law may take."""
        return FORMS[self.law].numbers(self.params)


def instances(chip: ChipParams) -> list[Instance]:
    """All units of the chip that have a law."""
    return [*_queues(chip), *_core(chip), *_attention(chip), *_moving(chip), *_experts(chip), *_normaliser(chip)]


def _queues(chip: ChipParams) -> Iterator[Instance]:
    """A queue of each engine; the first one has the instructions of all, whose queues are alike."""
    counts = {"instructions": Count("instructions")}
    for engine in registers_by_unit(chip):
        yield Instance("sequencer", "sequencer", engine, "sequencers", chip, counts if engine == "core" else {})


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
    yield Instance("planes", "planes", "core", "plane_readers", core.neuron, {"granules": Count("planes.granules")})


def _encoder(prefix: str) -> dict[str, Count]:
    return {
        "words": Count(prefix + "words"), "channels": Count(prefix + "events"), "lane_events": Count(prefix + "lane_events"),
    }  # fmt: skip


def _attention(chip: ChipParams) -> Iterator[Instance]:
    pairs, blocks = ATTENTION + "transposed", (chip.blocks if chip.blocks > 1 else 0, "blocks of V's channels")
    bits = (2 * chip.columns, "bits of a word of K and one of V")
    added, groups = Count("sums.additions", (), (single("counts_not_zero"),)), Count(ATTENTION + "groups")
    counts: dict[str, dict[str, Count | tuple[Count, ...]]] = {
        "attention_popcount": {
            "pairs": Count(pairs), "selections": Count(pairs, (blocks,)), "spikes": Count(pairs, (bits,), (_in_rows(),)),
        },
        "attention_counts": {"words": Count("kv.words"), "additions": Count("kv.additions")},
    }  # fmt: skip
    yield Instance(
        "event_encoder", "attention", "attention", "event_encoders", AttentionParams(chip).encoder, _encoder(ATTENTION)
    )
    shifted = {"pairs": "transposer", "spikes": "transposer"}  # words that fill the transposer of K and the registers of V
    for law, own in counts.items():
        components = shifted if law == "attention_popcount" else {}
        yield Instance(law, "attention", "attention", "attention_adders", chip, own, components=components)
    yield Instance("attention_control", "attention", "attention", "attention_control", chip, {
        "walked": Count("attend.walked"), "channels": Count(ATTENTION + "events"), "scores": Count("scores.pairs"),
        "gates": Count(ATTENTION + "gates"), "granules": Count(ATTENTION + "granules"),
    })  # fmt: skip
    if chip.softmax_tokens:
        # Its adders are those of all instructions, with a total beside them.
        yield Instance("attention_softmax", "attention", "attention", "softmax_logic", chip, {
            "pairs": Count(ATTENTION + "score_writes"), "steps": Count(ATTENTION + "division_steps"), "groups": groups,
            "additions": (Count("softmax.additions"), added),
        }, components={"additions": "attention_adders", "groups": "attention_adders"})  # fmt: skip
    else:
        yield Instance(
            "attention_sums", "attention", "attention", "attention_adders", chip, {"additions": added, "groups": groups}
        )
    yield Instance("attention_neurons", ATTENTION_NEURON, "attention", "neuron_units", chip, {
        "granules": Count(ATTENTION + "granules"), "busy": Count("attend.busy"), "runs": groups,
    })  # fmt: skip


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
    yield Instance("experts_control", "experts", "experts", "expert_engine", chip, {
        "choices": Count("choices"), "entries": Count("route_reads"), "flits": Count("flits"),
    })  # fmt: skip


def _normaliser(chip: ChipParams) -> Iterator[Instance]:
    """The vector unit, of which the table has roots and reciprocals still: its law counts none; and what is around it."""
    if not chip.normaliser_operand_bits:
        return
    unit = vector_unit(chip)
    elements = (unit.elements, "elements of a row")
    yield Instance("vector", "normaliser", "normaliser", "normaliser_logic", unit, {
        "rows": Count("vector_rows"), "additions": Count("vector_additions", (elements,), (single("elements_added"),)),
    })  # fmt: skip
    yield Instance("normaliser_control", "normaliser", "normaliser", "normaliser_logic", chip, {
        "rows": Count("vector_rows"), "changes": Count("changed_elements"), "compared": Count("compared_rows"),
        "exponentials": Count("exponential_reads"),
    })  # fmt: skip


def _in_rows() -> Reading:
    return single("bits_set_in_rows")
