"""Does one core in Verilog run the instructions of the trained digits network as the simulator does?

The simulator runs the mapped program on one image; some instructions of each kind are kept, with the leading core's
memories before and after. Each then runs alone in Verilog. Instructions with a pool are left out: it is not built yet.
"""

from collections import Counter
from copy import deepcopy
from pathlib import Path

import pytest

from archsim import kernel, simulate
from archsim.contracts import sequencer
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.units import core
from tests.rtl.slice import SliceRun, difference, run_slice
from tests.rtl.slice_programs import queue_of

WORKLOAD = Path(__file__).parents[2] / "workloads" / "spikingformer.yaml"

KIND = (
    "planes",
    "replay",
    "psum_in",
    "psum_out",
    "residual_in",
    "residual_out",
    "reduce",
    "spike_out",
    "neuron",
    "words",
)
"""Fields by which two instructions are of one kind."""

PER_KIND = 3


class Recorder:
    """``archsim.units.core`` that keeps instructions: (fields, memory before, memory after, cycles)."""

    def __init__(self):
        self.kept, self.kinds = [], Counter()

    def __getattr__(self, name):
        return getattr(core, name)

    def synapse(self, heads, chip, memories, *arguments):
        head = heads[0]
        kind = tuple(head[name] for name in KIND)
        keep = not head["pool"] and self.kinds[kind] < PER_KIND
        before = deepcopy(memories[0]) if keep else None
        result = core.synapse(heads, chip, memories, *arguments)
        if keep:
            self.kinds[kind] += 1
            self.kept.append((head, before, deepcopy(memories[0]), result[0]))
        return result


@pytest.mark.parametrize("preset", ["small", "small_t4"])
def test_instructions_of_the_network(monkeypatch, preset):
    mapped = simulate.load(WORKLOAD, preset)
    recorder = Recorder()
    monkeypatch.setattr(kernel, "core", recorder)
    simulate.run_image(mapped, mapped.trained.normalised()[0], 0)
    assert len(recorder.kinds) >= 5
    for head, before, after, cycles in recorder.kept:
        fields = {field.name: head[field.name] for field in SYNAPSE_FIELDS}
        expected = SliceRun([(sequencer.DECODE, sequencer.DECODE + cycles)], [], after)
        assert difference(expected, run_slice(mapped.program.chip, queue_of([fields]), before)) == ""
