"""A chip and its DRAM, for simulation: the design that co-simulation runs."""

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, connect

from archsim.contracts.common.chip import ChipParams
from rtl.chip import Chip
from rtl.memory_model import MemoryModel
from rtl.payload import forward, forwarded


class System(Component):
    """A chip with DRAM of ``beats`` beats whose bursts take ``latencies`` latencies in turn.

    Ports: ``program``, ``start``, ``done``, ``halted`` of :class:`~rtl.chip.Chip`; ``load``, ``dump``, ``latency``, ``moved``
    of :class:`~rtl.memory_model.MemoryModel`; ``latencies``: how many of them are in use, constant.
    """

    def __init__(self, chip: ChipParams, beats: int, latencies: int):
        self.chip, self.dram = Chip(chip), MemoryModel(chip, beats, latencies)
        self.ports = {name: (self.chip, name) for name in ("program", "start", "done", "halted")}
        self.ports |= {name: (self.dram, name) for name in ("load", "dump", "latency", "moved")}
        super().__init__(forwarded(self.ports) | {"latencies": In(len(self.dram.count))})

    def elaborate(self, platform):
        """The three streams between them."""
        m = Module()
        m.submodules.chip, m.submodules.dram = chip, dram = self.chip, self.dram
        forward(m, self, self.ports)
        m.d.comb += dram.count.eq(self.latencies)
        connect(m, chip.request, dram.request)
        connect(m, chip.send, dram.send)
        connect(m, dram.beat, chip.beat)
        return m
