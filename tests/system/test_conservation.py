"""Does everything add up? Events and set bits, layers and totals, slots and adders x cycles, bytes and instructions."""

from fractions import Fraction

import numpy as np
import pytest

import archsim
from archsim import simulate
from archsim.config import load_chip
from archsim.contracts import dma, sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.spike_fetch import reference as fetch_reference
from archsim.counters import add, tally
from archsim.energy import energy_pj
from archsim.energy.clock import BUSY, registers
from archsim.summary import summarise
from archsim.tensors import from_words
from mapping import reference
from mapping.quantise import IntSynapse

BUFFERS = [
    "weight_rows", "param_rows", "spike_in_rows", "spike_out_rows", "residual_rows", "psum_rows", "reduce_rows",
    "attention_rows", "count_rows",
]  # fmt: skip


def _tap_uses(layer: IntSynapse, height: int, width: int) -> np.ndarray:
    """How many output windows read each input position, from the definition of a convolution."""
    uses = np.zeros((height, width), np.int64)
    for y in range(layer.shape.height):
        for x in range(layer.shape.width):
            for dy in range(layer.weight.shape[2]):
                for dx in range(layer.weight.shape[3]):
                    row, column = y * layer.stride - layer.padding + dy, x * layer.stride - layer.padding + dx
                    if 0 <= row < height and 0 <= column < width:
                        uses[row, column] += 1
    return uses.reshape(-1)


@pytest.mark.parametrize("chip", ["small", "small_t4", "adders_128", "adders_512"])
def test_lane_events_equal_the_set_bits_of_the_spikes(mapped, chip):
    """Each spike is one event per window that covers it, per column group, per core that leads a range."""
    workload = mapped(chip)
    network, pixels = workload.network, workload.trained.normalised()[3]
    image, capture = simulate.run_image(workload, pixels, 3)
    expected = reference.run(network, network.quantise_image(pixels))
    names = [layer["name"] for layer in workload.program.notes["layers"]]
    for layer in network.layers:
        if not isinstance(layer, IntSynapse) or layer.planes or layer.pool:
            continue
        source = network.maps[layer.source]
        uses = _tap_uses(layer, source.height, source.width)
        bits = int((expected.spikes[layer.source].sum(axis=(0, 2)) * uses).sum())
        records = image.records[image.records["layer"] == names.index(layer.name)]
        records = records[records["opcode"] == sequencer.SYNAPSE]
        assert int(records["additions"].sum()) == bits * layer.shape.channels, layer.name


@pytest.mark.parametrize("chip", ["small", "small_t4", "adders_512"])
def test_layers_causes_and_components_add_up(workload_file, chip):
    result = archsim.run(workload_file, chip=chip, images=3)
    summary = summarise(result)
    cycles = sum(image.cycles for image in result.images)
    assert sum(Fraction(row["cycles"]).limit_denominator(3) for row in summary["layers"]) * 3 == cycles
    causes = summary["adder_slots_all_images"]["causes"]
    assert sum(cause["slots"] for cause in causes.values()) == result.chip.adders * cycles
    assert sum(cause["share"] for cause in causes.values()) == pytest.approx(1, rel=1e-12)
    energy = dict(summary["energy_uj"])
    total = energy.pop("total")
    assert sum(energy.values()) == pytest.approx(total, rel=1e-12)
    assert sum(row["energy_uj"] for row in summary["layers"]) == pytest.approx(total, rel=1e-12)


def test_an_instructions_cycles_are_its_words_shifts_stalls_and_fill(mapped):
    workload = mapped("small_t4")
    image, _ = simulate.run_image(workload, workload.trained.normalised()[0], 0)
    records = image.records[image.records["opcode"] == sequencer.SYNAPSE]
    leaders = records[(records["cores"] & -records["cores"]) == 1 << (records["engine"] - sequencer.CORE0)]
    parts = sum(leaders[name] for name in ("events", "empty_words", "shifts", "stall_cycles", "fill_cycles"))
    assert np.array_equal(parts, leaders["end"] - leaders["start"])


def test_words_fetched_equal_the_contracts_walk(mapped):
    workload = mapped("small")
    image, _ = simulate.run_image(workload, workload.trained.normalised()[0], 0)
    for record in image.records[image.records["opcode"] == sequencer.SYNAPSE][:12]:
        head = workload.queues[int(record["engine"])][int(record["index"])]
        if head["gang"] & -head["gang"] == 1 << (int(record["engine"]) - sequencer.CORE0):
            words = sum(1 for _ in fetch_reference(head, workload.program.chip.columns))
            assert int(record["words"]) == words


