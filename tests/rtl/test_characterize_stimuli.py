"""Do stimuli of units with instructions and memory ports do what they say: reads answered, instructions ended in their window?"""

import dataclasses

import numpy as np
import pytest

from archsim.contracts import dma, spike_fetch
from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.layout import Layout
from archsim.contracts.vector import signed_digits
from rtl.build import verilog
from rtl.characterize import (
    attended,
    choices,
    derived,
    energy,
    gates,
    grid,
    moved,
    normalising,
    recorded,
    stimuli,
    transfers,
)
from rtl.characterize.__main__ import key_of, read
from rtl.characterize.gates import Netlist
from rtl.characterize.liberty import Power
from rtl.characterize.stimuli import RATES, RECORDED, RECORDED_BLOCKS, WINDOW, WINDOWS, Stimulus
from rtl.synthesis import cells
from rtl.synthesis.library import LIBERTY, Library
from rtl.units import multicast
from rtl.units.attention_popcount import pair_layout
from rtl.units.dma import TRANSFER, row_write_layout
from tests.rtl.test_characterize import CHAIN, IN, LIBRARY, OUT, toggling

RESULTS = gates.Path(__file__).parents[2] / "reports" / "characterisation" / "osu018_stdcells.jsonl"


def parameters(unit, **changes):
    """Parameters of a unit, or of a part, with these changes."""
    return grid.DESIGNS[unit].parameters({name: str(value) for name, value in changes.items()})


def measured(unit):
    """Results of a unit at 180 nm, each with its stimulus: all points of its grid."""
    rows = [row for row in read(RESULTS) if row["unit"] == unit]
    assert len(rows) == len(list(grid.GRIDS[unit].points()))
    return [(row, grid.GRIDS[unit].stimulus(parameters(unit, **row["parameters"]))) for row in rows]


def library(tmp_path, text):
    path = tmp_path / "tiny.lib"
    path.write_text(text)
    return Power(Library(path))


def test_a_table_may_be_negative_but_no_window(tmp_path):
    # The flip-flop's input gives energy back. Where it alone toggles (and no clock is connected), so does the whole window.
    power = library(tmp_path, LIBRARY.replace('power (by_slew) { index_1 ("0.1, 1"); values ("0.05, 1"); }',
                                              'power (by_slew) { index_1 ("0.1, 1"); values ("-0.05, 1"); }'))  # fmt: skip
    values = toggling(CHAIN.nets, 10, n3=1)
    found = energy.energy_pj(CHAIN, power, values)
    assert found["internal"] < 0 < found["switching"] + found["internal"] + found["clock"]
    unclocked = dataclasses.replace(CHAIN, cells=[("DFF", {"D": 3, "Q": OUT})], ports={})
    worse = library(tmp_path, LIBRARY.replace('values ("0.05, 1")', 'values ("-0.5, 1")'))
    with pytest.raises(ArchsimError, match="tiny: its tables give a window a negative energy: .*'internal': -0.5"):
        energy.energy_pj(unclocked, worse, values)


DESIGN = """
module top(input clk, input rst, input i, output reg o, output u);
  reg never; assign u = {}; always @(posedge clk) o <= ~i;
endmodule
"""


@pytest.mark.parametrize(("driver", "differs"), [("never", False), ("1'b1", True)])
def test_what_the_verilog_leaves_undefined_is_not_compared(driver, differs, tmp_path):
    power = library(tmp_path, LIBRARY)
    (tmp_path / "design.v").write_text(DESIGN.format(driver))
    netlist = Netlist(CHAIN.cells, CHAIN.ports | {"rst": ("input", [1]), "u": ("output", [IN])})
    netlist = dataclasses.replace(netlist, cells=[*CHAIN.cells])
    level = [cycle % 2 for cycle in range(4 + WINDOW * len(WINDOWS))]
    stimulus = Stimulus(4, {"i": level}, {}, lambda taken: {})
    if differs:
        with pytest.raises(ArchsimError, match="the netlist differs from the Verilog in .* bits, first in cycle"):
            gates.simulate("top", netlist, power, stimulus, tmp_path)
    else:
        assert len(gates.simulate("top", netlist, power, stimulus, tmp_path)) == len(WINDOWS)


