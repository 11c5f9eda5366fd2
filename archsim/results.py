"""What a run returns: one record per instruction and image, with every counter of the units."""

from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.program import Program


@dataclass(frozen=True)
class Counter:
    """A figure that units count: its name, unit and meaning."""

    name: str
    unit: str
    description: str


COUNTERS = (
    Counter("groups", "groups", "accumulator groups handed over"),
    Counter("empty_groups", "groups", "of these, groups to which nothing was added: their sums are 0"),
    Counter("words", "words", "spike words that the encoder took"),
    Counter("empty_words", "words", "of these, words without a spike (one cycle each)"),
    Counter("events", "events", "weight (or count) rows added, one cycle each"),
    Counter("shifts", "cycles", "cycles that doubled the accumulators between bit planes"),
    Counter("lane_events", "events", "set bits: events summed over the lanes that spiked"),
    Counter("additions", "additions", "lane additions in columns that carry a channel; the sparse work done"),
    Counter("stall_cycles", "cycles", "cycles in which finished sums waited for the neuron unit"),
    Counter("fill_cycles", "cycles", "cycles of an instruction outside its words, shifts and stalls"),
    Counter("granules", "granules", "blocks of P neurons processed"),
    Counter("spikes", "spikes", "spikes stored (after the pool)"),
    Counter("popcounts", "words", "AND-popcounts of a word pair"),
    Counter("transposed", "words", "words that a bit transposer gave (each moves its M x M bits)"),
    Counter("masked", "words", "words that passed the masker (each draws M bytes)"),
    Counter("gates", "words", "AND of a word pair (Hadamard form)"),
    Counter("spike_reads", "rows", "rows read from input spike banks, the attention unit's included"),
    Counter("spike_writes", "granules", "granules written to output spike banks"),
    Counter("weight_reads", "rows", "rows read from weight banks"),
    Counter("param_reads", "rows", "rows read from parameter banks"),
    Counter("psum_reads", "rows", "rows read from partial-sum banks"),
    Counter("psum_writes", "rows", "rows written to partial-sum banks"),
    Counter("residual_reads", "rows", "rows read from residual banks"),
    Counter("residual_writes", "rows", "rows written to residual banks"),
    Counter("reduce_reads", "rows", "rows read from reduction banks"),
    Counter("reduce_writes", "rows", "rows written to reduction banks"),
    Counter("v_reads", "rows", "rows read from the membranes kept between slices"),
    Counter("v_writes", "rows", "rows written to the membranes kept between slices"),
    Counter("count_reads", "rows", "rows read from the count memory"),
    Counter("count_writes", "rows", "rows written to the count memory"),
    Counter("mark_reads", "rows", "rows read from the marks of count rows that hold 0"),
    Counter("mark_writes", "rows", "rows written to these marks"),
    Counter("score_reads", "rows", "membranes read of the score neurons of a softmax"),
    Counter("score_writes", "rows", "membranes written of them: pairs of tokens and time steps"),
    Counter("table_reads", "rows", "rows read from the table of a softmax"),
    Counter("division_steps", "steps", "bits of quotients of a softmax, P columns each"),
    Counter("pool_column_reads", "granules", "granules read from the pool's ORs over columns"),
    Counter("pool_column_writes", "granules", "granules written to them"),
    Counter("pool_line_reads", "granules", "granules read from the pool's line buffers"),
    Counter("pool_line_writes", "granules", "granules written to them"),
    Counter("copied_rows", "rows", "rows that the multicast (or a crossbar) read from output banks"),
    Counter("copied_row_writes", "rows", "rows that the multicast (or a crossbar) wrote, all destinations"),
    Counter("dram_bytes", "bytes", "bytes moved between DRAM and the chip"),
    Counter("row_starts", "rows", "times that LOAD began to put a row together; rows of one beat follow each other as one"),
    Counter("loaded_weight_rows", "rows", "rows written to weight banks by DMA, all cores"),
    Counter("loaded_param_rows", "rows", "rows written to parameter banks by DMA, all cores"),
    Counter("loaded_spike_rows", "rows", "rows written to input spike banks by DMA, all cores"),
    Counter("loaded_table_rows", "rows", "rows written to the table of a softmax by DMA"),
    Counter("loaded_program_rows", "rows", "instructions written to program memories by DMA"),
    Counter("choices", "choices", "choices of the router"),
    Counter("dropped", "choices", "of these, choices beyond the capacity of their expert"),
    Counter("flits", "flits", "rows and requests that entered a crossbar"),
    Counter("flit_stalls", "cycles", "cycles in which a flit waited for room in its queue"),
    Counter("route_reads", "rows", "rows read from route tables"),
    Counter("route_writes", "rows", "rows written to route tables"),
    Counter("reply_reads", "rows", "rows read from reply tables"),
    Counter("reply_writes", "rows", "rows written to reply tables"),
    Counter("vector_rows", "rows", "rows of P elements that the normaliser's vector unit took"),
    Counter("vector_additions", "rows", "additions to a row there, one cycle each: of a digit's share, or of the total"),
    Counter("changed_elements", "elements", "elements of rows that it read, unlike those of the row before in the instruction"),
    Counter("vector_steps", "steps", "steps of its divider: bits of quotients, digits of roots"),
    Counter("compared_rows", "rows", "rows of scores that the normaliser compared"),
    Counter("exponential_reads", "rows", "rows looked up in the normaliser's tables, P entries each"),
    Counter("loaded_exponential_rows", "rows", "entries written to the normaliser's tables by DMA"),
    Counter("stored_spike_rows", "rows", "rows that DMA read from output spike banks"),
)
"""Every counter, in the order of the record's fields."""

