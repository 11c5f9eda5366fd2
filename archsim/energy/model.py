"""Energy per counted event and area per component, from memory sizes and the cited coefficients."""

from collections.abc import Mapping
from functools import cache

from archsim.contracts.common.chip import ChipParams
from archsim.energy.by_law import law_area_terms, law_clock_terms, logic_terms
from archsim.energy.clock import clock_terms
from archsim.energy.coefficients import Reading, by_width, single
from archsim.energy.masker import masker_area, masker_bits, masker_terms
from archsim.energy.memories import Memory, memories
from archsim.energy.normaliser import normaliser_area, normaliser_bits, normaliser_terms
from archsim.energy.softmax import softmax_area, softmax_bits, softmax_terms
from archsim.energy.sram import bank
from archsim.energy.term import ATTENTION, CYCLES, Term

COMPONENTS = {
    "weight_memory": ("weight memory", "indicative"),
    "parameter_memory": ("parameter memory", "indicative"),
    "spike_memory": ("spike memory", "indicative"),
    "residual_memory": ("residual memory", "indicative"),
    "psum_memory": ("partial-sum memory", "indicative"),
    "reduction_memory": ("reduction memory", "indicative"),
    "membrane_memory": ("membrane memory", "indicative"),
    "count_memory": ("count memory", "indicative"),
    "softmax_memory": ("softmax score and table memories", "indicative"),
    "normaliser_memory": ("normaliser table memories", "indicative"),
    "pool_memory": ("pool memories", "indicative"),
    "route_memory": ("route and reply tables", "indicative"),
    "program_memory": ("program memory", "indicative"),
    "spike_fetch": ("spike fetch", "indicative"),
    "event_encoders": ("event encoders", "indicative"),
    "synapse_adders": ("synapse adders", "indicative"),
    "accumulator_registers": ("accumulator registers", "indicative"),
    "attention_adders": ("attention adders", "assumed"),
    "transposer": ("bit transposers, registers of V", "indicative"),
    "masker": ("masker", "assumed"),
    "softmax_logic": ("softmax neuron, masker, dividers", "assumed"),
    "normaliser_logic": ("normaliser (not spike-driven)", "assumed"),
    "neuron_units": ("neuron units", "assumed"),
    "spike_writers": ("spike writers", "indicative"),
    "plane_readers": ("bit planes of sums", "indicative"),
    "attention_control": ("attention unit's control", "indicative"),
    "sequencers": ("instruction queues", "indicative"),
    "dma_engine": ("DMA engine", "assumed"),
    "multicast": ("multicast", "assumed"),
    "expert_engine": ("expert engine", "assumed"),
    "clock": ("clock of the registers", "assumed"),
    "logic_leakage": ("adder and register leakage", "indicative"),
    "memory_leakage": ("memory leakage", "indicative"),
    "dram": ("DRAM", "indicative"),
}
"""Components of the reports: label, and the least confidence of what its figures rest on."""

ASSUMPTIONS = (
    "memories: energy of a read and of a write, leakage and area of a bank by runs of CACTI at 45 nm (sram.csv), on "
    "straight lines over capacity between runs of a width; an access of fewer than 8 bits costs as much as one of 8",
    "memory cells and their periphery are those of low standby power: of other devices leakage is 250 to 25,000 times as much; "
    "what gates leak (0.4 of it, more below 4 KB) is left out",
    "one port that reads or writes; the second port of a bank changes neither energy nor area",
    "adders: Aladdin at 45 nm, by width; Horowitz's figures (0.4 to 0.5 of these) are not used",
    "an addition writes one accumulator register (Aladdin, 40 nm, unscaled); doubling and hand-over all",
    "a neuron update costs four adders of the membrane's width (three additions, one comparison); in the cores of chips with "
    "residual_maximum one comparison more, whether a maximum is taken or not",
    "attention: a row of adders of the membrane's width; an AND-popcount or AND costs an adder bit a column",
    "a word that leaves a bit transposer moves all its bits; its share of the words that come is a word (in the attention unit one "
    "of K and one of V)",
    "a byte that the masker draws costs two adders of 8 bits: its comparison, and its bits of three XORs each",
    "a row in the normaliser costs three additions an element (bias, sum, signed digits), whatever it holds, and one more in each "
    "cycle of work; a step of its divider one subtraction",
    "a score of a softmax costs a neuron update, an addition to its total and a step of the masker, whether it spikes or not",
    "rows that multicast and crossbars read and write cost what the cores' output and input banks cost",
    "clock: every register bit of the generated Verilog by a law of the chip's parameters, at what a flip-flop of a 180 nm library "
    "takes in a cycle, scaled to 45 nm, and half as much again for the tree; gated where the chip says so, the gates for nothing",
    "DRAM: LPDDR4, 8 pJ per bit moved",
)
"""What the model takes for granted, in words."""

