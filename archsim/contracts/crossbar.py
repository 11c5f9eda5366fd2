"""Expert crossbar: packets of flits from any port to any port, a queue per pair of ports, a fair choice at each output.

An input offers its flits in order. A flit goes to the queue of (input, destination) and is taken when that has room;
while it has none, everything behind the flit waits (head-of-line blocking). An output sends one packet at a time: it keeps
the queue that it chose until the packet's last flit is taken. It chooses the first queue that holds a flit, in cyclic order
from the input after the one chosen last, so no input waits for more than one packet of each of the others.

All flits of a packet name one destination, and the last one is marked. Deadlock within one crossbar is impossible: an output only
waits for its own consumer or for flits that their producer owes it.

Timing:

* a flit that is taken in cycle t stands in its queue from t + 1 on; a queue is full as long as it holds ``depth`` flits at
  the start of a cycle;
* an output without a choice in cycle t chooses among the queues that hold a flit at the start of t, and offers from t + 1 on;
* in the cycle in which a packet's last flit is taken, the next choice is made (that flit does not count), and offered in the next.
"""

from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.sram import WRAPPED_BITS

ENTER, CHOOSE = 1, 1
"""Cycles from a flit's acceptance until it stands in its queue, and from the choice of a queue to its offer."""


@dataclass(frozen=True)
class CrossbarParams:
    """Sizes of a crossbar: P ports on each side (2..16), flits of a queue (1..64), payload bits of a flit."""

    ports: int
    depth: int
    data_bits: int

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 2 <= self.ports <= 16:
            raise ArchsimError(f"crossbar: ports must be in 2..16, given {self.ports}")
        if not 1 <= self.depth <= 64 or self.data_bits < 1:
            raise ArchsimError(f"crossbar: depth in 1..64 and data_bits of 1 or more required, given {self}")
        if self.depth * (self.data_bits + 1) >= WRAPPED_BITS:
            raise ArchsimError(
                f"crossbar: a queue is made of registers and must be below {WRAPPED_BITS} bits, given {self.depth} flits of "
                f"{self.data_bits + 1}; use shallower queues or narrower flits"
            )

    @property
    def port_bits(self) -> int:
        """Bits of a port number."""
        return (self.ports - 1).bit_length()

    @cached_property
    def i(self) -> Layout:
        """Input payload: a flit."""
        return Layout.of(
            "flit", [Field("data", self.data_bits), Field("destination", self.port_bits), Field("last", 1)]
        )

    @cached_property
    def o(self) -> Layout:
        """Output payload: a flit and the input that it came from."""
        return Layout.of("arrival", [Field("data", self.data_bits), Field("source", self.port_bits), Field("last", 1)])

    @cached_property
    def state(self) -> Layout:
        """Retired state: flits in each queue [input x ports + output], and each output's last choice."""
        bits = self.depth.bit_length()
        return Layout.of("crossbar_state", [
            Field("counts", bits, count=self.ports**2), Field("chosen", self.port_bits, count=self.ports),
        ])  # fmt: skip


LAW = Form(
    ("flits",),
    ("cycles", "cycles ports ports", "cycles ports ports depth data_bits", "flits data_bits", "flits ports data_bits"),
    ("1", "ports ports", "ports ports depth data_bits"),
)
"""Laws of energy and area. Count: flits that enter. The depth was not varied: a queue's registers are taken in proportion to it."""


def turn(chosen: int, offset: int, ports: int) -> int:
    """The input that is looked at ``offset`` places (0..ports-1) after the one chosen last."""
    number = chosen + 1 + offset
    return number - ports if number >= ports else number


def corners() -> list[CrossbarParams]:
    """Parameter sets at the ends of the ranges, and port counts that are no power of two."""
    return [
        CrossbarParams(2, 1, 1), CrossbarParams(2, 2, 8), CrossbarParams(3, 1, 16), CrossbarParams(4, 4, 64),
        CrossbarParams(5, 3, 8), CrossbarParams(8, 2, 96),
    ]  # fmt: skip
