"""Expert crossbar in hardware: P x P queues of registers, a round-robin choice per output (contract: ``contracts.crossbar``)."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, Out

from archsim.contracts.crossbar import CrossbarParams
from rtl.arbiter import RoundRobin
from rtl.payload import elements, shape, stream_in, stream_out


class Queue:
    """A FIFO of ``depth`` entries in registers: what is put in cycle t stands at the head from t + 1 on at the earliest."""

    def __init__(self, m: Module, depth: int, width: int, name: str):
        self.m, self.depth = m, depth
        self.entries = Array(Signal(width, name=f"{name}_{number}") for number in range(depth))
        self.count = Signal(range(depth + 1), name=f"{name}_count")
        self.first, self.free = Signal(range(depth), name=f"{name}_first"), Signal(range(depth), name=f"{name}_free")
        self.head = self.entries[self.first] if depth > 1 else self.entries[0]
        self.room = self.count != depth

    def _next(self, pointer: Signal):
        return Mux(pointer == self.depth - 1, 0, pointer + 1)

    def move(self, put, data, take):
        """Put ``data`` if ``put``, drop the head if ``take``; the caller asks neither of a full nor of an empty queue."""
        with self.m.If(put):
            self.m.d.sync += [(self.entries[self.free] if self.depth > 1 else self.entries[0]).eq(data)]
            self.m.d.sync += self.free.eq(self._next(self.free))
        with self.m.If(take):
            self.m.d.sync += self.first.eq(self._next(self.first))
        self.m.d.sync += self.count.eq(self.count + put - take)


class Crossbar(Component):
    """Sends packets from any input to any output.

    Ports:

    * ``i``: P streams of ``params.i``; ``ready`` follows the destination of the flit that is offered.
    * ``o``: P streams of ``params.o``.
    * ``state``: ``params.state``, straight from the registers.
    """

    def __init__(self, params: CrossbarParams):
        self.params = params
        ports = params.ports
        super().__init__({
            "i": stream_in(params.i).array(ports), "o": stream_out(params.o).array(ports), "state": Out(shape(params.state)),
        })  # fmt: skip

    def elaborate(self, platform):
        """Queues between all inputs and outputs, and the outputs that empty them."""
        params, m = self.params, Module()
        ports = range(params.ports)
        queues = [
            [Queue(m, params.depth, params.data_bits + 1, f"queue_{source}_{output}") for output in ports]
            for source in ports
        ]
        takes = [self._output(m, output, [queues[source][output] for source in ports]) for output in ports]
        for source in ports:
            flit = self.i[source].payload
            m.d.comb += self.i[source].ready.eq(Array(queue.room for queue in queues[source])[flit.destination])
            for output in ports:
                put = self.i[source].valid & self.i[source].ready & (flit.destination == output)
                queues[source][output].move(put, Cat(flit.data, flit.last), takes[output][source])
        counts = elements(self.state, params.state, "counts")
        for source in ports:
            m.d.comb += [counts[source * params.ports + output].eq(queues[source][output].count) for output in ports]
        return m

    def _output(self, m: Module, output: int, queues: list[Queue]) -> list:
        """One output; returns for each input whether its queue gives its head in this cycle."""
        params, stream = self.params, self.o[output]
        # cycle 0: the queue that is chosen, from its choice to the last flit of its packet
        m.submodules[f"choice_{output}"] = choice = RoundRobin(params.ports)
        chosen = choice.chosen
        head, filled = (
            Array(queue.head for queue in queues)[chosen],
            Array(queue.count != 0 for queue in queues)[chosen],
        )
        m.d.comb += [
            stream.valid.eq(choice.granted & filled),
            Cat(stream.payload.data, stream.payload.last).eq(head),
            stream.payload.source.eq(chosen),
            elements(self.state, params.state, "chosen")[output].eq(chosen),
        ]
        taken = stream.valid & stream.ready
        # cycle 0: the next choice is made; a flit that leaves does not count
        m.d.comb += [
            choice.ended.eq(taken & stream.payload.last),
            choice.waiting.eq(
                Cat(queue.count > (choice.ended & (chosen == number)) for number, queue in enumerate(queues))
            ),
        ]  # fmt: skip
        return [taken & (chosen == number) for number in range(params.ports)]
