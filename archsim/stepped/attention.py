"""Attention unit, cycle by cycle: ``attention_counts`` (ATTEND_KV), ``attention_softmax``, ``attention_sums`` (all others)."""

from collections.abc import Mapping

import numpy as np

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.stepped import attention_counts, attention_softmax, attention_sums
from archsim.stepped.attention_sums import Fields
from archsim.units.sram import AttentionMemory


def attend(opcode: int, fields: Mapping[str, int], chip: ChipParams, memory: AttentionMemory) -> int:
    """Run an ATTEND instruction.

    Args:
        opcode: ATTEND_KV, ATTEND_Q, ATTEND_SCORES, ATTEND_GATE or ATTEND_SOFTMAX of the sequencer.
        fields: of the contract; missing fields are 0.
        chip: the chip.
        memory: the attention unit's memories; written.

    Returns the cycles from the start to the end. Raises ArchsimError for an instruction without work, and for a window so small
    that a score's membrane would be read while it is written.
    """
    f = Fields(*(int(fields.get(name, 0)) for name in Fields._fields))
    needed = ("tokens", "steps", "lanes", "words", "head_words", "segment", "blocks", "tile")
    if min(getattr(f, name) for name in needed) < 1 and not (opcode == sequencer.ATTEND_KV and f.tile * f.blocks == 0):
        raise ArchsimError(f"attention: {', '.join(needed)} of 1 or more required, given {f}")
    banks = memory.spikes.view(np.int64)
    queries, keys, values = banks[f.q_bank], banks[2], banks[3]
    out = memory.out[f.out_bank].view(np.int64)
    if opcode == sequencer.ATTEND_KV:
        return attention_counts.run(f, chip, keys, values, memory.counts)
    if opcode == sequencer.ATTEND_SOFTMAX:
        return attention_softmax.run(f, chip, (queries, keys, values), memory.scores, memory.table, out)
    return attention_sums.run(opcode, f, chip, (queries, keys, values), memory.counts, out)