def test_reads_are_answered_and_outputs_counted(tmp_path):
    power, chip = Power(Library(LIBERTY)), parameters("multicast", lanes=1, columns=4, neurons=4)
    cells.synthesise(verilog(grid.DESIGNS["multicast"].create(chip), "multicast"), "multicast", power.library, tmp_path)
    stimulus = dataclasses.replace(transfers.copied(chip), outputs=("write",))
    windows = gates.simulate("multicast", Netlist.read("multicast", tmp_path), power, stimulus, tmp_path)
    given, stored = stimulus.items["read__data"], multicast.row_write_layout(chip)
    for index, (name, window) in enumerate(zip(WINDOWS, windows, strict=True), 1):
        assert window.taken["read__data"] == given[index] and len(given[index]) == transfers.ROWS.get(name, 0)
        # Every row that was read is written, as it was and in its order.
        assert [stored.unpack(item)["data"] for item in window.taken["write"]] == given[index]
    assert sum(map(len, given)) > 4 * WINDOW // 2


def test_a_key_has_all_that_a_stimulus_is():
    stimulus = Stimulus(4, {"i": 0}, {}, lambda taken: {})
    changed = (
        {"answers": {"a": (["b"], [[1]])}}, {"outputs": ("o",)}, {"reset": 3}, {"counts": lambda taken: {"rows": 1}},
        {"instructions": ({"rows": 1},) * len(WINDOWS)},
    )  # fmt: skip
    keys = {key_of("", dataclasses.replace(stimulus, **change), "") for change in ({}, *changed)}
    assert len(keys) == 1 + len(changed)


def test_a_fetch_ends_in_its_window_and_gives_the_words_of_its_tile():
    for row, stimulus in measured("spike_fetch"):
        tiles = stimulus.levels["tile"]
        for index, window in enumerate(row["windows"][1:], 1):
            tile = Layout.of("tile", spike_fetch.TILE_FIELDS).unpack(tiles[stimulus.edges[index]])
            words = list(spike_fetch.reference(tile, row["parameters"]["word_bits"]))
            assert window["counts"]["words"] == len(words) <= moved.BUSY_CYCLES
            assert window["counts"]["groups"] == tile["out_height"] * moved.MAP
            assert tile["kernel_height"] == moved.KERNELS[window["rate"]]


def test_a_transfer_ends_in_its_window():
    for row, stimulus in measured("dma"):
        for index, window in enumerate(row["windows"][1:], 1):
            fields = TRANSFER.unpack(stimulus.levels["transfer"][stimulus.edges[index]])
            beats = fields["rows"] * dma.row_beats(fields["row_bytes"], row["parameters"]["dram_bus_bytes"])
            store = transfers.STORES[window["rate"]]
            seen = {name: window["counts"][name] for name in ("loaded", "sent", "rows")}
            expected = (0, beats, fields["rows"]) if store else (beats, 0, 0)
            assert seen == dict(zip(("loaded", "sent", "rows"), expected, strict=True))


def test_a_transfer_loads_the_spikes_of_its_window():
    chip = parameters("dma", lanes=4, columns=8, neurons=2, membrane_bits=12, dram_bus_bytes=16)
    beats = transfers.transferred(chip).items["beat"]
    assert row_write_layout(chip).by_name["data"].bits >= 32
    # A row of 4 bytes on a bus of 16: the others are 0.
    assert [len(items) for items in beats] == [0, 0, 0, 600, 400, 0] and max(beats[4]) < 1 << 32
    assert 0.45 < sum(item.bit_count() for item in beats[4]) / (400 * 32) < 0.55


def test_blocks_are_taken_when_the_verilog_took_them():
    for row, _ in measured("neuron"):
        params = parameters("neuron", **row["parameters"])
        windows = [window["counts"] for window in row["windows"]]
        taken = derived.accepted(params, stimuli.neurons(params))
        assert [int(window[:-1].sum()) for window in taken] == [counts["granules"] for counts in windows]
        runs = [counts["runs"] for counts in derived.blocks(params, windows)]
        # A block is followed by another with the chance of an offer, unless it ends its group of 16.
        chances = [*(1 - rate * 15 / 16 for rate in RATES), 1 - RECORDED_BLOCKS * 15 / 16]
        wanted = [counts["granules"] * chance for counts, chance in zip(windows, chances, strict=True)]
        assert runs == pytest.approx(wanted, rel=0.1)


