"""Expert engine in hardware: TOPK, DISPATCH, COLLECT (contract: ``archsim.contracts.experts``)."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib.wiring import Component, In, Member, Out, Signature

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.core import CoreParams
from archsim.contracts.experts import ROUTE_FIELDS, TOPK_FIELDS, ExpertsParams
from archsim.contracts.sequencer import COLLECT, DISPATCH, HEADER
from archsim.contracts.sequencer import TOPK as TOPK_OPCODE
from rtl.payload import elements, forward, forwarded, load_port, shape
from rtl.units.crossbar import Crossbar
from rtl.units.experts_reader import ROUTE, ExpertsReader
from rtl.units.experts_topk import TOPK, ExpertsTopk
from rtl.units.neuron import read_port, row_write_layout
from rtl.units.sequencer import Sequencer
from rtl.units.spike_fetch import bank_write_layout
from rtl.units.sram import Sram


def bank_ports(chip: ChipParams) -> dict[str, Member]:
    """What the engine reads and writes of each core, as a core has it: ``connect`` joins them."""
    core = CoreParams(chip)
    spikes, out, residual = core.fetch.bank, core.writer.bank, core.neuron.residual
    row = Field("data", spikes.granule_bits, count=spikes.granules)
    return {
        "read_out": Out(Signature({
            "en": Out(1), "bank": Out(1), "row": Out(out.address_bits), "data": In(out.row_bits),
        })),
        "read_residual": Out(read_port(residual)), "read_psum": Out(read_port(core.neuron.psum)),
        "write_spikes": load_port(bank_write_layout(spikes.address_bits, row)).flip(),
        "write_psum": load_port(row_write_layout(core.neuron.psum)).flip(),
    }  # fmt: skip


class Experts(Component):
    """Routes rows between the cores. Port c of each array belongs to core c.

    Ports:

    * ``opcode``, and ``topk`` or ``route``: fields of the instruction, constant from ``start``, its first cycle, to ``done``, its
      last.
    * ``read_out``, ``read_residual``, ``read_psum`` (arrays): a row of a core's bank, answered a cycle later.
    * ``write_spikes``, ``write_psum`` (arrays): a row for a core's bank.
    * ``tables`` (array): a row of both tables, answered a cycle later while no instruction runs; ``state``: the router's. Only
      observers need them.
    """

    def __init__(self, chip: ChipParams):
        self.chip, self.params = chip, ExpertsParams(chip)
        params = self.params
        self.topk_unit = ExpertsTopk(params)
        self.readers = [ExpertsReader(params) for _ in range(chip.cores)]
        self.request, self.answer = Crossbar(params.request), Crossbar(params.reply)
        tables = Signature({
            "en": Out(1), "row": Out(params.routes.address_bits), "routes": In(params.routes.row_bits),
            "replies": In(params.replies.row_bits),
        })  # fmt: skip
        super().__init__({
            "opcode": In(4), "topk": In(shape(TOPK)), "route": In(shape(ROUTE)), "start": In(1), "done": Out(1),
            **{name: port.array(chip.cores) for name, port in bank_ports(chip).items()},
            "tables": In(tables).array(chip.cores), "state": self.topk_unit.signature.members["state"],
        })  # fmt: skip

    def elaborate(self, platform):
        """Tables, readers, crossbars, and the ways from and to the banks."""
        m = Module()
        self.running, self.replying, self.collect = Signal(), Signal(), Signal()
        begin, reply = Signal(), Signal()
        m.submodules.topk = self.topk_unit
        # Every instruction finds the crossbars as after a reset: its cycles do not depend on the last choices of another.
        m.submodules.request = ResetInserter(begin)(self.request)
        m.submodules.answer = ResetInserter(begin)(self.answer)
        m.d.comb += [
            self.collect.eq(self.opcode == COLLECT), begin.eq(self.start & (self.collect | (self.opcode == DISPATCH))),
            self.topk_unit.topk.eq(self.topk), self.topk_unit.start.eq(self.start & (self.opcode == TOPK_OPCODE)),
            self.state.eq(self.topk_unit.state),
        ]  # fmt: skip
        for core, reader in enumerate(self.readers):
            m.submodules[f"reader{core}"] = reader
            m.d.comb += [
                reader.route.eq(self.route), reader.begin.eq(begin & self.route.cores[core]), reader.reply.eq(reply),
                reader.replying.eq(self.replying), reader.requesting.eq(self.collect & ~self.replying),
            ]  # fmt: skip
            self._send(m, core, reader)
            self._tables(m, core, reader, begin)
            self._read(m, core, reader)
            self._write(m, core)
        self._scores(m)
        # nothing moves: the replies begin, or the instruction ends a cycle later
        quiet, ended, moves = Signal(), Signal(), [reader.busy for reader in self.readers]
        moves += [
            count.any() for crossbar in (self.request, self.answer)
            for count in elements(crossbar.state, crossbar.params.state, "counts")
        ]  # fmt: skip
        m.d.comb += [quiet.eq(self.running & ~Cat(moves).any()), reply.eq(quiet & self.collect & ~self.replying)]
        m.d.sync += ended.eq(quiet & ~reply)
        m.d.comb += self.done.eq(ended | self.topk_unit.done)
        with m.If(begin):
            m.d.sync += [self.running.eq(1), self.replying.eq(0)]
        with m.Elif(quiet):
            m.d.sync += [self.running.eq(reply), self.replying.eq(reply)]
        return m

    def _send(self, m, core, reader):
        """Flits of a reader to the crossbar in use."""
        flit, ready = reader.o.payload, []
        for crossbar, mine in ((self.request, ~self.replying), (self.answer, self.replying)):
            port = crossbar.i[core]
            data = Cat(flit.row, flit.data)[: len(port.payload.data)]
            m.d.comb += [
                port.valid.eq(reader.o.valid & mine), port.payload.data.eq(data),
                port.payload.destination.eq(flit.destination), port.payload.last.eq(flit.last),
                crossbar.o[core].ready.eq(1),  # whoever gets a flit takes it
            ]  # fmt: skip
            ready.append(port.ready)
        m.d.comb += reader.o.ready.eq(Mux(self.replying, ready[1], ready[0]))

    def _tables(self, m, core, reader, begin):
        """The route table, which TOPK writes, and the reply table, which takes the requests of COLLECT."""
        params, store, arrival = self.params, self.topk_unit.write, self.request.o[core]
        m.submodules[f"routes{core}"] = routes = Sram(params.routes)
        m.submodules[f"replies{core}"] = replies = Sram(params.replies)
        asked, flit, taken = Signal.like(reader.asked), Signal(shape(params.request_flit)), Signal()
        m.d.comb += [
            flit.eq(arrival.payload.data), taken.eq(arrival.valid & self.collect), reader.asked.eq(asked),
            routes.write.en.eq(store.valid & (self.topk.core == core)), routes.write.addr.eq(store.payload.row),
            routes.write.data.eq(store.payload.data),
            replies.write.en.eq(taken), replies.write.addr.eq(asked),
            replies.write.data.eq(Cat(arrival.payload.source, flit.row, flit.data[: params.row_bits])),
        ]  # fmt: skip
        with m.If(begin):
            m.d.sync += asked.eq(0)
        with m.Elif(taken):
            m.d.sync += asked.eq(asked + 1)
        observer = self.tables[core]
        for name, bank, port in (("routes", routes, reader.routes), ("replies", replies, reader.replies)):
            m.d.comb += [
                bank.read.en.eq(port.en | observer.en), bank.read.addr.eq(Mux(observer.en, observer.row, port.row)),
                port.data.eq(bank.read.data), getattr(observer, name).eq(bank.read.data),
            ]  # fmt: skip

    def _read(self, m, core, reader):
        """Rows of a packet, and of scores, from a core's banks."""
        route, topk, scores = self.route, self.topk, self.topk_unit.read
        out, residual, psum, membranes = self.read_out[core], self.read_residual[core], self.read_psum[core], Signal()
        mine = scores.en & (topk.core == core)
        m.d.comb += [
            membranes.eq(self.collect & route.membranes),
            out.en.eq(reader.read.en & ~membranes), out.bank.eq(route.source_bank), out.row.eq(reader.read.row),
            psum.en.eq(mine & topk.psum), psum.row.eq(scores.row),
            residual.en.eq((mine & ~topk.psum) | (reader.read.en & membranes)),
            residual.row.eq(Mux(self.running, reader.read.row, scores.row)),
            reader.read.data.eq(Mux(membranes, residual.data, out.data)),
        ]  # fmt: skip

    def _scores(self, m):
        """The row of scores that TOPK's core answers."""
        for core in range(self.chip.cores):
            with m.If(self.topk.core == core):
                answer = Mux(self.topk.psum, self.read_psum[core].data, self.read_residual[core].data)
                m.d.comb += self.topk_unit.read.data.eq(answer)

    def _write(self, m, core):
        """Rows that arrive, a cycle later to the core's banks."""
        params, route = self.params, self.route
        valid, row = Signal(name=f"written{core}"), Signal(params.row_bits, name=f"row{core}")
        data = Signal(max(params.spike_bits, params.membrane_bits), name=f"data{core}")
        spikes, psum = self.write_spikes[core], self.write_psum[core]
        request, answer = self.request.o[core], self.answer.o[core]
        flits = Signal(shape(params.request_flit)), Signal(shape(params.reply_flit))
        m.d.comb += [
            flits[0].eq(request.payload.data), flits[1].eq(answer.payload.data),
            spikes.valid.eq(valid & ~(self.collect & route.membranes)), spikes.payload.bank.eq(route.bank),
            spikes.payload.row.eq(row), Cat(spikes.payload.data).eq(data),
            psum.valid.eq(valid & self.collect & route.membranes), psum.payload.row.eq(row), psum.payload.data.eq(data),
        ]  # fmt: skip
        m.d.sync += valid.eq(answer.valid | (request.valid & ~self.collect))
        with m.If(answer.valid | request.valid):
            m.d.sync += [row.eq(Mux(self.collect, flits[1].row, flits[0].row))]
            m.d.sync += [data.eq(Mux(self.collect, flits[1].data, flits[0].data))]


