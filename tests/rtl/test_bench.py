"""Does the bench itself see what it is there to see?"""

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib.wiring import Component, Out

from archsim.contracts.common.layout import Field, Layout
from rtl.payload import shape, stream_in, stream_out
from tests.rtl import driver
from tests.rtl.bench import STALLS, Case, Observed, compare, number, pack, require_stalls, words_of
from tests.rtl.cocotb_stream import StreamMonitor
from tests.rtl.levels import component_library

WORD = Layout.of("word", [Field("value", 5, True), Field("pair", 40, False, 2)])


def case(count, ready):
    """Words through a wire: accepted and transferred in the ready cycles."""
    rng = np.random.default_rng(1)
    values = {"value": rng.integers(-16, 16, count), "pair": rng.integers(0, 1 << 40, (count, 2))}
    payload, cycles = pack(WORD, values), np.flatnonzero(np.tile(ready, count))[:count]
    none = np.zeros((0, 1), np.uint64)
    gaps = np.zeros(count, np.int64)
    return Case({}, none, none, payload, gaps, np.array(ready), cycles, payload, cycles, np.zeros(1, np.uint64))


class Wire(Component):
    """Passes words on; ``fault``: withdraws them, or changes them, while they are not taken."""

    def __init__(self, fault):
        self.fault = fault
        super().__init__({"i": stream_in(WORD), "o": stream_out(WORD), "state": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.i.ready.eq(self.o.ready), self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        if self.fault == "withdraws":
            m.d.comb += self.o.valid.eq(self.i.valid & self.o.ready)
        if self.fault == "changes":
            m.d.comb += self.o.payload.value.eq(self.i.payload.value + ~self.o.ready)
        m.d.sync += self.state.eq(0)
        return m


def test_pack_equals_the_layout():
    words = case(50, [True]).payload
    for row in words:
        assert WORD.pack(WORD.unpack(number(row))) == number(row)
        assert np.array_equal(words_of(number(row), WORD.width), row)
    assert words.shape == (50, 2)
    assert shape(WORD).size == WORD.width


def test_a_wire_passes():
    wanted = case(60, [True, False, True])
    seen, _ = driver.run(component_library("wire", Wire(None)), wanted)
    compare(wanted, seen, WORD)
    require_stalls([(wanted, seen)])


def test_a_payload_that_changes_is_seen():
    wanted = case(60, [False, False, True])
    seen, _ = driver.run(component_library("wire_changes", Wire("changes")), wanted)
    with pytest.raises(AssertionError, match="withdrawn or changed before it was taken in 60 cycles"):
        compare(wanted, seen, WORD)


def test_a_consumer_that_never_waits_is_void():
    wanted = case(60, [True, False, True])
    seen, _ = driver.run(component_library("wire_withdraws", Wire("withdraws")), wanted)
    compare(wanted, seen, WORD)  # valid only when ready: legal to look at, but no stall is ever recorded
    with pytest.raises(AssertionError, match="no stall by the consumer"):
        require_stalls([(wanted, seen)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accepted": [0, 3]}, "acceptance 1: expected 1, seen 3"),
        ({"transferred": [0, 1, 2]}, "transfer: expected 2 of them, seen 3"),
        ({"output": [[1, 0], [0, 0]]}, "output 0: expected .*, seen {'value': 1, 'pair': .0, 0.}"),
        ({"state": [1]}, "retired state: expected .0., seen .1."),
    ],
)
def test_the_first_difference_is_named(change, message):
    wanted = case(2, [True])
    same = Observed(wanted.accepted, wanted.output, wanted.transferred, wanted.state, 0, 0, 0)
    compare(wanted, same, WORD)
    with pytest.raises(AssertionError, match=message):
        compare(wanted, same._replace(**{name: np.array(value) for name, value in change.items()}), WORD)


def test_case_survives_its_file(tmp_path):
    wanted = case(3, [True, False])
    wanted.constants = {"config": 1 << 70}
    wanted.save(tmp_path / "case.npz")
    again = Case.read(tmp_path / "case.npz")
    assert all(np.array_equal(getattr(again, name), value) for name, value in vars(wanted).items())


@pytest.mark.parametrize(
    ("samples", "broken", "waits"),
    [
        ([(1, 0, 7), (1, 0, 7), (1, 1, 7), (0, 1, None)], 0, 2),
        ([(1, 0, 7), (0, 0, None)], 1, 1),
        ([(1, 0, 7), (1, 1, 8)], 1, 1),
    ],
)
def test_monitor(samples, broken, waits):
    monitor = StreamMonitor()
    for sample in samples:
        monitor.sample(*sample)
    assert (monitor.broken, monitor.stalls) == (broken, waits)


def test_every_stall_pattern_is_what_it_says():
    rng = np.random.default_rng(1)
    for name, stalls in STALLS.items():
        assert stalls.trace(rng).any() and stalls.trace(rng).all() == (stalls.ready == 1), name
        assert bool(stalls.gaps(rng, 1000).any()) == (stalls.gap > 0), name