def test_groups_with_a_spike_are_those_of_the_recorded_words():
    for row, _ in measured("synapse_array"):
        lanes, windows = row["parameters"]["lanes"], [window["counts"] for window in row["windows"]]
        found = [counts["busy_groups"] for counts in derived.busy_groups(parameters("synapse_array", **row["parameters"]), windows)]
        number = windows[-1]["groups"]  # of four words of 16 channels
        words = recorded.words(4 * number, lanes, 16).reshape(number, -1)
        assert found[-1] == int(words.any(axis=1).sum()) < 0.8 * number
        assert found[0] == 0 and found[2:4] == [counts["groups"] for counts in windows[2:4]]


def test_toggles_and_starts_of_loads_by_hand():
    chip = parameters("dma", lanes=4, columns=16, neurons=2, membrane_bits=12, dram_bus_bytes=4)  # two beats a row
    stimulus = transfers.transferred(chip)
    offers, items = stimulus.streams["beat"]
    nothing, _, loaded, _, stored = derived.loads(chip, [{"loaded": count} for count in (0, 0, 600, 400, 0)])
    assert nothing == stored == {"toggles": 0, "row_starts": 0}
    words = items[1 + WINDOWS.index(0.2)]
    toggles = np.unpackbits(np.array([0, *words], ">u4").view(np.uint8).reshape(-1, 4), axis=1)
    assert loaded["toggles"] == int((toggles[1:] != toggles[:-1]).sum())
    # A first beat never follows a first beat here: each of the 300 rows begins anew. On a bus of 8 bytes rows are beats.
    assert loaded["row_starts"] == 300
    wide = parameters("dma", lanes=4, columns=16, neurons=2, membrane_bits=12, dram_bus_bytes=8)
    (runs,) = (found["row_starts"] for found in derived.loads(wide, [{"loaded": 0}] * 2 + [{"loaded": 600}])[2:])
    begin = stimulus.edges[2]
    taken = transfers.transferred(wide).streams["beat"][0][begin : begin + WINDOW]
    assert runs == sum(now and not before for before, now in zip([False, *taken], taken, strict=False)) < 300


def test_counts_of_a_writer():
    params = parameters("spike_writer", neurons=2, lanes=4, blocks=4, rows=512)
    stimulus = moved.written(params)
    items = stimulus.items["i"]
    # 30 positions, 4 blocks, 4 steps; the spikes are the lowest two bits of a granule.
    assert [len(window) for window in items] == [0, 0, 480, 480, 480, 480]
    assert stimulus.counts({"i": [0b111, 0b100, 0b001]}) == {"granules": 3, "spikes": 3}
    assert [entry["pooled"] for entry in stimulus.instructions] == [0, 480, 0, 0, 480]
    assert sum(item >> params.neurons + 15 & 1 for item in items[2]) == 30  # one group a position


def test_counts_of_pairs():
    chip = parameters("attention_popcount", columns=8, neurons=2)
    layout = pair_layout(AttentionParams(chip))
    items = [layout.pack({"k": 3, "v": 0x80, "block": 1}), layout.pack({"k": 0, "v": 1, "last": 1})]
    # A word of K stays for 8 / 2 cycles; where P is M for one, in which nothing is selected.
    assert attended.paired(chip).counts({"i": items}) == {"pairs": 2, "selections": 8, "spikes": 4}
    whole = attended.paired(parameters("attention_popcount", columns=8, neurons=8))
    assert whole.counts({"i": items})["selections"] == 0