class ExpertsEngine(Component):
    """The expert engine with its queue.

    Ports: those of :class:`~rtl.units.sequencer.Sequencer` that are not the engine's (``program``, ``posted``, ``post``,
    ``ready``, ``go``, ``halted``), ``start`` and ``done`` of an instruction, and the banks', ``tables`` and ``state`` of
    :class:`Experts`.
    """

    def __init__(self, chip: ChipParams):
        self.sequencer = Sequencer.of(chip)
        self.unit = Experts(chip)
        queue = ("program", "posted", "post", "ready", "go", "halted", "start")
        self.ports: dict[str, tuple[Component, str]] = {name: (self.sequencer, name) for name in queue}
        self.ports |= {name: (self.unit, name) for name in ("done", "tables", "state", *bank_ports(chip))}
        super().__init__(forwarded(self.ports))

    def elaborate(self, platform):
        """Fields of the instruction and its start to the unit."""
        m = Module()
        m.submodules.sequencer, m.submodules.unit = self.sequencer, self.unit
        forward(m, self, self.ports)
        for port, fields in ((self.unit.topk, TOPK_FIELDS), (self.unit.route, ROUTE_FIELDS)):
            layout = Layout.of("instruction", HEADER + fields)
            instruction = Signal(shape(layout), name=f"instruction_{len(fields)}")
            m.d.comb += instruction.eq(self.sequencer.instruction[: layout.width])
            m.d.comb += [port[field.name].eq(instruction[field.name]) for field in fields]
        m.d.comb += [
            self.unit.opcode.eq(self.sequencer.instruction[: HEADER[0].width]),
            self.unit.start.eq(self.sequencer.start), self.sequencer.done.eq(self.unit.done),
        ]  # fmt: skip
        return m