NOT_MODELLED = (
    "event encoders, spike fetch and spike writers (the memories of the pool are modelled)",
    "sequencer logic and semaphores (the program memories are modelled)",
    "router, packet readers and crossbars of the expert engine (its tables are modelled)",
    "multicast wires, DMA engine, DRAM interface and DRAM background power",
    "rows that STORE reads",
    "wires, and data that registers other than the accumulators take (their clock is modelled)",
)
"""What has no figure, by name; nothing of it is in any total."""

UNCOSTED = {
    "words": "event encoder", "empty_words": "event encoder",
    "events": "event encoder; the row read is weight_reads",
    "lane_events": "counted through additions", "stall_cycles": "time only", "fill_cycles": "time only",
    "row_starts": "DMA engine; by laws alone", "empty_groups": "counted through groups; by laws those that are not empty",
    "spikes": "counted through spike_writes", "choices": "router; counted through route_writes",
    "dropped": "no packet is sent", "flits": "crossbars; the rows moved are copied_rows or residual_reads",
    "flit_stalls": "time only", "changed_elements": "counted through vector_rows; by laws alone",
}  # fmt: skip
"""Counters that carry no energy of their own, and why."""

WRITES = {
    "copied_row_writes", "loaded_program_rows", "loaded_weight_rows", "loaded_param_rows", "loaded_spike_rows", "loaded_table_rows",
}  # fmt: skip
"""Counters of accesses that write a row, beside those that end in ``_writes``."""


@cache
def energy_terms(chip: ChipParams) -> tuple[Term, ...]:
    """Every product that makes an energy.

    Counters are named as in ``archsim.results.COUNTERS``, prefixed with ``attention.`` for the attention unit; ``instructions``
    (instructions fetched) and `CYCLES` beside them; those that laws need beside them as `archsim.counters.DERIVED`.
    """
    logic, clock = _logic_terms(chip), clock_terms(chip)
    if chip.energy_laws:
        logic, clock = logic_terms(chip, logic), law_clock_terms(chip)
    return (*_memory_terms(chip), *logic, *_comparator_terms(chip), *_leakage_terms(chip), *clock)


def _memory_terms(chip: ChipParams) -> list[Term]:
    """Accesses to memories, DRAM included."""
    banks = memories(chip)
    granule = {"spike_writes": "spike_out", ATTENTION + "spike_writes": "attention"}
    rows = {
        "instructions": "program", "loaded_program_rows": "program", "spike_reads": "spike_in",
        ATTENTION + "spike_reads": "attention", "copied_rows": "spike_out", "copied_row_writes": "spike_in",
        "loaded_weight_rows": "weight", "loaded_param_rows": "param", "loaded_spike_rows": "spike_in",
        "stored_spike_rows": "spike_out", "weight_reads": "weight", "param_reads": "param", "loaded_table_rows": "table",
        ATTENTION + "table_reads": "table", ATTENTION + "score_reads": "scores", ATTENTION + "score_writes": "scores",
    }  # fmt: skip
    named = {"route": "route", "reply": "reply", "pool_column": "pool_columns", "pool_line": "pool_lines"}
    named |= {ATTENTION + "mark": "count_cleared"}
    for name in ("psum", "residual", "reduce", "v", "count"):
        named |= {name: name, ATTENTION + name: name}
    rows |= {f"{counter}_{kind}": name for counter, name in named.items() for kind in ("reads", "writes")}
    terms = []
    for counter, name in (granule | rows).items():
        memory = banks[name]
        bits = chip.neurons if counter in granule else memory.bank.row_bits
        access = bank("write" if counter in WRITES or counter.endswith("_writes") else "read", memory.bank_bytes, bits)
        terms.append(Term(memory.component, counter, (), (access,)))
    return [*terms, Term("dram", "dram_bytes", ((8, "bits of a byte"),), (single("dram_bit"),))]


