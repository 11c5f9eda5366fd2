"""Does the crossbar move every flit in the right cycle: law = stepped = Verilog, under contention and back-pressure?"""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Signal

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.crossbar import CrossbarParams, corners
from archsim.stepped import crossbar as stepped
from archsim.units import crossbar as fast
from rtl import build, verilator
from rtl.units.crossbar import Crossbar

BUILD = Path(__file__).parents[2] / "build" / "tests" / "crossbar"


class Traffic:
    """Random packets for every input, with gaps, and ready traces; ``hot`` sends most of them to output 0."""

    def __init__(self, params: CrossbarParams, seed: int, flits: int, hot: bool = False):
        rng = np.random.default_rng(seed)
        self.params = params
        self.destinations, self.lasts, self.gaps, self.ready, self.data = [], [], [], [], []
        for _ in range(params.ports):
            lengths = rng.integers(1, 7, flits)
            lengths = lengths[: np.searchsorted(np.cumsum(lengths), flits) + 1]
            targets = np.where(rng.random(len(lengths)) < 0.7 * hot, 0, rng.integers(0, params.ports, len(lengths)))
            self.destinations.append(np.repeat(targets, lengths))
            last = np.zeros(lengths.sum(), np.bool_)
            last[np.cumsum(lengths) - 1] = True
            self.lasts.append(last)
            idle = rng.random(len(last)) < rng.random() * 0.6
            self.gaps.append(np.where(idle, rng.integers(1, 6, len(last)), 0))
            self.ready.append(np.append(rng.random(int(rng.integers(3, 40))) < rng.choice([0.3, 0.7, 1.0]), True))
            self.data.append(rng.integers(0, 1 << min(params.data_bits, 62), len(last)))

    @property
    def arguments(self):
        return self.params, self.destinations, self.lasts, self.gaps, self.ready


def same(one, other):
    """Two results of ``run``: every cycle, source, order and the retired state."""
    for mine, yours in zip(one[:3], other[:3], strict=True):
        assert np.array_equal(mine, yours)
    for mine, yours in zip(one[3], other[3], strict=True):
        assert np.array_equal(mine, yours)
    for name, value in one[4].items():
        assert np.array_equal(value, other[4][name]), name


def in_verilog(traffic: Traffic):
    """Drive the Verilog flit by flit; producers and consumers react to its ready and valid. Same result as ``run``."""
    params = traffic.params
    component = Crossbar(params)
    name = f"crossbar_{params.ports}_{params.depth}_{params.data_bits}"
    source = BUILD / f"{name}.v"
    verilator.write_whole(source, build.verilog(component, name))
    inputs, outputs = build.simulation_ports(component)
    library = verilator.build(source, name, inputs, outputs, BUILD / name)
    return _drive(traffic, library, params)


def _drive(traffic, library, params):
    starts = np.cumsum([0, *map(len, traffic.destinations)])
    total = int(starts[-1])
    accepted, departed, sources = (np.full(total, -1, np.int64) for _ in range(3))
    arrivals: list[list[int]] = [[] for _ in range(params.ports)]
    place, pause = [0] * params.ports, [int(gaps[0]) for gaps in traffic.gaps]
    owed = [[[] for _ in range(params.ports)] for _ in range(params.ports)]
    library.reset_model()
    library.step({name: int(name == "rst") for name in library.inputs})
    cycle, left = 0, total
    while left:
        drive = {"rst": 0}
        for port in range(params.ports):
            offer = place[port] < len(traffic.lasts[port]) and pause[port] == 0
            drive[f"i__{port}__valid"] = int(offer)
            at = min(place[port], len(traffic.lasts[port]) - 1)
            drive[f"i__{port}__payload"] = params.i.pack({
                "data": int(traffic.data[port][at]), "destination": int(traffic.destinations[port][at]),
                "last": int(traffic.lasts[port][at]),
            })  # fmt: skip
            drive[f"o__{port}__ready"] = int(traffic.ready[port][cycle % len(traffic.ready[port])])
        seen = library.step(drive)
        assert params.state.unpack(seen["state"])["counts"] == [len(flits) for queues in owed for flits in queues]
        for port in range(params.ports):
            pause[port] = max(0, pause[port] - 1) if not drive[f"i__{port}__valid"] else pause[port]
            if drive[f"i__{port}__valid"] and seen[f"i__{port}__ready"]:
                flit = int(starts[port]) + place[port]
                accepted[flit] = cycle
                owed[port][int(traffic.destinations[port][place[port]])].append(flit)
                place[port] += 1
                pause[port] = int(traffic.gaps[port][place[port]]) if place[port] < len(traffic.gaps[port]) else 0
            if seen[f"o__{port}__valid"] and drive[f"o__{port}__ready"]:
                arrival = params.o.unpack(seen[f"o__{port}__payload"])
                flit = owed[arrival["source"]][port].pop(0)
                assert arrival["data"] == int(np.concatenate(traffic.data)[flit])
                assert arrival["last"] == int(np.concatenate(traffic.lasts)[flit])
                departed[flit], sources[flit] = cycle, arrival["source"]
                arrivals[port].append(flit)
                left -= 1
        cycle += 1
    state = params.state.unpack(library.step({**drive, **{f"i__{p}__valid": 0 for p in range(params.ports)}})["state"])
    retired = {
        "counts": np.array(state["counts"]).reshape(params.ports, params.ports), "chosen": np.array(state["chosen"]),
    }  # fmt: skip
    return accepted, departed, sources, [np.array(flits, np.int64) for flits in arrivals], retired