def test_dram_bytes_equal_the_dma_instructions(mapped):
    workload = mapped("adders_128")
    chip = workload.program.chip
    image, _ = simulate.run_image(workload, workload.trained.normalised()[0], 0)
    moved = sum(
        head["rows"] * dma.row_beats(head["row_bytes"], chip.dram_bus_bytes) * chip.dram_bus_bytes
        for head in workload.queues[sequencer.DMA]
    )
    assert int(image.records["dram_bytes"].sum()) == moved
    assert moved == len(workload.program.dram)


def test_stored_spikes_equal_the_maps(mapped):
    """Spikes counted by the writers = set bits of the maps (each stored once), the classifier's planes included."""
    workload = mapped("small")
    image, capture = simulate.run_image(workload, workload.trained.normalised()[1], 1)
    bits = 0
    for name, shape in workload.program.notes["tensors"].items():
        if shape["planes"]:
            bits += int(np.bitwise_count(capture.words[name]).sum())
        else:
            bits += int(from_words(workload.program.chip, capture.words[name], shape["steps"], shape["channels"]).sum())
    assert int(image.records["spikes"].sum()) == bits


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("chip", ["small", "adders_128"])
def test_halving_a_buffer_never_lowers_the_cycles(mapped, workload_file, chip, buffer):
    """On the recorded spikes by which the mapping is chosen; a buffer that is too small is refused, naming the layer."""
    workload = mapped(chip)
    params, cycles, halved = workload.program.chip, simulate.recorded_cycles(workload), 0
    while getattr(params, buffer) >= 4:
        params = params.replace(**{buffer: getattr(params, buffer) // 2})
        try:
            smaller = simulate.load(workload_file, params)
        except ArchsimError as error:
            assert "layer '" in str(error)
            break
        assert (now := simulate.recorded_cycles(smaller)) >= cycles
        cycles, halved = now, halved + 1
    assert halved > 0


def test_idle_engines_that_are_not_clocked_save_what_they_idle(workload_file):
    """Gating changes neither cycles nor any other energy, and leaves the clock of every engine's own instructions."""
    chip = load_chip("small").replace(energy_laws=0)  # every bit has one price there
    all_on, gated = (
        archsim.run(workload_file, chip=chip.replace(clock_gating=gating), images=2) for gating in (0, 1)
    )
    assert [run.cycles for run in all_on.images] == [run.cycles for run in gated.images]
    on, off = summarise(all_on)["energy_uj"], summarise(gated)["energy_uj"]
    assert {name for name in on if on[name] != off[name]} == {"clock", "total"}
    records = [run.records for run in gated.images]
    spent = 0.0
    for engine in sequencer.engines(chip):
        bits = registers(chip)["core" if engine >= sequencer.CORE0 else sequencer.engine_name(engine)]
        busy = sum(int((own["end"] - own["start"])[own["engine"] == engine].sum()) for own in records)
        spent += busy * bits
    price = on["clock"] / (sum(run.cycles for run in all_on.images) / 2) / _all(chip)
    assert off["clock"] == pytest.approx(price * spent / 2) and 0 < off["clock"] < on["clock"]
    # By laws too: each engine's clock, in the share of the cycles in which it works.
    laws, cycles = chip.replace(energy_laws=1, clock_gating=1), sum(run.cycles for run in gated.images)
    layers = gated.program.notes["layers"]
    counts = add(tally(gated, len(layers)))
    engines = {name: count for name, count in counts.items() if name.startswith(BUSY)}
    shares = [energy_pj(laws, {name: count}, cycles)["clock"] for name, count in engines.items()]
    assert energy_pj(laws, counts, cycles)["clock"] == pytest.approx(sum(shares))
    always = {name: cycles * (chip.cores if name == f"{BUSY}core" else 1) for name in engines}
    assert energy_pj(laws, always, cycles)["clock"] == pytest.approx(energy_pj(laws.replace(clock_gating=0), {}, cycles)["clock"])
    assert 0 < energy_pj(laws, counts, cycles)["clock"] < energy_pj(laws, always, cycles)["clock"]


def _all(chip):
    return sum(registers(chip).values()) + (chip.cores - 1) * registers(chip)["core"]