def _logic_terms(chip: ChipParams) -> list[Term]:
    """Adders and registers that switch with a count."""
    adder, bit = by_width("adder_energy", chip.membrane_bits), by_width("adder_energy", 1)
    columns = (chip.columns, "columns")
    neuron = "neuron_units", ((chip.neurons, "neurons of a granule"),), (single("neuron_adders"), adder)
    word = "attention_adders", (columns,), (bit,)
    moved = chip.columns * (chip.columns + 2), "bits: columns x columns that shift, a word of K and one of V"
    turned = chip.columns * (chip.columns + 1), "bits: columns x columns that shift, a word that comes"
    terms = [
        Term("synapse_adders", "additions", (), (adder,)),
        Term("attention_adders", ATTENTION + "additions", (), (adder,)),
        Term("transposer", ATTENTION + "transposed", (moved,), (single("register_energy"),)),
        Term("transposer", "transposed", (turned,), (single("register_energy"),)),
    ]
    for counter, (component, factors, readings) in {"granules": neuron, "popcounts": word, "gates": word}.items():
        terms += [Term(component, prefix + counter, factors, readings) for prefix in ("", ATTENTION)]
    # An addition writes one accumulator, a shift or a hand-over all of a core (of the attention unit: M).
    array = (chip.lanes * chip.columns, "accumulators of a core")
    width = chip.membrane_bits, "bits of an accumulator"
    written = [
        ("accumulator_registers", "additions", (width,)), ("accumulator_registers", "shifts", (array, width)),
        ("accumulator_registers", "groups", (array, width)), ("accumulator_registers", ATTENTION + "groups", (columns, width)),
        ("attention_adders", ATTENTION + "additions", (width,)),
    ]  # fmt: skip
    terms += [Term(component, counter, factors, (single("register_energy"),)) for component, counter, factors in written]
    return terms + masker_terms(chip) + softmax_terms(chip) + normaliser_terms(chip)


def _comparator_terms(chip: ChipParams) -> list[Term]:
    """The comparisons of a maximum, which compare whatever is marked, in the cores alone; no law has them."""
    if not chip.residual_maximum:
        return []
    factors = ((chip.neurons, "comparisons of a granule"),)
    return [Term("neuron_units", "granules", factors, (by_width("adder_energy", chip.membrane_bits),))]


def _leakage_terms(chip: ChipParams) -> list[Term]:
    """Leakage of adders, accumulator registers and memories in a cycle (mW x ns)."""
    parts = masker_bits(chip), softmax_bits(chip), normaliser_bits(chip)
    optional = sum(adders for adders, _ in parts), sum(bits for _, bits in parts)
    adder_bits = _adder_count(chip) * chip.membrane_bits + chip.neurons * chip.columns + optional[0]
    register_bits = 2 * (chip.adders + chip.columns) * chip.membrane_bits + _transposer_bits(chip) + optional[1]
    cycle = 1000 / chip.clock_mhz, "ns of a cycle"
    adders = adder_bits / 32, "adders of 32 bits in the chip, by their bits"
    registers = register_bits, "register bits in the chip"
    return [
        Term("logic_leakage", CYCLES, (adders, cycle), (single("adder_leakage"),)),
        Term("logic_leakage", CYCLES, (registers, cycle), (single("register_leakage"),)),
        *(
            Term("memory_leakage", CYCLES, ((memory.count, f"banks {name}"), cycle), (_of_bank("leakage", memory),))
            for name, memory in memories(chip).items()
            if memory.count
        ),
    ]


