"""Does a whole mapped network take the same cycles and leave the same memories, stepped and by the laws?"""

from pathlib import Path

import numpy as np
import pytest

from archsim import presets, simulate
from archsim.kernel import Simulation
from archsim.stepped import sequencer
from archsim.tensors import Capture
from archsim.units.sram import Memories
from tests.system.test_stepped import same_memories

WORKLOAD = Path(__file__).parents[2] / "workloads" / "spikingformer.yaml"
PRESETS = sorted(path.stem for path in Path(presets.__file__).parent.glob("*.yaml"))
IMAGE = 1


def memories(mapped):
    """The chip's memories before a run of the image."""
    whole = Memories.empty(mapped.program.chip, mapped.program.dram)
    simulate.write_image(mapped, whole.dram, mapped.trained.normalised()[IMAGE])
    return whole


@pytest.mark.parametrize("chip", PRESETS)
def test_every_instruction_and_every_bit(chip):
    mapped = simulate.load(WORKLOAD, chip)
    program = mapped.program
    fast, slow = memories(mapped), memories(mapped)
    records = Simulation(program.chip, mapped.queues, fast, Capture(program.chip, program.notes)).run()
    timeline = sequencer.run(program, slow)
    assert sum(len(times) for times in timeline.instructions.values()) == len(records)
    for engine, times in timeline.instructions.items():
        own = records[records["engine"] == engine]
        assert np.array_equal(times, np.stack([own["start"], own["end"]], axis=1)), engine
    assert timeline.end == records["end"].max()
    same_memories(fast, slow)
