"""Queues, bit planes and parts that are measured in a whole: do their stimuli do and count what they say, and add parts up?"""

import re
import subprocess

import numpy as np
import pytest

from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.core import plane_value
from archsim.contracts.experts import ExpertsParams
from archsim.contracts.normaliser import check
from archsim.contracts.sequencer import ATTEND_GATE, ATTEND_KV, ATTEND_Q, ATTEND_SCORES
from rtl.build import ports, verilog
from rtl.characterize import attending, grid, normalising, queued, routing, wholes
from rtl.characterize.__main__ import key_of
from rtl.characterize.bench import Bench
from rtl.characterize.liberty import Power
from rtl.characterize.stimuli import WINDOW, WINDOWS, Stimulus
from rtl.synthesis.library import LIBERTY, Library
from rtl.units.attention_walks import CONFIG, spikes_write_layout
from rtl.units.core import PLANES_INSTRUCTION
from rtl.units.normaliser import NORMALISE, WEIGHT

POINTS = {
    "sequencer": {"cores": 2, "queue_rows": 64},
    "planes": {"neurons": 2, "membrane_bits": 12, "blocks": 4, "reduce_rows": 32},
    "attention_control": {"columns": 8, "lanes": 4, "attention_rows": 256, "count_rows": 4096, "neurons": 4},
    "attention_softmax": {"columns": 8, "neurons": 4, "softmax_tokens": 16, "lanes": 1, "membrane_bits": 20},
    "normaliser_control": {"cores": 2, "neurons": 4, "membrane_bits": 16, "residual_rows": 1024, "psum_rows": 1024},
    "experts_control": {"cores": 3, "neurons": 2, "residual_rows": 1024, "lanes": 1, "crossbar_depth": 2},
}
"""A point of each."""


def parameters(unit):
    return grid.DESIGNS[unit].parameters({name: str(value) for name, value in POINTS[unit].items()})