COUNT = namedtuple("Count", [counter.name for counter in COUNTERS])(*range(len(COUNTERS)))
"""Number of each counter, which kernels take as constants."""

NOT_WAITING, WAIT_DMA, WAIT_MULTICAST, WAIT_ATTENTION, WAIT_CORE, WAIT_EXPERTS, WAIT_NORMALISER = range(7)
"""``waited_for``: the kind of engine whose semaphore (or gang member) let the instruction start last."""

IDENTITY, TIMES = ("engine", "index", "opcode", "layer", "cores"), ("ready", "start", "end", "waited_for")
"""Fields of a record that are the same in every run, and those that the event simulation finds."""

RECORD = np.dtype([(name, np.int64) for name in (*IDENTITY, *TIMES, *(counter.name for counter in COUNTERS))])
"""One instruction: engine and index in its queue, opcode, layer number (see Program.notes["layers"]), bit mask of the cores
that it occupied, cycle in which its queue was ready for it, start, end, and its counters. A gang's instruction stands once per
member; ``words``, ``empty_words`` and ``spike_reads`` stand in the leader's record only, whose fetch and encoder all share."""


class Recording(NamedTuple):
    """Membrane inputs and potentials that an instruction computed, int32 [positions before the pool, steps, columns]."""

    inputs: NDArray[np.int32]
    potentials: NDArray[np.int32]


@dataclass(frozen=True)
class ImageRun:
    """One image on the chip: total cycles, integer logits [classes], records [instructions] of dtype RECORD.

    ``loads``: by number of a layer of experts, int64 [experts, 2]: choices of each expert, and those that found room.
    """

    cycles: int
    logits: NDArray[np.int64]
    records: NDArray[np.void]
    loads: dict[int, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckResult:
    """Comparison with the integer reference: values compared and differing, by kind (spikes, membranes, logits)."""

    compared: dict[str, int]
    differing: dict[str, int]


@dataclass(frozen=True)
class RunResult:
    """A whole run.

    Attributes:
        workload: name of the workload.
        mode: ``execute`` or ``trace``.
        program: the program that ran (its chip included); ``program.notes["layers"]`` is a list of
            ``{"name", "kind", "macs", "operand"}``: dense multiply-adds of all time steps, and whether the operand is
            ``spikes`` or ``planes``.
        images: one entry per image.
        labels: int64 [images], or None when the workload has none.
        accuracy: fraction of images whose largest logit is the label (execute mode), or None.
        accuracy_float: the float network's, from the artefact's manifest, or None.
        check: comparison with the integer reference if it was asked for.
        spikes: how the spikes were drawn, if they were.
        provenance: versions, hashes, seeds, command: what a reader needs to repeat the run.
    """

    workload: str
    mode: str
    program: Program
    images: list[ImageRun]
    labels: NDArray[np.int64] | None
    accuracy: float | None
    accuracy_float: float | None
    check: CheckResult | None
    spikes: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def chip(self) -> ChipParams:
        """The chip that the program was made for."""
        return self.program.chip
