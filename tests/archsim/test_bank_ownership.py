"""Does every instruction own exactly the banks that it touches? The lists stand here a second time, by hand."""

import pytest

from archsim.contracts import dma, multicast, sequencer
from archsim.contracts.common.ownership import banks, core_banks
from archsim.contracts.sequencer import ATTENTION, CORE0, DMA, EXPERTS, MULTICAST

SYNAPSE = dict.fromkeys(("psum_in", "psum_out", "residual_in", "residual_out", "reduce", "spike_out"), 0) | {
    "opcode": sequencer.SYNAPSE, "gang": 0b0110, "weight_bank": 1, "in_bank": 0, "param_bank": 1, "out_bank": 0,
}  # fmt: skip
ATTEND = {"q_bank": 1, "out_bank": 0}
KEYS = {("attention", 0, "spikes", multicast.K), ("attention", 0, "spikes", multicast.V)}
COUNTS = {("attention", 0, "counts", 0)}
OUT = {("attention", 0, "spikes", multicast.Q1), ("attention", 0, "out", 0)}
WEIGHTS = {("core", 1, "weight", 1), ("core", 1, "spike_in", 0)}
PARAMS = {("core", 1, "param", 1)}
ROUTE = {"cores": 0b0001, "experts": 2, "place": 0x31, "source_bank": 1, "bank": 0, "membranes": 0}
"""Home core 0, experts in cores 1 and 3."""

ROUTES = ("experts", 2, "routes", 0)
HOME, ASKED = {("experts", 0, "routes", 0)}, {("experts", core, "replies", 0) for core in (1, 3)}
"""Tables of the expert engine: that of a TOPK; those of ROUTE's home core and of its experts' cores."""

