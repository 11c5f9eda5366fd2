"""Do the formal proofs hold, does each see its injected bug, and does none of the streams escape them?"""

import ast
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.errors import ArchsimError
from rtl.formal import order, streams
from rtl.formal.__main__ import chosen, main
from rtl.formal.claims import HOLD, REACH, Claims
from rtl.formal.engines import BMC, PDR, aiger, ask, paths
from rtl.formal.proofs import proofs, prove

ROOT = Path(__file__).parents[2]

SHORT = ("fifo_4", "queue_2", "arbiter_4", "flow_2", "exclusion_2", "stays_EventEncoder", "valid_*")
"""The proofs of a run of the tests; `make formal` does all."""


class Counter(Component):
    """Counts modulo 8 while ``up`` is 1."""

    def __init__(self):
        super().__init__({"up": In(1), "count": Out(3)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.count.eq(self.count + self.up)
        return m


def counter(limit, question, step=1):
    component = Counter()
    claims = Claims(component)
    claims.free(component)
    claims.assume(~claims.begun | (component.up == ~claims.past(component.up)))
    claims.hold(component.count < limit)
    claims.reach(component.count == limit - 1, claims.begun & (claims.past(component.count) + step == component.count))
    return claims, question


@pytest.mark.parametrize("proof", chosen(SHORT), ids=lambda proof: proof.name)
def test_proof(proof, tmp_path):
    result = prove(proof, tmp_path)
    assert result.proved
    assert result.cover is not None
    assert result.found is not None


def test_the_answers_of_the_engines(tmp_path):
    # Up in every second cycle, from cycle 0 on if the solver likes: 5 is first seen in cycle 9.
    designs = {
        "all": counter(8, HOLD), "five": counter(5, HOLD), "seen": counter(5, REACH), "never": counter(5, REACH, step=2),
    }  # fmt: skip
    aiger(designs, tmp_path)
    bounded = {cycles: BMC.format(cycles=cycles, seconds=60) for cycles in (9, 10)}
    assert ask(tmp_path / "all.aig", PDR.format(seconds=60)).proved
    for command in (PDR.format(seconds=60), bounded[10]):
        answer = ask(tmp_path / "five.aig", command)
        assert (answer.cycle, answer.proved) == (9, False)
    assert ask(tmp_path / "five.aig", bounded[9]).cycle is None
    assert ask(tmp_path / "seen.aig", bounded[10]).cycle == 7
    assert ask(tmp_path / "never.aig", bounded[10]).cycle is None


def test_a_path_through_a_register_is_none(tmp_path):
    claims, raw, held = Claims(), Signal(name="raw"), Signal(name="held")
    given = claims.any(1, "given")
    claims.m.d.comb += raw.eq(~given)
    claims.m.d.sync += held.eq(raw)
    for name, signal in (("raw_out", raw), ("held_out", held)):
        claims.m.d.comb += claims.any(1, name).eq(signal)
    other = Claims()
    other.m.d.comb += other.any(1, "out").eq(other.any(1, "given"))
    found = paths({"one": (claims, ["given"], ["held_out"]), "two": (other, ["given"], ["out"])}, tmp_path)
    assert found["one"][0] == 0
    assert found["two"][0] == 1


def test_streams_of_arrays_are_found():
    plain, credit = stream.Signature(4), stream.Signature(4, always_ready=True)
    ports = Signature(
        {"one": Out(plain), "many": Out(plain).array(2, 3), "taken": In(plain), "credit": Out(credit)}
    ).create()
    assert len(streams.outputs(ports)) == 7
    assert streams.inputs(ports) == [ports.taken]


def test_no_stream_escapes():
    """Every class of rtl/ whose text makes a stream that it gives is among those that the signatures led to."""
    made = set()
    for path in (ROOT / "rtl").rglob("*.py"):
        if "formal" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            calls = [inner.func for inner in ast.walk(node) if isinstance(inner, ast.Call)]
            if isinstance(node, ast.ClassDef) and any(isinstance(f, ast.Name) and f.id == "stream_out" for f in calls):
                made.add(node.name)
    assert {"EventEncoder", "Fifo", "Crossbar"} <= made
    assert made <= set(streams.found())
    names = {proof.name for proof in proofs()}
    assert {f"{kind}_{name}" for kind in ("stays", "valid") for name in streams.found()} <= names


def test_the_command(tmp_path, capsys):
    report = tmp_path / "formal.md"
    assert main(["--only", "queue_2", "--build", str(tmp_path), "--out", str(report)]) == 0
    assert "1 of 1 proofs as expected" in capsys.readouterr().out
    assert "| queue_2 | crossbar.Queue |" in report.read_text()
    assert report.with_suffix(".json").exists()
    assert main(["--only", "no_such"]) == 2
    assert "--only: no proof 'no_such'" in capsys.readouterr().err


def test_a_proof_that_does_not_hold_is_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(order, "Queue", order.ShortQueue)
    assert main(["--only", "queue_3", "--build", str(tmp_path)]) == 1
    assert "NOT PROVED" in capsys.readouterr().out


def test_an_unknown_proof_names_the_others():
    with pytest.raises(ArchsimError, match="required one of fifo_2"):
        chosen(["flow_9"])
