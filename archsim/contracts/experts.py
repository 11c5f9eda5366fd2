"""Expert engine: routes tokens to the cores of their experts and brings the results back, through two crossbars.

Every core is a port. A *home* core holds tokens and has a route table in the engine, a row for each choice of a token. Three
instructions:

* TOPK reads the scores of a home core's tokens, rows of P membranes, lets the router choose, and stores the choices in the core's
  table; the last one is marked. The router's counts go on from one TOPK to the next until one begins a new layer.
* DISPATCH: each home core walks its table and sends, for every kept choice, a packet of ``rows`` rows of spikes from its
  output bank to the input bank of the expert's core, to the place of the choice's slot; or, on chips with
  ``dispatch_membranes``, rows of membranes from its residual bank to the residual bank there, from where SYNAPSE adds them to sums.
* COLLECT: each home core sends a request for every kept choice to its expert's core, which notes it in its reply table. When all
  requests are there, each core walks its reply table and sends the rows of each slot back to the home core: spikes from its output
  bank to the input bank, or membranes from its residual bank to the partial-sum bank, from where SYNAPSE adds them to a stream.

Rows of a packet lie one after the other on both sides. Of the token's home row and the choice's place at the expert:

* ``home_base + token * home_token + choice * home_choice``, dropped choices counted;
* ``expert_base + slot_rows(slot) + (region of the expert << region_shift)``.

There is no multiplier: the former is a running sum, the latter takes shifts (see :func:`slot_rows`).

Requests (packets of DISPATCH, requests of COLLECT) and replies have a crossbar each; packets of membranes take that of the
replies, which is as wide as they are. Whoever gets a flit always takes it: it goes to a bank or to a table, never to the other
crossbar. So no cycle of waiting can close. A residual bank is read and written in one cycle where its core is a home and has an
expert; a DISPATCH never reads a row that it writes.

Timing, with the start in cycle s (of the replies: with s the cycle in which the requests are seen to be done):

* TOPK offers the first block to the router in ``s + FIRST_SCORE``, and the next in the cycle after each acceptance; the table
  takes every choice. It ends ``TOPK_DONE`` cycles after the last choice.
* Each instruction finds the crossbars as after a reset, so that its cycles do not depend on the choices of another.
* A port takes an entry of its table when its packet before is read to the last row, a cycle for each dropped entry; then it reads
  a row a cycle, one ahead of the flit that it offers. So flit f + 1 is offered in ``max(taken(f), offered(f) + dropped) + 1``, the
  first one in ``s + FIRST_FLIT + dropped``.
* The engine sees that nothing moves any more ``QUIET`` cycles after the last flit was delivered or the last entry taken. Then the
  replies begin, or the instruction ends ``DONE`` cycles later.
"""

from dataclasses import dataclass
from functools import cached_property

from archsim.contracts import router
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.crossbar import CrossbarParams
from archsim.contracts.router import MAX_EXPERTS, RouterParams
from archsim.contracts.sram import SramParams

MAX_CORES = 16
"""Cores of a chip with an expert engine at most: its ports, and 4 bits of a place."""

SLOT_BITS = 12
"""Bits of a slot and of the capacity."""

TOPK_FIELDS = (
    Field("core", 4),  # home core of the tokens
    Field("psum", 1),  # scores lie in its partial-sum bank; else in its residual bank
    Field("score_base", 20),
    Field("score_token", 16),  # rows between tokens
    Field("tokens", 16),
    Field("blocks", 5),  # rows of a token: experts / P, rounded up
    Field("experts", 5),
    Field("choices", 4),
    Field("capacity", SLOT_BITS),  # tokens that an expert accepts (0: no limit)
    Field("first", 1),  # a new layer: no expert has accepted a token yet
    Field("entry", 16),  # row of the core's route table for the first choice
)
"""Fields of TOPK."""

ROUTE_FIELDS = (
    Field("cores", MAX_CORES),  # home cores, a bit each
    Field("entry", 16),  # row of their route tables where they begin
    Field("experts", 5),
    Field("place", 4 * MAX_EXPERTS),  # core of each expert, 4 bits each, that of expert 0 lowest
    Field("region", 4 * MAX_EXPERTS),  # region of each expert in the memory of its core, likewise
    Field("region_shift", 5),  # rows between regions: 2 ** region_shift
    Field("slot_shift", 4),  # rows between slots: (2 ** slot_shift + 2 ** other_shift) / 2
    Field("other_shift", 4),
    Field("expert_base", 20),
    Field("home_base", 20),
    Field("home_token", 16),
    Field("home_choice", 16),
    Field("rows", 10),  # rows of a packet
    Field("source_bank", 1),
    Field("bank", 1),  # input bank that spikes go to
    Field("membranes", 1),  # from residual bank, of DISPATCH to residual, of COLLECT to partial-sum bank; else from output to input
)
"""Fields of DISPATCH and COLLECT."""

def memories(collects: bool, membranes: int) -> tuple[str, str]:
    """Memories of a core from which and to which a COLLECT (``collects``) or a DISPATCH moves rows."""
    if not membranes:
        return "spike_out", "spike_in"
    return "residual", "psum" if collects else "residual"


def check(collects: bool, membranes: int, chip: ChipParams) -> None:
    """Raise ArchsimError unless the chip can do a COLLECT (``collects``) or DISPATCH: of membranes needs ``dispatch_membranes``."""
    if membranes and not collects and not chip.dispatch_membranes:
        raise ArchsimError(
            f"experts: DISPATCH with 'membranes' needs a chip with dispatch_membranes, given chip '{chip.name}' with "
            "dispatch_membranes 0; set 'dispatch_membranes: 1' in its file and map the network again"
        )


