"""Energy per counted event and area per component, from memory sizes and the cited coefficients."""

from collections.abc import Mapping

from archsim.contracts.common.chip import ChipParams
from archsim.energy.coefficients import by_capacity, by_width, value
from archsim.energy.memories import memories

COMPONENTS = {
    "weight_memory": ("weight memory", "indicative"),
    "parameter_memory": ("parameter memory", "indicative"),
    "spike_memory": ("spike memory", "indicative"),
    "residual_memory": ("residual memory", "indicative"),
    "psum_memory": ("partial-sum memory", "indicative"),
    "reduction_memory": ("reduction memory", "indicative"),
    "membrane_memory": ("membrane memory", "indicative"),
    "count_memory": ("count memory", "indicative"),
    "pool_memory": ("pool memories", "indicative"),
    "route_memory": ("route and reply tables", "indicative"),
    "program_memory": ("program memory", "indicative"),
    "synapse_adders": ("synapse adders", "indicative"),
    "accumulator_registers": ("accumulator registers", "indicative"),
    "attention_adders": ("attention adders", "assumed"),
    "transposer": ("bit transposer, registers of V", "indicative"),
    "neuron_units": ("neuron units", "assumed"),
    "logic_leakage": ("adder and register leakage", "indicative"),
    "dram": ("DRAM", "indicative"),
}
"""Components of the reports: label, and the least confidence of what its figures rest on."""

ASSUMPTIONS = (
    "memory access energy: CACTI points for 64-bit reads at 45 nm, interpolated on logarithmic axes over the "
    "capacity of the bank (extrapolated below 8 KB and above 1 MB), times the bits of the access / 64",
    "a memory write costs as much as a read of the same bits",
    "memory area: the same points; row width and ports do not change it",
    "adders: Aladdin at 45 nm, by width; Horowitz's figures (0.4 to 0.5 of these) are not used",
    "an addition writes one accumulator register (Aladdin, 40 nm, unscaled); doubling and hand-over all",
    "a neuron update costs four adders of the membrane's width (three additions, one comparison)",
    "attention: a row of adders of the membrane's width; an AND-popcount or AND costs an adder bit a column",
    "a word that leaves the bit transposer moves all its bits; its share of the words that come, of K and of V, is a word each",
    "rows that multicast and crossbars read and write cost what the cores' output and input banks cost",
    "DRAM: LPDDR4, 8 pJ per bit moved",
)
"""What the model takes for granted, in words."""

NOT_MODELLED = (
    "event encoders, spike fetch and spike writers (the memories of the pool are modelled)",
    "sequencer logic and semaphores (the program memories are modelled)",
    "router, packet readers and crossbars of the expert engine (its tables are modelled)",
    "multicast wires, DMA engine, DRAM interface and DRAM background power",
    "rows that STORE reads",
    "clock tree, and leakage of memories",
    "pipeline registers other than the accumulators",
)
"""What has no figure, by name; nothing of it is in any total."""

UNCOSTED = {
    "words": "event encoder", "empty_words": "event encoder",
    "events": "event encoder; the row read is weight_reads",
    "lane_events": "counted through additions", "stall_cycles": "time only", "fill_cycles": "time only",
    "spikes": "counted through spike_writes", "choices": "router; counted through route_writes",
    "dropped": "no packet is sent", "flits": "crossbars; the rows moved are copied_rows or residual_reads",
    "flit_stalls": "time only",
}  # fmt: skip
"""Counters that carry no energy of their own, and why."""

ATTENTION = "attention."
"""Prefix of counters of the attention unit, where its banks differ from the cores'."""


