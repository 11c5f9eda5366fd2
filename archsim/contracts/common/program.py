"""A program: everything that a chip runs, as the simulator and the RTL both read it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.chip import ChipParams


@dataclass(frozen=True)
class Program:
    """Instruction queues, the initial image of DRAM, and notes for people and reports.

    Attributes:
        chip: the chip that the program was made for.
        queues: instructions per engine, uint8 [rows, INSTRUCTION_BYTES], each ended by HALT; rows that a program memory does not
            hold at first come from DRAM while the program runs.
        dram: initial content of DRAM, uint8 [bytes]: weights and parameters; the host writes the image into it.
        notes: JSON data that no hardware reads: ``layers`` (one entry a layer), ``instructions`` (per engine, per
            instruction: layer number and tile), ``image`` and ``logits`` (where they lie in DRAM), hashes.
    """

    chip: ChipParams
    queues: dict[int, NDArray[np.uint8]]
    dram: NDArray[np.uint8]
    notes: dict[str, Any] = field(default_factory=dict)