CASES = {
    "halt": (DMA, {"opcode": sequencer.HALT}, set()),
    "load of weights": (
        DMA, {"opcode": sequencer.LOAD, "memory": dma.WEIGHT, "cores": 0b101, "bank": 1},
        {("core", 0, "weight", 1), ("core", 2, "weight", 1)},
    ),
    "load of parameters": (
        DMA, {"opcode": sequencer.LOAD, "memory": dma.PARAM, "cores": 0b10, "bank": 1}, {("core", 1, "param", 1)},
    ),
    "load of spikes": (
        DMA, {"opcode": sequencer.LOAD, "memory": dma.SPIKE_IN, "cores": 1, "bank": 0}, {("core", 0, "spike_in", 0)},
    ),
    "load of the softmax table": (
        DMA, {"opcode": sequencer.LOAD, "memory": dma.TABLE, "cores": 0, "bank": 0}, {("attention", 0, "table", 0)},
    ),
    "store of spikes, which have the same number": (
        DMA, {"opcode": sequencer.STORE, "memory": dma.TABLE, "cores": 2, "bank": 1}, {("core", 1, "spike_out", 1)},
    ),
    "store of the only bank": (
        DMA, {"opcode": sequencer.STORE, "memory": dma.REDUCE, "cores": 0b1000, "bank": 1}, {("core", 3, "reduce", 0)},
    ),
    "copy from a core to cores": (
        MULTICAST, {"opcode": sequencer.COPY, "source": CORE0 + 2, "source_bank": 1, "cores": 0b11, "bank": 0},
        {("core", 2, "spike_out", 1), ("core", 0, "spike_in", 0), ("core", 1, "spike_in", 0)},
    ),
    "copy from attention to a core": (
        MULTICAST, {"opcode": sequencer.COPY, "source": ATTENTION, "source_bank": 1, "cores": 0b1, "bank": 1},
        {("attention", 0, "out", 1), ("core", 0, "spike_in", 1)},
    ),
    "copy from a core to attention": (
        MULTICAST, {"opcode": sequencer.COPY, "source": CORE0, "source_bank": 0, "cores": 0, "bank": multicast.V},
        {("core", 0, "spike_out", 0), ("attention", 0, "spikes", multicast.V)},
    ),
    "transposition from a core to cores": (
        MULTICAST, {"opcode": sequencer.TRANSPOSE, "source": CORE0, "source_bank": 0, "cores": 0b110, "bank": 1},
        {("core", 0, "spike_out", 0), ("core", 1, "spike_in", 1), ("core", 2, "spike_in", 1)},
    ),
    "masked from attention to attention": (
        MULTICAST, {"opcode": sequencer.MASK, "source": ATTENTION, "source_bank": 0, "cores": 0, "bank": multicast.Q1},
        {("attention", 0, "out", 0), ("attention", 0, "spikes", multicast.Q1)},
    ),
    "planes": (
        CORE0 + 1, {"opcode": sequencer.PLANES, "out_bank": 1}, {("core", 1, "reduce", 0), ("core", 1, "spike_out", 1)},
    ),
    "leader of a gang": (CORE0 + 1, SYNAPSE, WEIGHTS | PARAMS),
    "another member": (CORE0 + 2, SYNAPSE, {("core", 2, "weight", 1), ("core", 2, "param", 1)}),
    "partial sums in": (CORE0 + 1, SYNAPSE | {"psum_in": 1}, WEIGHTS | PARAMS | {("core", 1, "psum", 0)}),
    "partial sums out": (CORE0 + 1, SYNAPSE | {"psum_out": 1}, WEIGHTS | {("core", 1, "psum", 0)}),
    "residual in": (CORE0 + 1, SYNAPSE | {"residual_in": 1}, WEIGHTS | PARAMS | {("core", 1, "residual", 0)}),
    "residual out": (CORE0 + 1, SYNAPSE | {"residual_out": 1}, WEIGHTS | PARAMS | {("core", 1, "residual", 0)}),
    "reduction": (CORE0 + 1, SYNAPSE | {"reduce": 1}, WEIGHTS | PARAMS | {("core", 1, "reduce", 0)}),
    "spikes": (CORE0 + 1, SYNAPSE | {"spike_out": 1}, WEIGHTS | PARAMS | {("core", 1, "spike_out", 0)}),
    "kv": (ATTENTION, ATTEND | {"opcode": sequencer.ATTEND_KV}, KEYS | COUNTS),
    "q": (ATTENTION, ATTEND | {"opcode": sequencer.ATTEND_Q}, OUT | COUNTS),
    "scores": (ATTENTION, ATTEND | {"opcode": sequencer.ATTEND_SCORES}, OUT | KEYS),
    "softmax": (
        ATTENTION, ATTEND | {"opcode": sequencer.ATTEND_SOFTMAX},
        OUT | KEYS | {("attention", 0, "table", 0), ("attention", 0, "scores", 0)},
    ),
    "gate": (ATTENTION, ATTEND | {"opcode": sequencer.ATTEND_GATE}, OUT | KEYS),
    "choices by residual": (EXPERTS, {"opcode": sequencer.TOPK, "core": 2, "psum": 0}, {("core", 2, "residual", 0), ROUTES}),
    "choices by partial sums": (EXPERTS, {"opcode": sequencer.TOPK, "core": 2, "psum": 1}, {("core", 2, "psum", 0), ROUTES}),
    "dispatch": (
        EXPERTS, ROUTE | {"opcode": sequencer.DISPATCH},
        HOME | {("core", 0, "spike_out", 1), ("core", 1, "spike_in", 0), ("core", 3, "spike_in", 0)},
    ),
    "collect spikes": (
        EXPERTS, ROUTE | {"opcode": sequencer.COLLECT},
        HOME | ASKED | {("core", 1, "spike_out", 1), ("core", 3, "spike_out", 1), ("core", 0, "spike_in", 0)},
    ),
    "collect membranes": (
        EXPERTS, ROUTE | {"opcode": sequencer.COLLECT, "membranes": 1},
        HOME | ASKED | {("core", 0, "psum", 0), ("core", 1, "residual", 0), ("core", 3, "residual", 0)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_banks(name):
    engine, fields, expected = CASES[name]
    found = banks(engine, fields)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_bank_of_every_core_of_a_mask():
    assert core_banks(0, "weight") == []
    assert core_banks(0b1011, "psum", 1) == [("core", core, "psum", 1) for core in (0, 1, 3)]
