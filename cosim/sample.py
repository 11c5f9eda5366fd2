"""Sampled co-simulation: single instructions of a program that is too long for the Verilog, each from the state that it would find.

The workload runs in trace mode in the simulator: weights, parameters and spikes are then in the banks when an instruction starts.
Membranes and sums, which that mode does not compute, are drawn within what the mapper proved. Simulator and Verilog then run the
instruction alone, without semaphores, from the same banks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.ownership import Bank
from archsim.contracts.common.program import Program
from archsim.kernel import Simulation
from archsim.simulate import Progress, Workload, write_image
from archsim.tensors import Capture
from archsim.units.sram import Memories, rows_to_bytes
from cosim.banks import array_of, held, pack, rows
from cosim.compare import Comparison, compare
from cosim.expected import Place, Plan, owned, simulate
from cosim.machine import Machine
from cosim.run import SLACK
from cosim.strata import Sample, draw, stratify
from mapping.quantise import IntLayer, IntNetwork, IntPlanes, IntSynapse

WHOLE_BYTES = 1 << 20
"""DRAM of a program up to which the sample runs on the Verilog of whole runs; beyond it program memories and DRAM are small."""

DRAWN = ("residual", "psum", "reduce")
"""Memories that trace mode does not compute."""


@dataclass
class State:
    """An instruction and what it finds.

    Attributes:
        places: engine and index of each member of its gang, the leader first; else of itself.
        heads: their decoded fields.
        arrays: per bank the contents, as the simulator holds them.
        dram: the rows that a LOAD brings or a STORE writes over, uint8 [bytes]; a beat of zeros for other instructions.
    """

    places: list[Place]
    heads: list[dict[str, int]]
    arrays: dict[Bank, NDArray[np.generic]]
    dram: NDArray[np.uint8]


@dataclass
class SampleResult:
    """What a sampled co-simulation found.

    Attributes:
        mapped: the workload.
        chip: the chip whose Verilog ran: that of the workload, with fewer rows of program memory if it is large.
        file: the Verilog.
        sample: what was drawn.
        seed: of the draw and of the values.
        comparison: of all instructions together.
        first: the first instruction that differs.
        cycles: of each instruction.
        simulator_s, verilog_s: seconds of all, loading included for the Verilog, comparing not.
    """

    mapped: Workload
    chip: ChipParams
    file: Path
    sample: Sample
    seed: int
    comparison: Comparison = field(default_factory=Comparison)
    first: Place | None = None
    cycles: list[int] = field(default_factory=list)
    simulator_s: float = 0.0
    verilog_s: float = 0.0


def sample(
    mapped: Workload,
    count: int,
    seed: int = 0,
    folder: Path = Path("build/cosim"),
    progress: Progress | None = None,
    text: str | None = None,
) -> SampleResult:
    """Draw ``count`` instructions of a workload's program and compare each on simulator and Verilog.

    Args:
        mapped: the workload.
        count: number of instructions.
        seed: of the draw and of the values that trace mode does not compute.
        folder: where built Verilog is kept.
        progress: called with (instructions done, instructions in all).
        text: Verilog to run in place of the chip's own.

    Raises ArchsimError for missing tools.
    """
    program = mapped.program
    drawn = draw(stratify(program.chip, mapped.queues, program.notes, _trace(mapped)[0]), count, seed)
    states = _trace(mapped, drawn.places, seed)[1]
    small = len(program.dram) > WHOLE_BYTES
    size = max(len(state.dram) for state in states) if small else len(program.dram)
    bench = program.chip.replace(name=f"{program.chip.name}_sample", queue_rows=2) if small else program.chip
    machine = Machine(bench, size, folder, text, large=small)
    result = SampleResult(mapped, bench, machine.file, drawn, seed)
    for number, state in enumerate(states):
        single = _compare(result, machine, state)
        result.comparison.add(single)
        if result.first is None and not single.equal:
            result.first = state.places[0]
        if progress:
            progress(number + 1, len(states))
    return result


def _trace(mapped: Workload, places: Sequence[Place] = (), seed: int = 0) -> tuple[NDArray[np.void], list[State]]:
    """Run the first image in trace mode: its records, and the states that the instructions at ``places`` find."""
    program, chip, wanted, states = mapped.program, mapped.program.chip, set(places), []
    memories = Memories.empty(chip, program.dram)
    write_image(mapped, memories.dram, mapped.images(1)[0])

    def watch(group: list[Place], heads: list[dict[str, int]]) -> None:
        if group[0] in wanted:
            states.append(_state(mapped, memories, group, heads, seed))

    capture = Capture(chip, program.notes, mapped.words(0))
    return Simulation(chip, mapped.queues, memories, capture, watch=watch).run(), states


def _state(mapped: Workload, memories: Memories, places: list[Place], heads: list[dict[str, int]], seed: int) -> State:
    """What an instruction finds; it is to run alone, with its rows of DRAM at address 0."""
    chip, network = mapped.program.chip, mapped.network
    rng = np.random.default_rng([seed, *places[0]])
    note = mapped.program.notes["instructions"][str(places[0][0])][places[0][1]]
    layer = network.layers[note["layer"]]
    arrays = {}
    for place, head in zip(places, heads, strict=True):
        for bank in owned(place[0], head, chip):
            if held(bank):
                array = array_of(memories, bank)
                drawn = bank[2] in DRAWN
                arrays[bank] = values(rng, network, layer, bank[2], array.shape) if drawn else array.copy()
    alone = [head | {"wait": 0, "post": 0} for head in heads]
    dram = np.zeros(chip.dram_bus_bytes, np.uint8)
    if alone[0]["opcode"] in (sequencer.LOAD, sequencer.STORE):
        head = alone[0]
        stride = dma.row_beats(head["row_bytes"], chip.dram_bus_bytes) * chip.dram_bus_bytes
        dram = memories.dram[head["dram_address"] :][: head["rows"] * stride].copy()
        (memory,) = dma.names([head["memory"]], head["opcode"] == sequencer.LOAD)
        if memory in DRAWN:
            sums = values(rng, network, layer, memory, (head["rows"], chip.neurons))
            dram = rows_to_bytes(chip.membrane_bits, sums, stride).reshape(-1)
        head["dram_address"] = 0
    return State(places, alone, arrays, dram)


def values(
    rng: np.random.Generator, network: IntNetwork, layer: IntLayer, memory: str, shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Membranes or sums of a layer: of a bit less than the mapper proved, so that what is added to them fits as well.

    A residual stream is bounded by its first layer's proof, a reduction by that of the layer which is reduced.
    """
    bounds, name = network.bounds, layer.source if isinstance(layer, IntPlanes) else layer.name
    bits = bounds[name]
    if isinstance(layer, IntSynapse) and layer.stream and memory != "reduce":
        bits = min(bounds[x.name] for x in network.layers if isinstance(x, IntSynapse) and x.stream == layer.stream)
    half = 1 << (bits - 2)
    return rng.integers(-half, half, shape).astype(np.int32)


