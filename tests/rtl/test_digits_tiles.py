"""Does one core in Verilog run the instructions of the trained digits network as the simulator does?

The simulator runs the mapped program on one image; some instructions of each kind are kept, with the leading core's
memories before and after. Each then runs alone in Verilog.
"""

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from archsim import kernel, simulate
from archsim.contracts import sequencer
from archsim.contracts.core import PLANES_FIELDS, SYNAPSE_FIELDS
from archsim.units import core
from mapping.context import Limits
from mapping.schedule import schedule
from tests.rtl.queue_run import QueueRun
from tests.rtl.slice import CORE
from tests.rtl.slice_programs import queue_of

WORKLOAD = Path(__file__).parents[2] / "workloads" / "spikingformer.yaml"

KIND = (
    "planes", "replay", "psum_in", "psum_out", "residual_in", "residual_out", "reduce", "spike_out", "neuron", "words",
    "pool", "pool_first_odd",
)  # fmt: skip
"""Fields by which two SYNAPSE are of one kind."""

PER_KIND = 3

FIELDS = {
    sequencer.SYNAPSE: {field.name for field in SYNAPSE_FIELDS},
    sequencer.PLANES: {field.name for field in PLANES_FIELDS},
}
"""Names of the fields of each opcode."""


class Recorder:
    """``archsim.units.core`` that keeps instructions: (opcode, fields, memory before, memory after, cycles)."""

    def __init__(self):
        self.kept, self.kinds = [], Counter()

    def __getattr__(self, name):
        return getattr(core, name)

    def _record(self, kind, opcode, head, memory, run):
        keep = self.kinds[kind] < PER_KIND
        before = deepcopy(memory) if keep else None
        result = run()
        if keep:
            self.kinds[kind] += 1
            fields = {name: value for name, value in head.items() if name in FIELDS[opcode]}
            self.kept.append((opcode, fields, before, deepcopy(memory), result[0]))
        return result

    def synapse(self, heads, chip, memories, *arguments):
        kind = tuple(heads[0][name] for name in KIND)
        return self._record(
            kind, sequencer.SYNAPSE, heads[0], memories[0], lambda: core.synapse(heads, chip, memories, *arguments)
        )

    def planes(self, fields, chip, memory, *arguments):
        return self._record(
            "PLANES", sequencer.PLANES, fields, memory, lambda: core.planes(fields, chip, memory, *arguments)
        )


@pytest.mark.parametrize(("preset", "positions"), [("small", None), ("small_t4", None), ("small_t4", 8)])
def test_instructions_of_the_network(monkeypatch, preset, positions):
    mapped = simulate.load(WORKLOAD, preset)
    if positions:  # tiles of so many positions: a pooled one may begin with the row above its first
        program = schedule(mapped.network, mapped.program.chip, Limits(positions=positions))
        mapped = replace(mapped, program=program)
    recorder = Recorder()
    monkeypatch.setattr(kernel, "core", recorder)
    simulate.run_image(mapped, mapped.trained.normalised()[0], 0, record=True)  # instruction by instruction
    assert len(recorder.kinds) >= 7
    assert recorder.kinds["PLANES"] > 0
    pools = {kind[-2:] for kind in recorder.kinds if kind != "PLANES"}  # pool, pool_first_odd
    assert pools == ({(0, 0), (1, 0), (1, 1)} if positions else {(0, 0), (1, 0)})
    for opcode, fields, before, after, cycles in recorder.kept:
        expected = QueueRun([(sequencer.DECODE, sequencer.DECODE + cycles)], [], after)
        queue = queue_of([fields | {"opcode": opcode}])
        assert CORE.difference(expected, CORE.run(mapped.program.chip, queue, before)) == "", sequencer.OPCODES[opcode]