def test_counts_of_additions_to_count_rows():
    chip = parameters("attention_counts", columns=16, neurons=4, count_bits=8)
    stimulus = attended.counted(chip)
    layout, (first, end) = attended.event_layout(AttentionParams(chip)), stimulus.edges[2:4]
    rows = zip(stimulus.levels["valid"][first:end], stimulus.levels["event"][first:end], strict=True)
    events = [layout.unpack(event) for valid, event in rows if valid]
    # A block ends with the last event of its sixteenth word.
    blocks = sum(event["last"] for event in events)
    assert stimulus.instructions[2]["words"] // attended.TOKENS == blocks > 0
    assert stimulus.instructions[2] == {
        "words": stimulus.instructions[2]["words"], "empty_words": sum(event["channel"] == 0 for event in events),
        "channels": sum(event["channel"] != 0 for event in events),
        "additions": sum(sum(event["addends"]) for event in events),
    }  # fmt: skip
    for event in events:
        if event["channel"]:
            channel = event["channel"].bit_length() - 1
            assert event["row"] == 16 * event["block"] + channel
            head = channel // 8
            assert not any(event["addends"][8 * (1 - head) : 8 * (2 - head)])  # nothing outside of the channel's head


def test_counts_that_are_added_are_those_of_the_event():
    chip = parameters("attention_sums", columns=8, neurons=4, membrane_bits=12, count_bits=8)
    stimulus, bits = attended.summed(chip), 8
    array = AttentionParams(chip).array
    index = 1 + WINDOWS.index(0.5)
    events = [array.i.unpack(item) for item in stimulus.items["i"][index]]
    rows = stimulus.items["addends"][index]
    assert len(events) == len(rows) == WINDOW
    assert all(row == 0 for event, row in zip(events, rows, strict=True) if event["mask"] == 0)
    assert 0 < max(row >> bits * column & 255 for row in rows for column in range(8)) <= attended.TOKENS
    assert stimulus.counts({"i": [], "addends": [0x0100_0002]})["additions"] == 2


def test_a_group_of_the_attention_neurons_is_a_step():
    chip = parameters("attention_neurons", columns=16, neurons=4, membrane_bits=12)
    layout = attended.block_layout(AttentionParams(chip).neuron)
    for items in attended.fired(chip).items["i"][1:]:
        blocks = [layout.unpack(item) for item in items]
        assert [block["block"] for block in blocks] == [index % 4 for index in range(WINDOW)]
        assert all(block["last"] == (block["block"] == 3) and block["step"] == 0 for block in blocks)
        assert min(min(block["sums"]) for block in blocks) == 0 < max(max(block["sums"]) for block in blocks) < 1 << 11
    # The recorded sums of a step stand side by side: those of its four blocks, then the next step's.
    sums = [layout.unpack(item)["sums"] for item in attended.fired(chip).items["i"][-1]]
    found = np.rint(np.abs(recorded.sums(63 * 16, 4, 4, 4).reshape(-1, 4, 4, 4) * 256)).astype(int)
    places = [(position, block, step) for position in range(63) for step in range(4) for block in range(4)]
    assert sums == [found[place].tolist() for place in places[:WINDOW]]


def test_some_groups_of_the_attention_neurons_are_empty():
    shares = []
    for bits in (12, 24):
        chip = parameters("attention_neurons", columns=16, neurons=1, membrane_bits=bits)
        found = derived.attended_blocks(chip, [{"granules": count} for count in (0, 160, 160, 160, 160)])
        assert found[0] == {"busy": 0, "runs": 0}
        shares.append([counts["busy"] / 160 for counts in found[1:]])
        assert all(counts["busy"] % 16 == 0 for counts in found)  # whole groups, of 16 blocks
        # A part of a group: its blocks are busy or not as the group is.
        assert {counts["busy"] for counts in derived.attended_blocks(chip, [{"granules": 3}] * 5)[1:]} <= {0, 3}
    assert shares[0][0] == shares[1][2] == 1 and 0 < shares[0][2] < 0.7 and 0 < shares[1][0] < 0.7
    assert shares[0][3] == shares[1][3] < 1  # of recorded spikes


def test_counts_of_the_attention_neurons_are_those_of_the_verilog():
    for row, _ in measured("attention_neurons"):
        chip = parameters("attention_neurons", **row["parameters"])
        windows = [window["counts"] for window in row["windows"]]
        taken = derived.accepted(AttentionParams(chip).neuron, attended.fired(chip))
        assert [int(window[:-1].sum()) for window in taken] == [counts["granules"] for counts in windows]
        found = derived.attended_blocks(chip, windows)
        assert all(0 <= one["busy"] <= counts["granules"] >= one["runs"] for one, counts in zip(found, windows, strict=True))