def _compare(result: SampleResult, machine: Machine, state: State) -> Comparison:
    """Run an instruction on both sides."""
    chip, notes = result.chip, result.mapped.program.notes
    engines = sequencer.engines(chip)
    queues: dict[int, list[dict[str, int]]] = {engine: [] for engine in engines}
    queues |= {place[0]: [head] for place, head in zip(state.places, state.heads, strict=True)}
    own = {str(engine): [notes["instructions"][str(engine)][index]] for engine, index in state.places}
    tensors = {note["tensor"]: notes["tensors"][note["tensor"]] for (note,) in own.values() if note.get("tensor")}
    program = Program(
        chip, {engine: _rows(queue) for engine, queue in queues.items()}, state.dram, {"instructions": own, "tensors": tensors}
    )  # fmt: skip
    plan, widths = Plan(chip, queues, machine.bank_bytes()), machine.row_bytes()
    start = _memories(chip, state)
    packed = {}
    for bank in state.arrays:
        elements, bits = rows(chip, start, bank)
        packed[bank] = np.zeros((len(elements), widths[bank]), np.uint8)
        pack(elements, bits, packed[bank])
    expected = simulate(program, plan, state.dram, widths, None, start)
    result.cycles.append(expected.cycles)
    again, capture = _memories(chip, state), Capture(chip, program.notes)
    result.simulator_s += _seconds(lambda: Simulation(chip, queues, again, capture).run())
    before = perf_counter()
    seen = machine.run(plan, program, state.dram, None, 2 * expected.cycles + SLACK, packed)
    result.verilog_s += perf_counter() - before
    return compare(program, plan, widths, expected, seen)


def _seconds(work: Callable[[], object]) -> float:
    before = perf_counter()
    work()
    return perf_counter() - before


def _rows(queue: Sequence[dict[str, int]]) -> NDArray[np.uint8]:
    """A queue's program memory, HALT included."""
    header = ("opcode", "wait", "post")
    words = [
        sequencer.encode(head["opcode"], {name: value for name, value in head.items() if name not in header})
        for head in [*queue, {"opcode": sequencer.HALT}]
    ]
    return np.frombuffer(b"".join(words), np.uint8).reshape(len(words), -1)


def _memories(chip: ChipParams, state: State) -> Memories:
    """The memories as the instruction finds them; banks that it does not own hold 0."""
    memories = Memories.empty(chip, state.dram)
    for bank, contents in state.arrays.items():
        array_of(memories, bank)[:] = contents
    return memories
