"""Masker in hardware: a shift register that leaps a word at a time, a comparison a spike (contract: ``contracts.masker``)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.masker import DEGREE, TAPS, MaskerParams, begin
from rtl.payload import elements, shape, stream_in, stream_out


class Masker(Component):
    """Drops spikes of words of L lanes x W channels at random, a word a cycle.

    Ports:

    * ``i``: stream of ``params.i`` (L x W spikes, first). Ready while no word is held and in the cycle in which the
      word that is held is taken: ``i.ready`` follows ``o.ready`` within a cycle.
    * ``o``: stream of ``params.o`` (L x W spikes), valid while a word is held: from the cycle after its acceptance.
    * ``config``: ``params.config`` (32-bit seed, 9-bit keep), constant while words are on their way.
    * ``state``: ``params.state``, the shift register.
    """

    def __init__(self, params: MaskerParams):
        self.params = params
        super().__init__({
            "i": stream_in(params.i), "o": stream_out(params.o), "config": In(shape(params.config)),
            "state": Out(shape(params.state)),
        })  # fmt: skip

    def elaborate(self, platform):
        """The mask of the word that is offered, and the registers behind it."""
        params, m = self.params, Module()
        register, full = Signal(DEGREE, init=begin(0)), Signal()
        held = [Signal(params.word_bits, name=f"held_{lane}") for lane in range(params.lanes)]

        # cycle 0: the bits from the register on, a comparison of each byte
        now = Signal(DEGREE)
        m.d.comb += now.eq(Mux(self.i.payload.first, begin(self.config.seed), register))
        used = 8 * params.lanes * params.word_bits
        bits = sequence(m, now, used + DEGREE)
        kept = [Cat(bits[place : place + 8]) < self.config.keep for place in range(0, used, 8)]
        m.d.comb += self.i.ready.eq(~full | self.o.ready)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [full.eq(1), register.eq(Cat(bits[used:]))]
            for lane, spikes in enumerate(elements(self.i.payload, params.i, "spikes")):
                mask = kept[lane * params.word_bits : (lane + 1) * params.word_bits]
                m.d.sync += held[lane].eq(spikes & Cat(mask))
        with m.Elif(self.o.ready):
            m.d.sync += full.eq(0)

        # cycle 1: offer what is left
        m.d.comb += [self.o.valid.eq(full), self.state.register.eq(register)]
        left = elements(self.o.payload, params.o, "spikes")
        m.d.comb += [port.eq(spikes) for port, spikes in zip(left, held, strict=True)]
        return m


def sequence(m: Module, register: Signal, count: int) -> list:
    """The first ``count`` bits of the sequence that begins at ``register``: three XORs a bit, and few after each other.

    The square of a polynomial over GF(2) is the polynomial of squares, so the relation of the bits also holds at distances that are
    2, 4, 8 ... times as long. Each bit follows from the longest that fits: the depth grows with the logarithm of ``count``.
    """
    bits = [register[place] for place in range(DEGREE)]
    for place in range(DEGREE, count):
        leap = 1
        while 2 * leap * DEGREE <= place:
            leap += leap
        bit = Signal(name=f"bit_{place}")
        terms = [bits[place - leap * (DEGREE - tap)] for tap in TAPS]
        m.d.comb += bit.eq((terms[0] ^ terms[1]) ^ (terms[2] ^ terms[3]))
        bits.append(bit)
    return bits
