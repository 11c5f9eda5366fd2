"""Synapse array in hardware: L x M adders and a hand-over bank (contract: ``archsim.contracts.synapse_array``)."""

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal, signed
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.event_encoder import SHIFT, SUBTRACT
from archsim.contracts.synapse_array import BANKS, SynapseArrayParams
from rtl.payload import elements, load_port, shape, stream_in, stream_out
from rtl.units.sram import Sram


class SynapseArray(Component):
    """Adds the weight rows of events into L x M accumulators and hands finished groups over as blocks of P columns.

    Ports:

    * ``i``: stream of events (2-bit operation, weight row, L-bit mask, last). Ready while the event register is free
      and in the cycle in which its event is added. The weight row is read in the cycle of the acceptance, if any lane
      takes it.
    * ``o``: stream of ``params.o`` (P sums of ``membrane_bits``, block, step, last). Valid from the cycle after the
      hand-over to the transfer of the last block of the group.
    * ``weight``: ``params.i_weight``, always ready: a row and the bank that takes it; not the bank in use.
    * ``config``: ``params.config``, constant while events or blocks are on their way.
    * ``state``: ``params.state``, the accumulators, lane by lane.

    ``i.ready`` follows ``o.ready`` within a cycle: the last block of a group, the hand-over of the next, the addition
    of the first event of the one after it, and the acceptance of another event can all fall into one cycle.
    """

    def __init__(self, params: SynapseArrayParams):
        self.params = params
        super().__init__({
            "i": stream_in(params.i), "o": stream_out(params.o), "weight": load_port(params.i_weight),
            "config": In(shape(params.config)), "state": Out(shape(params.state)),
        })  # fmt: skip

    def elaborate(self, platform):
        """Control between the stages; each stage's data is a method of its own."""
        m = Module()
        event = Signal(shape(self.params.i))  # the event that waits to be added
        waiting = Signal()
        complete = Signal()  # the accumulators hold a finished group
        offered = Signal()  # the hand-over bank holds a group
        end = Signal()  # the offered block is the last of its group

        accept, add, handover, taken = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(offered & self.o.ready),
            handover.eq(complete & (~offered | (taken & end))),
            add.eq(waiting & (~complete | handover)),
            self.i.ready.eq(~waiting | add),
            accept.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(offered),
        ]
        # cycle 0: accept an event, read its weight row
        weights = self._weights(m, accept)
        with m.If(accept):
            m.d.sync += [event.eq(self.i.payload), waiting.eq(1)]
        with m.Elif(add):
            m.d.sync += waiting.eq(0)
        # cycle 1: add it
        sums = self._adders(m, event, weights, add, handover, complete)
        with m.If(add & event.last):
            m.d.sync += complete.eq(1)
        with m.Elif(handover):
            m.d.sync += complete.eq(0)
        # cycle 2: hand over; cycle 3: offer the first block
        with m.If(handover):
            m.d.sync += offered.eq(1)
        with m.Elif(taken & end):
            m.d.sync += offered.eq(0)
        self._blocks(m, sums, handover, taken, end)
        return m

    def _weights(self, m, accept):
        """The weight banks, read in the cycle of ``accept``; the row of M weights follows, until the next read."""
        params = self.params
        banks = [Sram(params.weight) for _ in range(BANKS)]
        load = self.weight.payload
        for number, bank in enumerate(banks):
            m.submodules[f"weight_{number}"] = bank
            m.d.comb += [
                bank.read.en.eq(accept & self.i.payload.mask.any() & (self.config.bank == number)),
                bank.read.addr.eq(self.i.payload.row),
                bank.write.en.eq(self.weight.valid & (load.bank == number)),
                bank.write.addr.eq(load.row),
                bank.write.data.eq(load.data),
            ]
        row = Signal(ArrayLayout(signed(params.weight_bits), params.columns))
        m.d.comb += row.eq(Mux(self.config.bank, banks[1].read.data, banks[0].read.data))
        return row

    def _adders(self, m, event, weights, add, handover, complete):
        """The accumulators [lane][column]; a finished group's are cleared, or begun anew, as it is handed over."""
        params = self.params
        shift, subtract = Signal(), Signal()
        m.d.comb += [shift.eq(event.op == SHIFT), subtract.eq(event.op == SUBTRACT)]
        # The operand of a column, all bits flipped to subtract: -w = ~w + 1, the 1 is the adder's carry.
        operands = []
        for column in range(params.columns):
            operand = Signal(weights[column].shape(), name=f"operand_{column}")
            m.d.comb += operand.eq(Mux(subtract, ~weights[column], weights[column]))
            operands.append(operand)
        sums = []
        for lane in range(params.lanes):
            row = []
            update = Signal(name=f"update_{lane}")
            m.d.comb += update.eq(add & (shift | event.mask[lane]))
            for column, operand in enumerate(operands):
                total = Signal(signed(params.membrane_bits), name=f"sum_{lane}_{column}")
                base = Mux(complete, 0, total)
                # One adder: the lowest bits, 1 and the carry, make the carry into the sum.
                added = Cat(C(1, 1), base).as_signed() + Cat(subtract, operand).as_signed()
                with m.If(update):
                    m.d.sync += total.eq(Mux(shift, Cat(C(0, 1), base), added[1:]))
                with m.Elif(handover):
                    m.d.sync += total.eq(0)
                row.append(total)
            sums.append(row)
        flat = [total for row in sums for total in row]
        ports = elements(self.state, params.state, "sums")
        m.d.comb += [port.eq(total) for port, total in zip(ports, flat, strict=True)]
        return sums

    def _blocks(self, m, sums, handover, taken, end):
        """The hand-over bank and the counters of its blocks: blocks outside, steps inside."""
        params = self.params
        bank = []  # [lane][block]: P sums in one signal
        for lane, row in enumerate(sums):
            bank.append([])
            for number, first in enumerate(range(0, params.columns, params.neurons)):
                held = Signal(params.neurons * params.membrane_bits, name=f"bank_{lane}_{number}")
                with m.If(handover):
                    m.d.sync += held.eq(Cat(row[first : first + params.neurons]))
                bank[lane].append(held)

        block, step, last_step = Signal(7), Signal(8), Signal()
        m.d.comb += [
            last_step.eq(step == self.config.steps - 1),
            end.eq(last_step & (block == self.config.blocks - 1)),
        ]
        with m.If(handover):
            m.d.sync += [block.eq(0), step.eq(0)]
        with m.Elif(taken & last_step):
            m.d.sync += [block.eq(block + 1), step.eq(0)]
        with m.Elif(taken):
            m.d.sync += step.eq(step + 1)

        # Array, not an indexed view: Amaranth multiplies the index of a view by the width of its element.
        lane = Mux(self.config.replay, 0, step)
        chosen = Array(Array(blocks)[block] for blocks in bank)[lane]
        ports = elements(self.o.payload, params.o, "sums")
        m.d.comb += [
            Cat(ports).eq(chosen),
            self.o.payload.block.eq(block),
            self.o.payload.step.eq(step),
            self.o.payload.last.eq(end),
        ]
