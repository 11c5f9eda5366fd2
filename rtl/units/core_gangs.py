"""Gangs in hardware: what stands between the cores of a chip so that several of them run one SYNAPSE in lockstep.

A part of the core (contract: ``archsim.contracts.core``), one for the whole chip; without a register.
"""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.core import CoreParams
from rtl.units.core import Core, event_signature


class Gangs(Component):
    """Lets the members of a gang start together, and gives them the events of their leader, the lowest core of the gang.

    Ports, a bit or an element for each core; those of :class:`~rtl.units.core.Core` under the same names:

    * ``ready``, ``gang``: the instruction that stands has its semaphores, and the cores that run it.
    * ``go``: every other member of the gang is ready for the same instruction (1 without others).
    * ``follow``: a lower core leads the gang; ``lead``: an event that the core offers; ``events``: that of its leader.
    """

    def __init__(self, chip: ChipParams):
        self.chip = chip
        cores, event = chip.cores, event_signature(CoreParams(chip))
        super().__init__({
            "ready": In(cores), "gang": In(cores).array(cores), "go": Out(cores), "follow": Out(cores),
            "lead": In(event).array(cores), "events": Out(event).array(cores),
        })  # fmt: skip

    def elaborate(self, platform):
        """A comparison for each pair of cores, a choice of one leader for each core."""
        m = Module()
        cores = range(self.chip.cores)
        alike = {}
        for one in cores:
            for other in range(one):
                same = Signal(name=f"alike_{other}_{one}")
                m.d.comb += same.eq(self.ready[one] & self.ready[other] & (self.gang[one] == self.gang[other]))
                alike[one, other] = alike[other, one] = same
        for core in cores:
            mask = self.gang[core]
            leader = mask & -mask
            self._start(m, core, [~mask[other] | alike[core, other] for other in cores if other != core])
            chosen = [
                Mux(leader[other], Cat(self.lead[other].valid, self.lead[other].payload), 0) for other in range(core)
            ]
            m.d.comb += [
                self.follow[core].eq(mask[:core].any()),
                Cat(self.events[core].valid, self.events[core].payload).eq(_either(chosen)),
            ]  # fmt: skip
        return m

    def _start(self, m, core, others):
        """A core may start when every other one is no member or as far."""
        m.d.comb += self.go[core].eq(Cat(C(1, 1), others).all())

    def attach(self, m: Module, cores: list[Core]) -> None:
        """Connect the ports to those of the chip's cores, in their order."""
        for number, core in enumerate(cores):
            m.d.comb += [
                self.ready[number].eq(core.ready), self.gang[number].eq(core.gang), core.go.eq(self.go[number]),
                core.follow.eq(self.follow[number]), core.events.valid.eq(self.events[number].valid),
                core.events.payload.eq(self.events[number].payload), self.lead[number].valid.eq(core.lead.valid),
                self.lead[number].payload.eq(core.lead.payload),
            ]  # fmt: skip


def _either(values: list[Value]) -> Value:
    """The OR of values, at most one of which is not 0."""
    found: Value = Cat()
    for value in values:
        found = found | value
    return found
