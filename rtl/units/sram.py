"""SRAM bank in hardware: one synchronous read port, one write port (contract: ``archsim.contracts.sram``)."""

from collections.abc import Iterable

from amaranth.hdl import Module
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.sram import SramParams


class Sram(Component):
    """A bank of ``rows`` rows of ``granules`` x ``granule_bits`` bits, all 0 (or ``init``) at power-up.

    Ports (widths from ``params``):

    * ``read.en`` 1, ``read.addr`` ``address_bits``: presented in cycle t.
    * ``read.data`` ``row_bits``: the row in cycle t+1; holds until the next read, undefined before the first.
    * ``write.en`` ``granules``: a bit a granule, granule 0 in the lowest bits of the row.
    * ``write.addr`` ``address_bits``, ``write.data`` ``row_bits``: presented in cycle t, visible to reads of t+1.

    Reading a row in the cycle in which it is written is forbidden, and so is an address of ``rows`` or more.

    Args:
        params: sizes.
        init: rows at power-up as unsigned integers; rows that are missing are 0.
    """

    def __init__(self, params: SramParams, init: Iterable[int] = ()):
        self.params = params
        self.init = tuple(init)
        super().__init__({
            "read": In(Signature({
                "en": Out(1), "addr": Out(params.address_bits), "data": In(params.row_bits),
            })),
            "write": In(Signature({
                "en": Out(params.granules), "addr": Out(params.address_bits), "data": Out(params.row_bits),
            })),
        })  # fmt: skip

    def elaborate(self, platform):
        """One memory with one port of each kind; the read returns the old row, which no user may rely on."""
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.params.row_bits, depth=self.params.rows, init=list(self.init))
        # cycle 0: address; cycle 1: data
        read = memory.read_port()
        write = memory.write_port(granularity=self.params.granule_bits)
        width = len(read.addr)  # 0 where the contract's address has the 1 bit of a bank of one row
        m.d.comb += [
            read.en.eq(self.read.en),
            read.addr.eq(self.read.addr[:width]),
            self.read.data.eq(read.data),
            write.en.eq(self.write.en),
            write.addr.eq(self.write.addr[:width]),
            write.data.eq(self.write.data),
        ]
        return m