def rates(chip: ChipParams) -> dict[str, tuple[str, float]]:
    """Component and energy, pJ, of one count of every counter that costs energy.

    Names are those of ``archsim.results.COUNTERS``, prefixed with ``attention.`` for the attention unit, and
    ``instructions`` (instructions fetched).
    """
    banks = memories(chip)

    def access(name: str, bits: int | None = None) -> tuple[str, float]:
        memory = banks[name]
        return memory.component, by_capacity("sram_read", memory.bank_bytes) * (bits or memory.bank.row_bits) / 64

    adder = by_width("adder_energy", chip.membrane_bits)
    register = value("register_energy") * chip.membrane_bits
    neuron = ("neuron_units", chip.neurons * value("neuron_adders") * adder)
    word = ("attention_adders", chip.columns * by_width("adder_energy", 1))
    table = {
        "additions": ("synapse_adders", adder),
        ATTENTION + "additions": ("attention_adders", adder + register),
        "granules": neuron, ATTENTION + "granules": neuron,
        "popcounts": word, ATTENTION + "popcounts": word, "gates": word, ATTENTION + "gates": word,
        ATTENTION + "transposed": (
            "transposer", value("register_energy") * (chip.columns * chip.columns + 2 * chip.columns)
        ),
        "dram_bytes": ("dram", 8 * value("dram_bit")),
        "instructions": access("program"), "loaded_program_rows": access("program"),
        "spike_writes": access("spike_out", chip.neurons),
        ATTENTION + "spike_writes": access("attention", chip.neurons),
        "spike_reads": access("spike_in"), ATTENTION + "spike_reads": access("attention"),
        "copied_rows": access("spike_out"), "copied_row_writes": access("spike_in"),
        "loaded_weight_rows": access("weight"), "loaded_param_rows": access("param"),
        "loaded_spike_rows": access("spike_in"), "stored_spike_rows": access("spike_out"),
        "weight_reads": access("weight"), "param_reads": access("param"),
    }  # fmt: skip
    named = {"route": "route", "reply": "reply", "pool_column": "pool_columns", "pool_line": "pool_lines"}
    for counter, memory in (named | {ATTENTION + "mark": "count_cleared"}).items():
        table |= {f"{counter}_{kind}": access(memory) for kind in ("reads", "writes")}
    for memory in ("psum", "residual", "reduce", "v", "count"):
        for access_kind in ("reads", "writes"):
            table[f"{memory}_{access_kind}"] = table[f"{ATTENTION}{memory}_{access_kind}"] = access(memory)
    return table


def energy_pj(chip: ChipParams, counters: Mapping[str, int], cycles: int) -> dict[str, float]:
    """Energy by component, pJ, of what was counted in ``cycles`` cycles, at the coefficients' 45 nm.

    Args:
        chip: the chip.
        counters: counts by name, as `rates` names them; others, and missing ones, count nothing.
        cycles: duration, for leakage.

    Linear in counters and cycles, so that the energies of layers add up to the run's.
    """
    result = dict.fromkeys(COMPONENTS, 0.0)
    for name, (component, picojoule) in rates(chip).items():
        result[component] += picojoule * counters.get(name, 0)
    # Accumulators: an addition writes one, a shift or a hand-over all of a core (of the attention unit: M).
    bit_energy = value("register_energy") * chip.membrane_bits
    array = chip.lanes * chip.columns
    written = counters.get("additions", 0) + array * (counters.get("shifts", 0) + counters.get("groups", 0))
    written += chip.columns * counters.get(ATTENTION + "groups", 0)
    result["accumulator_registers"] += bit_energy * written
    result["logic_leakage"] += leakage_pj_per_cycle(chip) * cycles
    return result


def leakage_pj_per_cycle(chip: ChipParams) -> float:
    """Leakage of adders and accumulator registers, pJ per cycle (mW x ns); memories are not modelled."""
    adder_bits = _adder_count(chip) * chip.membrane_bits + chip.neurons * chip.columns
    register_bits = 2 * (chip.adders + chip.columns) * chip.membrane_bits + _transposer_bits(chip)
    leakage = adder_bits * value("adder_leakage") / 32 + register_bits * value("register_leakage")
    return leakage * 1000 / chip.clock_mhz


def area_mm2(chip: ChipParams) -> dict[str, float]:
    """Area by component, mm2, at the coefficients' 45 nm; without `NOT_MODELLED` and DRAM."""
    adder = by_width("adder_area", chip.membrane_bits) * 1e-6
    register = value("register_area") * 1e-6 * chip.membrane_bits
    result: dict[str, float] = {}
    for memory in memories(chip).values():
        area = memory.count * by_capacity("sram_area", memory.bank_bytes)
        if memory.count:
            result[memory.component] = result.get(memory.component, 0.0) + area
    result["synapse_adders"] = chip.adders * adder
    result["accumulator_registers"] = 2 * (chip.adders + chip.columns) * register
    # A row of adders, and P AND-popcounts of M bits.
    result["attention_adders"] = chip.columns * adder + chip.neurons * chip.columns * by_width("adder_area", 1) * 1e-6
    result["transposer"] = _transposer_bits(chip) * value("register_area") * 1e-6
    result["neuron_units"] = (chip.cores + 1) * chip.neurons * value("neuron_adders") * adder
    return result


def field_energy_pj(accumulates: float, multiply_accumulates: float) -> float:
    """The field's figure, pJ: 0.9 per accumulate, 4.6 per multiply-accumulate (fp32, 45 nm), no memory."""
    return value("field_ac") * accumulates + value("field_mac") * multiply_accumulates


def _transposer_bits(chip: ChipParams) -> int:
    """Registers of the AND-popcount engine: the transposer of K and as many of V."""
    return 2 * chip.columns * chip.columns


def _adder_count(chip: ChipParams) -> float:
    return chip.adders + chip.columns + (chip.cores + 1) * chip.neurons * value("neuron_adders")