def test_one_packet_by_hand():
    # Taken in 0 and 1, in the queue from 1, chosen in 1, offered and taken in 2 and 3.
    params = CrossbarParams(2, 2, 8)
    none = (np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.int64))
    flits = (np.array([1, 1]), np.array([False, True]), np.array([0, 0]))
    destinations, lasts, gaps = zip(flits, none, strict=True)
    accepted, departed, sources, arrivals, _ = fast.run(params, destinations, lasts, gaps, [np.array([True])] * 2)
    assert accepted.tolist() == [0, 1]
    assert departed.tolist() == [2, 3]
    assert sources.tolist() == [0, 0]
    assert arrivals[1].tolist() == [0, 1]


def test_two_inputs_share_an_output_in_turn():
    # Both packets wait in cycle 1; the last choice counts as input 1, so input 0 is first, then 1, then 0 again.
    params = CrossbarParams(2, 4, 8)
    destinations, lasts, gaps = [np.zeros(2, np.int64)] * 2, [np.ones(2, np.bool_)] * 2, [np.zeros(2, np.int64)] * 2
    _, departed, sources, arrivals, _ = fast.run(params, destinations, lasts, gaps, [np.array([True])] * 2)
    assert arrivals[0].tolist() == [0, 2, 1, 3]
    assert departed[arrivals[0]].tolist() == [2, 3, 4, 5]
    assert sources[arrivals[0]].tolist() == [0, 1, 0, 1]


def test_a_full_queue_blocks_what_is_behind_it():
    # Output 0 takes only in cycles 10, 21, ...: the third flit waits for room, the fourth (to output 1) waits behind it.
    params = CrossbarParams(2, 2, 8)
    flits = (np.array([0, 0, 0, 1]), np.ones(4, np.bool_), np.zeros(4, np.int64))
    none = (np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.int64))
    destinations, lasts, gaps = zip(flits, none, strict=True)
    slow = np.zeros(11, np.bool_)
    slow[10] = True
    accepted, departed, *_ = fast.run(params, destinations, lasts, gaps, [slow, np.array([True])])
    assert accepted.tolist() == [0, 1, 11, 12]
    assert departed.tolist() == [10, 21, 32, 14]


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("params", corners(), ids=str)
def test_law_equals_stepped(params, hot):
    blocked = 0
    for seed in range(12):
        traffic = Traffic(params, seed, 400, hot)
        result = fast.run(*traffic.arguments)
        same(result, stepped.run(*traffic.arguments))
        blocked += int((np.diff(result[0]) > 1).sum())
    assert blocked > 0


@pytest.mark.parametrize("params", corners(), ids=str)
def test_law_equals_verilog(params):
    for seed, hot in ((1, False), (2, True)):
        traffic = Traffic(params, seed, 600, hot)
        expected = fast.run(*traffic.arguments)
        same(in_verilog(traffic), expected)


class LateCrossbar(Crossbar):
    """A crossbar whose outputs stall for a cycle after each packet: one register too many in the choice."""

    def _output(self, m, output, queues):
        takes = super()._output(m, output, queues)
        ended = self.o[output].valid & self.o[output].ready & self.o[output].payload.last
        late = Signal()
        m.d.sync += late.eq(ended)
        return [take & ~late for take in takes]


def test_a_register_too_many_is_found(monkeypatch):
    traffic = Traffic(CrossbarParams(3, 2, 16), 5, 100, hot=True)
    expected = fast.run(*traffic.arguments)
    monkeypatch.setitem(globals(), "Crossbar", LateCrossbar)
    with pytest.raises((AssertionError, IndexError)):
        same(in_verilog(traffic), expected)


def test_packets_of_a_flow_stay_in_order_and_whole():
    traffic = Traffic(CrossbarParams(4, 4, 64), 9, 500, hot=True)
    _, departed, sources, arrivals, state = fast.run(*traffic.arguments)
    lasts = np.concatenate(traffic.lasts)
    assert (departed >= 0).all()
    assert not state["counts"].any()
    for flits in arrivals:
        inside = -1
        for flit in flits.tolist():
            assert inside in (-1, sources[flit])  # nothing enters a packet of another input
            inside = -1 if lasts[flit] else sources[flit]
        for source in range(4):
            flow = flits[sources[flits] == source]
            assert (np.diff(flow) > 0).all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [((1, 2, 8), "ports must be in 2..16"), ((4, 0, 8), "depth in 1..64"), ((4, 8, 200), "below 1024 bits")],
)
def test_illegal_parameters_are_refused(changes, reason):
    with pytest.raises(ArchsimError, match=reason):
        CrossbarParams(*changes)