def run(unit, folder):
    """The Verilog under its stimulus: bits of every port by cycle, the stimulus, and the items taken in each window."""
    params = parameters(unit)
    component, stimulus = grid.DESIGNS[unit].create(params), grid.GRIDS[unit].stimulus(params)
    found = {port.name: (port.direction, list(range(port.width))) for port in ports(component)}
    names = [name for name in found if name != "clk"]
    (folder / "design.v").write_text(verilog(component, unit))
    Bench(unit, found, names, stimulus).write(folder)
    subprocess.run(["iverilog", "-g2012", "-o", "run.vvp", "-s", "bench", "bench.v", "design.v"], cwd=folder, check=True)
    lines = subprocess.run(["vvp", "-n", "run.vvp"], cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines()
    ends = np.cumsum([0, *(len(found[name][1]) for name in names)])
    rows = [line for line in lines if line[0] in "01xz"]
    bits = {name: [row[first:end] for row in rows] for name, first, end in zip(names, ends, ends[1:], strict=False)}
    taken = np.diff([[int(number) for number in line.split()[1:]] for line in lines if line.startswith("taken")], axis=0)
    return bits, stimulus, [dict(zip(stimulus.items, counts.tolist(), strict=True)) for counts in taken]


def pulses(bits, stimulus):
    """Cycles of each window in which a port of a bit is 1."""
    return [[cycle for cycle in range(WINDOW) if bits[edge + cycle] == "1"] for edge in stimulus.edges[:-1]]


def test_a_queue_starts_what_is_counted(tmp_path):
    bits, stimulus, _ = run("sequencer", tmp_path)
    starts = pulses(bits["start"], stimulus)
    assert [len(cycles) for cycles in starts] == [entry["instructions"] for entry in stimulus.instructions]
    assert len(starts[0]) == 0 and 30 < len(starts[1]) < len(starts[2]) < len(starts[3])
    # Every instruction that starts ends in its window, posts to an engine, and takes one semaphore.
    for port in ("start", "post"):
        assert sum("1" in row for row in bits[port]) == sum(map(len, starts))
    assert sum(row.count("1") for row in bits["posted"]) == sum(map(len, starts))
    # The shortest time from one start to the next: an instruction of a cycle, then its decoding.
    assert min(np.diff(starts[3])) == 1 + sequencer.DECODE


def test_instructions_of_recorded_spikes_last_as_long_as_their_events():
    found = queued.lengths(np.random.default_rng(0), "digits", 50)
    words = queued.recorded.spikes()[queued.CENTRE].reshape(4, 4, 16).sum(axis=-1)  # step, word
    assert found[:2].tolist() == [np.maximum(1, words[first : first + 2]).sum() for first in (0, 2)] and found.min() >= 8


def test_planes_are_those_of_their_sums(tmp_path):
    bits, stimulus, taken = run("planes", tmp_path)
    fields = PLANES_INSTRUCTION.unpack(stimulus.levels["fields"])
    rows = stimulus.items["read__data"]
    assert [entry["read__data"] for entry in taken] == [entry["granules"] for entry in stimulus.instructions]
    assert [len(items) for items in rows[1:]] == [entry["granules"] for entry in stimulus.instructions] and len(rows[4]) > 400
    whole = queued.PLANES * queued.BLOCKS  # the blocks of an instruction are read again for each plane
    for first in range(0, len(rows[2]), whole):
        assert rows[2][first : first + whole] == queued.PLANES * rows[2][first : first + queued.BLOCKS]
    for index, edge in enumerate(stimulus.edges[:-1], 1):
        cycles = range(edge, edge + WINDOW)
        found = [int(bits["o__payload"][cycle], 2) & 3 for cycle in cycles if bits["o__valid"][cycle] == "1"]
        wanted = []
        for number, row in enumerate(rows[index]):
            plane = queued.PLANES - 1 - number // queued.BLOCKS % queued.PLANES
            sums = [(row >> 12 * place & 4095 ^ 2048) - 2048 for place in range(2)]
            values = [plane_value(value, fields["right_shift"], queued.PLANES) for value in sums]
            wanted.append(sum((value >> plane & 1) << place for place, value in enumerate(values)))
        assert found == wanted


@pytest.mark.parametrize("unit", ["attention_control", "attention_softmax", "normaliser_control", "experts_control"])
def test_instructions_end_in_their_room(unit, tmp_path):
    bits, stimulus, taken = run(unit, tmp_path)
    starts, ends = pulses(bits["start"], stimulus), pulses(bits["done"], stimulus)
    assert not starts[0] and not ends[0] and not any(stimulus.instructions[0].values())
    for first, last in zip(starts[1:], ends[1:], strict=True):
        assert len(first) == len(last) >= 1
        # Each ends before the next is set up.
        assert all(end < start - 3 for end, start in zip(last, [*first[1:], WINDOW], strict=True))
    if unit == "normaliser_control":
        for index, entry in enumerate(taken):
            for name, items in stimulus.items.items():
                assert name == "write_table" or entry[name] == len(items[index + 1]), "rows that were read are those given"
    if unit == "experts_control":
        scores = [2 * tokens * -(-routing.EXPERTS // 2) for tokens, _ in routing.LOADS.values()]
        for entry, counts, own in zip(taken[1:], stimulus.instructions[1:], scores, strict=True):
            assert sum(entry.values()) - own == counts["flits"] - counts["choices"]  # requests read nothing


def test_counts_of_an_attention_unit_by_its_words():
    chip = parameters("attention_control")
    stimulus = attending.attended(chip)
    layout = spikes_write_layout(attending.AttentionParams(chip))
    banks = {}
    for item in stimulus.streams["write_spikes"][1][0]:
        fields = layout.unpack(item)
        banks[fields["bank"], fields["row"]] = fields["data"]
    for index, wanted in enumerate(stimulus.instructions):
        counts = dict.fromkeys(attending.NONE, 0)
        for cycle in range(stimulus.edges[index], stimulus.edges[index + 1]):
            if stimulus.level("start", cycle):
                _count(counts, stimulus.level("opcode", cycle), CONFIG.unpack(stimulus.level("config", cycle)), banks, chip)
        assert counts == wanted


def _count(counts, opcode, f, banks, chip):
    """Add what an instruction counts, place by place."""
    places = {
        ATTEND_KV: f["tokens"], ATTEND_Q: f["tile"], ATTEND_SCORES: f["tile"] * f["tokens"], ATTEND_GATE: f["tokens"],
    }[opcode]  # fmt: skip
    groups = {ATTEND_KV: 0, ATTEND_Q: f["tile"], ATTEND_SCORES: f["tile"], ATTEND_GATE: 1}[opcode]
    for step in range(f["steps"]):
        counts["walked"] += places
        counts["granules"] += groups * f["blocks"]
        if opcode in (ATTEND_KV, ATTEND_Q):
            base, bank = (f["k_base"], attending.K) if opcode == ATTEND_KV else (f["q_base"], attending.Q0)
            counts["channels"] += sum(banks[bank, base + token][step % chip.lanes].bit_count() for token in range(places))
        counts["scores"] += places if opcode == ATTEND_SCORES else 0
        counts["gates"] += places if opcode == ATTEND_GATE else 0
    rows = f["steps"] // f["lanes"] * f["tile"] if opcode == ATTEND_GATE else 0
    counts["walked"] += rows
    counts["gates"] += rows


def test_a_normaliser_gets_instructions_that_its_chip_can_do():
    chip = parameters("normaliser_control")
    stimulus = normalising.normalised(chip)
    for edge in stimulus.edges[1:-1]:
        norm, weigh = NORMALISE.unpack(stimulus.level("normalise", edge)), WEIGHT.unpack(stimulus.level("weigh", edge))
        check(norm, chip, weighs=False)
        check(weigh, chip, weighs=True)


def test_flits_of_experts_have_room():
    chip = parameters("experts_control")
    assert ExpertsParams(chip).routes.rows >= max(tokens for tokens, _ in routing.LOADS.values()) * routing.CHOICES


WHOLE = """
module top(input clk, input rst, input i, output o);
  wire middle; \\top.one one(.clk(clk), .rst(rst), .i(i), .o(middle)); \\top.two two(.clk(clk), .rst(rst), .i(middle), .o(o));
endmodule
module \\top.one (input clk, input rst, input i, output reg o);
  always @(posedge clk) if (rst) o <= 0; else o <= o ^ i;
endmodule
module \\top.two (input clk, input rst, input i, output reg o);
  reg held; always @(posedge clk) if (rst) {o, held} <= 0; else {o, held} <= {held & i, i};
endmodule
"""


def test_parts_of_a_whole_add_up(tmp_path):
    power = Power(Library(LIBERTY))
    level = [cycle // 3 % 2 for cycle in range(4 + WINDOW * len(WINDOWS))]
    stimulus = Stimulus(4, {"i": level}, {}, lambda taken: {})
    found = {}
    for part in (".*", "one", "two", "one|two"):
        folder = tmp_path / re.sub(r"\W", "_", part)
        folder.mkdir()
        found[part] = wholes.measured("top", part, WHOLE, stimulus, power, folder)
    one, two, both, whole = (found[part] for part in ("one", "two", "one|two", ".*"))
    assert (one["flip_flops"], two["flip_flops"], whole["flip_flops"]) == (1, 2, 3)
    for name in ("area_um2", "cells", "leakage_nw"):  # a leakage is rounded to 0.01 nW
        assert one[name] + two[name] == pytest.approx(both[name], abs=0.015) and both[name] > max(one[name], two[name]) > 0
    for first, second, all_of_it in zip(one["windows"], two["windows"], both["windows"], strict=True):
        for kind, value in all_of_it["pj"].items():
            assert first["pj"][kind] + second["pj"][kind] == pytest.approx(value, abs=1e-3) and value > 0
    # What the input of the whole switches is the whole's own, and in no part.
    assert whole["windows"][1]["pj"]["switching"] > both["windows"][1]["pj"]["switching"]
    assert one["critical_path_ns"] is None


def test_a_part_that_there_is_not_is_refused(tmp_path):
    stimulus = Stimulus(4, {"i": 0}, {}, lambda taken: {})
    with pytest.raises(ArchsimError, match="top: required modules like 'three', given one, two"):
        wholes.measured("top", "three", WHOLE, stimulus, Power(Library(LIBERTY)), tmp_path)


def test_a_key_has_the_part():
    stimulus = Stimulus(4, {"i": 0}, {}, lambda taken: {})
    assert len({key_of("", stimulus, "", part) for part in ("", "one", "two")}) == 3
