"""Does the tool chain itself work? One small accumulator through every simulator, against integers."""

import threading

import numpy as np
import pytest
from amaranth import Module
from amaranth.back import verilog
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from archsim.contracts.common.errors import ArchsimError
from rtl.simulate import run_cocotb
from rtl.verilator import build, once, write_whole
from rtl.verilator_driver import cpp_name

WIDTH = 70  # more than a word: a wide port in both directions
MODULUS = 1 << WIDTH


class Accumulator(wiring.Component):
    """Adds every payload of its stream; always ready."""

    def __init__(self):
        super().__init__({"add": In(stream.Signature(WIDTH)), "total": Out(WIDTH), "odd": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.add.ready.eq(1), self.odd.eq(self.total[0])]
        with m.If(self.add.valid):
            m.d.sync += self.total.eq(self.total + self.add.payload)
        return m


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    path = tmp_path_factory.mktemp("accumulator") / "accumulator.v"
    path.write_text(verilog.convert(Accumulator(), name="accumulator"))
    return path


@pytest.fixture(scope="module")
def library(design):
    inputs = [("rst", 1), ("add__valid", 1), ("add__payload", WIDTH)]
    outputs = [("add__ready", 1), ("total", WIDTH), ("odd", 1)]
    return build(design, "accumulator", inputs, outputs, design.parent / "verilated")


@pytest.fixture(scope="module")
def stimulus():
    rng = np.random.default_rng(1)
    cycles = 200
    payload = rng.integers(0, 1 << 64, size=(cycles, 2), dtype=np.uint64)
    payload[:, 1] &= np.uint64((1 << WIDTH - 64) - 1)
    rst = np.zeros(cycles, np.uint64)
    rst[[0, 120]] = 1
    return {"rst": rst, "add__valid": rng.integers(0, 2, cycles), "add__payload": payload}


def integers(words):
    """A wide port's rows as Python integers."""
    return [int(low) | int(high) << 64 for low, high in words]


def totals(stimulus):
    """The sum before each clock edge, by definition."""
    state, seen = 0, []
    for rst, valid, payload in zip(
        stimulus["rst"], stimulus["add__valid"], integers(stimulus["add__payload"]), strict=True
    ):
        seen.append(state)
        state = 0 if rst else (state + int(valid) * payload) % MODULUS
    return seen


def test_batch_equals_definition(library, stimulus):
    out = library.run(stimulus)
    expected = totals(stimulus)
    assert out["total"].shape == (200, 2)
    assert integers(out["total"]) == expected
    assert out["odd"].tolist() == [total & 1 for total in expected]
    assert out["add__ready"].all()


def test_a_run_starts_anew_unless_resumed(library, stimulus):
    whole = integers(library.run(stimulus)["total"])
    assert integers(library.run(stimulus)["total"]) == whole
    first = library.run({name: value[:50] for name, value in stimulus.items()})
    rest = library.run({name: value[50:] for name, value in stimulus.items()}, resume=True)
    assert integers(first["total"]) + integers(rest["total"]) == whole


def test_step_equals_batch(library, stimulus):
    library.reset_model()
    rows = zip(stimulus["rst"], stimulus["add__valid"], integers(stimulus["add__payload"]), strict=True)
    stepped = [library.step({"rst": r, "add__valid": v, "add__payload": p})["total"] for r, v, p in rows]
    assert stepped == totals(stimulus)


def test_integer_inputs_hold_and_may_be_negative(library):
    out = library.run({"rst": 0, "add__valid": 1, "add__payload": -1}, cycles=3)
    assert integers(out["total"]) == [0, MODULUS - 1, MODULUS - 2]


def test_two_libraries_of_one_design_share_no_state(library, design):
    ports = list(library.inputs.items()), list(library.outputs.items())
    other = build(design, "accumulator", *ports, library.path.parent)
    assert other.path == library.path
    library.run({"rst": 0, "add__valid": 1, "add__payload": 5}, cycles=2)
    assert other.step({"rst": 0, "add__valid": 0, "add__payload": 0})["total"] == 0
    assert library.step({"rst": 0, "add__valid": 0, "add__payload": 0})["total"] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rst": 2}, "input rst: required a value of 1 bits, given 2"),
        ({"add__valid": np.array([0, 2])}, "input add__valid: required a value of 1 bits, given 2"),
        ({"add__payload": np.zeros(2, np.uint64)}, r"required integers of shape \[cycles, 2\]"),
        ({"add__payload": np.full((2, 2), 1 << 63, np.uint64)}, "bits beyond its width of 70"),
        ({"rst": np.zeros(3, bool), "add__valid": np.zeros(2, bool)}, "one number of cycles is required"),
        ({"rts": 0}, r"unknown \['rts'\]"),
    ],
)
def test_wrong_inputs_are_named(library, change, message):
    with pytest.raises(ArchsimError, match=message):
        library.run({"rst": 0, "add__valid": 0, "add__payload": 0} | change, cycles=2)


def test_failed_assertion_ends_the_run_with_its_cycle(tmp_path):
    path = tmp_path / "picky.v"
    path.write_text("module picky(input clk, input bad); always @(posedge clk) assert (!bad); endmodule\n")
    picky = build(path, "picky", [("bad", 1)], [], tmp_path)
    with pytest.raises(ArchsimError, match="an assertion failed in cycle 3"):
        picky.run({"bad": np.array([0, 0, 0, 1, 0])})


def test_broken_design_reports_the_tool(tmp_path):
    path = tmp_path / "broken.v"
    path.write_text("module broken(input clk; endmodule\n")
    with pytest.raises(ArchsimError, match=r"verilator_bin failed[\s\S]*syntax error"):
        build(path, "broken", [], [], tmp_path)


@pytest.mark.parametrize(
    ("verilog_name", "expected"),
    [("clk", "clk"), ("ev__valid", "ev___05Fvalid"), ("a___b", "a___05F_b"), ("a$b", "a__024b")],
)
def test_cpp_name(verilog_name, expected):
    assert cpp_name(verilog_name) == expected


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_cocotb(design, tmp_path, simulator):
    env = {"COUNTER_WIDTH": str(WIDTH)}
    assert run_cocotb(design, "accumulator", "tests.rtl.cocotb_counter", simulator, tmp_path, env=env) == 2


def test_cocotb_failure_is_raised(design, tmp_path):
    # A width that the design has not: the tests compare modulo another power of two.
    env = {"COUNTER_WIDTH": "8"}
    with pytest.raises(ArchsimError, match="1 of 2 tests failed"):
        run_cocotb(design, "accumulator", "tests.rtl.cocotb_counter", "icarus", tmp_path, env=env)


def test_cocotb_without_tests_is_a_failure(design, tmp_path):
    with pytest.raises(ArchsimError, match="no cocotb test ran|left no results"):
        run_cocotb(design, "accumulator", "rtl.verilator_driver", "icarus", tmp_path)


def test_of_two_who_need_a_file_one_makes_it(tmp_path):
    path, entered, made = tmp_path / "folder" / "file", threading.Event(), []

    def other():
        entered.wait()
        with once(path) as missing:
            made.append((missing, path.read_text()))

    thread = threading.Thread(target=other)
    thread.start()
    with once(path) as missing:
        assert missing
        entered.set()
        thread.join(0.2)
        assert thread.is_alive()  # it waits
        write_whole(path, "whole")
    thread.join()
    assert made == [(False, "whole")]