def test_packets_of_wide_data_are_single_flits_of_recorded_words():
    for bits, packet in ((32, 4), (64, 4), (65, 1), (396, 1)):
        params = parameters("crossbar", ports=2, depth=1, data_bits=bits)
        flits = list(map(params.i.unpack, choices.packets(params).items["i__1"][-1]))
        assert [flit["last"] for flit in flits] == [int(number % packet == packet - 1) for number in range(WINDOW)]
        for number, word in enumerate(recorded.wide_words(WINDOW, bits)[:50]):
            assert format(flits[number]["data"], f"0{bits}b") == "".join("1" if bit else "0" for bit in word)


def test_something_moves_in_every_window_of_a_wide_crossbar():
    for row, _ in measured("crossbar"):
        if row["parameters"]["data_bits"] > choices.WIDE:
            flits = [window["counts"]["flits"] for window in row["windows"]]
            assert flits[0] == 0 and min(flits[1:]) > 30 * row["parameters"]["ports"], row["parameters"]


def test_a_softmax_has_a_block_whatever_the_neurons():
    for row, _ in measured("attention_softmax"):
        pairs = [window["counts"]["pairs"] for window in row["windows"][1:]]
        assert min(pairs) > 0 and all(window["counts"]["steps"] > 0 for window in row["windows"][1:]), row["parameters"]


def test_recorded_words_of_any_width():
    assert (recorded.wide_words(9, 24) == recorded.words(9, 1, 24)[:, 0]).all()
    words = recorded.words(12, 1, 64)[:, 0]
    for number, word in enumerate(recorded.wide_words(6, 100)):
        assert (word[:64] == words[2 * number]).all() and (word[64:] == words[2 * number + 1][:36]).all()


def test_elements_that_change_in_a_window_of_the_normaliser():
    chip = parameters("normaliser_control", neurons=2, membrane_bits=16)
    norm, weighed = normalising.rows_read(chip)
    answers = normalising.normalised(chip).answers
    for index in range(len(WINDOWS)):
        words = [items[index + 1] for _, items in answers.values()]
        assert sorted([*norm[index], *weighed[index]]) == sorted(word for one in words for word in one)
        found = 0
        for rows in (norm[index], weighed[index]):
            halves = np.array([[0, 0], *([row & 0xFFFF, row >> 16] for row in rows)])
            found += int(np.count_nonzero(np.diff(halves, axis=0)))
        assert derived.changed(chip, [{}] * len(WINDOWS))[index] == {"changes": found}
    # Of WEIGH each token: its scores twice, then the rows of its result.
    weigh = normalising._weigh(chip, normalising.ROOMS[0.5][1] - normalising.LEAD)
    scores, size = answers["read_residual__1__data"][1][4], 2 * weigh["blocks"]
    assert weighed[3][:size] == scores[:size] and weighed[3][size + weigh["rows"] :][:size] == scores[size : 2 * size]
    assert scores[: weigh["blocks"]] == scores[weigh["blocks"] : size]


def test_counts_of_a_scaled_row():
    params = parameters("vector", elements=2, membrane_bits=12, operand_bits=8, sum_bits=20, table_bits=8)
    stimulus = grid.GRIDS["vector"].stimulus(params)
    row = params.i.pack({"x": [5, 0], "constant": [7, 3], "bias": [0, 0]})
    assert signed_digits(7) == {0: -1, 3: 1}
    assert stimulus.counts({"i": [row]}) == {"rows": 1, "additions": 2}  # nothing is added for the element that is 0
    assert stimulus.counts({"i": []}) == {"rows": 0, "additions": 0}
    zeros = {
        window: np.mean([x == 0 for item in stimulus.items["i"][1 + index] for x in params.i.unpack(item)["x"]])
        for index, window in enumerate(WINDOWS)
    }
    assert 0.45 < zeros[0.05] < 0.55 and 0.2 < zeros[0.2] < 0.3 and zeros[0.5] < 0.05 and zeros[RECORDED] > 0.2