def _of_bank(figure: str, memory: Memory) -> Reading:
    """Leakage or area of one bank."""
    return bank(figure, memory.bank_bytes, memory.bank.row_bits)


def energy_pj(chip: ChipParams, counters: Mapping[str, int], cycles: int) -> dict[str, float]:
    """Energy by component, pJ, of what was counted in ``cycles`` cycles, at the coefficients' 45 nm.

    Args:
        chip: the chip.
        counters: counts by name, as `energy_terms` names them; others, and missing ones, count nothing.
        cycles: duration, for leakage.

    Linear in counters and cycles, so that the energies of layers add up to the run's.
    """
    result = dict.fromkeys(COMPONENTS, 0.0)
    counts = {**counters, CYCLES: cycles}
    for term in energy_terms(chip):
        result[term.component] += term.value * counts.get(term.counter, 0)
    return result


@cache
def area_terms(chip: ChipParams) -> tuple[Term, ...]:
    """Every product that makes an area, mm2 at the coefficients' 45 nm; without `NOT_MODELLED` and DRAM."""
    scale = 1e-6, "mm2 of a um2"
    width = chip.membrane_bits, "bits of an accumulator"
    adder, register = by_width("adder_area", chip.membrane_bits), single("register_area")
    terms = [
        Term(memory.component, f"banks {name}", ((memory.count, "banks"),), (_of_bank("area", memory),))
        for name, memory in memories(chip).items()
        if memory.count
    ]
    words = chip.neurons * chip.columns, "bits that AND-popcounts take: P words of M"
    pairs = 2 * (chip.adders + chip.columns), "accumulators, two sets"
    units = (chip.cores + 1) * chip.neurons, "neurons of all neuron units"
    logic = [
        Term("synapse_adders", "adders", ((chip.adders, "adders"), scale), (adder,)),
        Term("accumulator_registers", "accumulators", (pairs, width, scale), (register,)),
        Term("attention_adders", "adders", ((chip.columns, "columns"), scale), (adder,)),
        Term("attention_adders", "popcounts", (words, scale), (by_width("adder_area", 1),)),
        Term("transposer", "registers", ((_transposer_bits(chip), "bits of K and V, and of blocks"), scale), (register,)),
        Term("neuron_units", "neurons", (units, scale), (single("neuron_adders"), adder)),
        *_comparator_area(chip),
        *masker_area(chip),
        *softmax_area(chip),
        *normaliser_area(chip),
    ]
    return (*terms, *(law_area_terms(chip, logic) if chip.energy_laws else logic))


def _comparator_area(chip: ChipParams) -> list[Term]:
    """Area of the comparators of a maximum, if there are any."""
    if not chip.residual_maximum:
        return []
    factors = (_comparators(chip), "comparators of sums and residual"), (1e-6, "mm2 of a um2")
    return [Term("neuron_units", "comparators", factors, (by_width("adder_area", chip.membrane_bits),))]


def area_mm2(chip: ChipParams) -> dict[str, float]:
    """Area by component, mm2, at the coefficients' 45 nm; without `NOT_MODELLED` and DRAM."""
    result: dict[str, float] = {}
    for term in area_terms(chip):
        result[term.component] = result.get(term.component, 0.0) + term.value
    return result


def _transposer_bits(chip: ChipParams) -> int:
    """Registers of the AND-popcount engine, the transposer of K and as many of V, and of the multicast's transposers."""
    return (2 + chip.transposer * chip.lanes) * chip.columns * chip.columns


def _adder_count(chip: ChipParams) -> float:
    units = (chip.cores + 1) * chip.neurons * single("neuron_adders").value
    return chip.adders + chip.columns + units + _comparators(chip)


def _comparators(chip: ChipParams) -> int:
    """Comparators of sums and residual stream in all cores."""
    return chip.cores * chip.neurons * chip.residual_maximum