ENTRY = Layout.of("route", [
    Field("expert", 4), Field("slot", SLOT_BITS), Field("kept", 1), Field("last", 1), Field("end", 1),
])  # fmt: skip
"""A row of a route table: a choice, whether it is its token's last, and whether it is the last of its TOPK."""

FIRST_SCORE, TOPK_DONE = 2, 1
"""Cycles from the start to the offer of the first block (address, read), and from the last choice to the end."""

FIRST_FLIT = 4
"""Cycles from the start to the offer of the first flit: table address, table read, row address, row read."""

QUIET, DONE = 1, 1
"""Cycles from the last movement until it is seen that nothing moves, and from then to the end."""


@dataclass(frozen=True)
class RouteTables:
    """Sizes of the tables of an expert engine, those of the chip that bear on them."""

    chip: ChipParams

    @cached_property
    def row_bits(self) -> int:
        """Bits of a row address in the banks between which packets move."""
        chip = self.chip
        return (max(chip.spike_in_rows, chip.spike_out_rows, chip.residual_rows, chip.psum_rows) - 1).bit_length()

    @cached_property
    def asked(self) -> Layout:
        """A row of a reply table: a home core that waits, the row that it asks for, and the row that it goes to."""
        return Layout.of("asked", [
            Field("home", (self.chip.cores - 1).bit_length() or 1), Field("source", self.row_bits), Field("target", self.row_bits),
        ])  # fmt: skip

    @cached_property
    def routes(self) -> SramParams:
        """The route table of a core."""
        return SramParams(self.chip.route_rows, ENTRY.width)

    @cached_property
    def replies(self) -> SramParams:
        """The reply table of a core: as many rows as a route table."""
        return SramParams(self.chip.route_rows, self.asked.width)


@dataclass(frozen=True)
class ExpertsParams(RouteTables):
    """Sizes of an expert engine: those of the chip that bear on it. Raises ArchsimError for a chip that cannot have one."""

    def __post_init__(self) -> None:
        """Check that the chip has one."""
        if not self.chip.crossbar_depth:
            raise ArchsimError(
                f"chip '{self.chip.name}': an expert engine needs a crossbar_depth of 1 or more, given 0"
            )
        if not 2 <= self.chip.cores <= MAX_CORES:
            raise ArchsimError(
                f"chip '{self.chip.name}': an expert engine needs 2..{MAX_CORES} cores, given {self.chip.cores}"
            )
        _ = self.request, self.reply

    @cached_property
    def router(self) -> RouterParams:
        """The router: scores are membranes."""
        return RouterParams(self.chip.neurons, self.chip.membrane_bits, MAX_EXPERTS, SLOT_BITS)

    @property
    def spike_bits(self) -> int:
        """Bits of a row of spikes."""
        return self.chip.lanes * self.chip.columns

    @property
    def membrane_bits(self) -> int:
        """Bits of a row of membranes."""
        return self.chip.neurons * self.chip.membrane_bits

    @cached_property
    def request_flit(self) -> Layout:
        """Data of a flit: the row that it goes to, and spikes (DISPATCH) or the home row that waits for an answer (COLLECT)."""
        return Layout.of("request", [Field("row", self.row_bits), Field("data", max(self.spike_bits, self.row_bits))])

    @cached_property
    def reply_flit(self) -> Layout:
        """Data of a flit: the row that it goes to, and spikes or membranes."""
        return Layout.of(
            "reply", [Field("row", self.row_bits), Field("data", max(self.spike_bits, self.membrane_bits))]
        )

    @cached_property
    def request(self) -> CrossbarParams:
        """The crossbar of requests."""
        return CrossbarParams(self.chip.cores, self.chip.crossbar_depth, self.request_flit.width)

    @cached_property
    def reply(self) -> CrossbarParams:
        """The crossbar of replies."""
        return CrossbarParams(self.chip.cores, self.chip.crossbar_depth, self.reply_flit.width)


def _sizes(chip: ChipParams) -> dict[str, int]:
    """Bits of the number of a row, and of the widest row."""
    params = ExpertsParams(chip)
    return {"row_bits": params.row_bits, "data_bits": max(params.spike_bits, params.membrane_bits)}


LAW = Form(
    ("choices", "entries", "flits"),
    ("cycles", "cycles cores", "cycles cores row_bits", "cycles cores data_bits", "choices", "entries", "flits", "flits data_bits"),
    ("1", "cores", "cores row_bits", "cores data_bits"),
    _sizes,
)  # fmt: skip
"""Laws of what is around router and crossbars: walk of TOPK, a reader and a row on its way to the banks for each core; of a chip's
parameters. Counts: choices that are stored, entries of route tables that are read, rows and requests that enter a crossbar."""


def slot_shifts(rows: int) -> tuple[int, int]:
    """``slot_shift`` and ``other_shift`` of the least distance of slots that is not below ``rows`` (1..16384)."""
    if not 1 <= rows <= 1 << 14:
        raise ArchsimError(f"experts: required 1..{1 << 14} rows between slots, given {rows}")
    pairs = [(0, 0), *((shift, other) for shift in range(1, 16) for other in range(1, shift + 1))]
    return min((pair for pair in pairs if slot_rows(1, *pair) >= rows), key=lambda pair: slot_rows(1, *pair))


def slot_rows(slot: int, shift: int, other: int) -> int:
    """Rows before a slot. The sum of two shifts is halved, so that every power of two and sum of two of them is a distance."""
    return ((slot << shift) + (slot << other)) >> 1


def topk_cycles(tokens: int, blocks: int, choices: int) -> int:
    """Law of TOPK: duration in cycles."""
    last = FIRST_SCORE + tokens * router.token_cycles(blocks, choices) - 1 + router.LATENCY
    return last + TOPK_DONE
