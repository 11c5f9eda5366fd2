"""Do the scripts about published sizes say what a size does, on a tiny size in their place?"""

import argparse
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from archsim import simulate, workload
from archsim.config import load_chip
from archsim.contracts.common.errors import ArchsimError
from archsim.tensors import from_words
from archsim.workload import SIZES
from cosim import sample
from mapping.ir import Map
from mapping.networks import spikformer, spiking_mlp, spiking_moe, spikingformer
from mapping.networks.weights import Shapes
from mapping.operators import require_mapped
from mapping.pad import padded
from mapping.quantise import Precision
from mapping.schedule import require_room
from mapping.skeleton import skeleton
from scripts import bandwidth, compare, published

STAGES = ("block0", "block1", "block2", "block3", "block4")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """A size of 32 channels, one block and 8 x 8 pixels."""
    own = spikingformer._published("tiny", 8, STAGES, 3, 32, 1, 2, 10)
    other = spikformer.Spikformer("tiny", Map(8, 8, 3), (4, 8, 16), (False, False, True, True), 32, 1, 2, 10)
    mixing = spiking_mlp.SpikingMlp("tiny", 12, (1, 1), classes=10, image=Map(32, 32, 3))
    experts = spiking_moe.SpikingMoe("tiny", Map(16, 16, 3), 2, 32, 1, 10, mlp_ratio=1.0, steps=(4, 1, 2))
    tiny = (("spikingformer", own), ("spikformer", other), ("spiking_mlp", mixing), ("spiking_moe", experts))
    for family, size in tiny:
        monkeypatch.setitem(SIZES, family, {**SIZES[family], "tiny": size})


def test_a_size_that_runs(tmp_path):
    row = published.measure("spikingformer", "tiny", "small", 0.1, False)
    given, source = published.rates("spikingformer", "tiny", 0.1)
    assert source == row["rates"] == "ASSUMED 0.1" and set(given.values()) == {0.1}
    result = simulate.run(published.workload(tmp_path, "spikingformer", "tiny", given), "small")
    assert row["cycles"] == result.images[0].cycles and row["peak_gb"] > 0.05
    assert result.spikes == "SYNTHETIC spikes, drawn independently"
    line = published.text("spikingformer", "tiny", "small", row)
    assert f"{row['cycles']:,}" in line and line.endswith("ASSUMED 0.1")


def test_published_rates_are_taken_where_there_are_some():
    given, source = published.rates("spikingformer", "8-512", 0.1)
    assert source == "published" and given["block.0.attn.q_lif"] == pytest.approx(0.1723)


def test_a_size_that_only_maps():
    row = published.measure("spikformer", "tiny", "small", 0.1, True)
    assert "maps: " in published.text("spikformer", "tiny", "small", row) and row["instructions"] > 100


def test_a_size_of_which_instructions_are_sampled(monkeypatch):
    """The comparison itself is that of `archsim cosim --sample`; here its sums are told."""
    comparison = SimpleNamespace(compared={"starts": 5, "rows": 37}, differing={"starts": 0, "rows": 2})
    given = []
    monkeypatch.setattr(sample, "sample", lambda *values: given.append(values) or SimpleNamespace(comparison=comparison))
    row = published.measure("spikformer", "tiny", "small", 0.1, False, 7)
    assert given[0][1:] == (7, 1) and given[0][0].config.name == "spikformer_tiny"
    assert published.text("spikformer", "tiny", "small", row).endswith("sampled: 42 values compared with the Verilog, 2 differ")


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"spike_in_rows": 60}, "layer 'patch_embed.block0_conv': needs 72 rows of spike_in"),
        ({"spike_in_rows": 300, "reduce_rows": 3}, "layer 'block.0.mlp.mlp2_conv': needs 4 rows of reduce"),
        ({"spike_in_rows": 300, "attention_rows": 15}, "layer 'block.0.attn': needs .* rows of attention"),
    ],
)
def test_what_has_no_room_is_refused_before_weights_are_drawn(tmp_path, monkeypatch, changes, refused):
    monkeypatch.setattr(workload, "RandomWeights", lambda seed: pytest.fail("drawn"))
    given, _ = published.rates("spikingformer", "tiny", 0.1)
    path = published.workload(tmp_path, "spikingformer", "tiny", given)
    with pytest.raises(ArchsimError, match=refused):
        simulate.load(path, load_chip("small").replace(**changes))


def test_what_no_chip_runs_is_refused_once_by_layer_and_operator(monkeypatch):
    def refuse(network):
        raise ArchsimError("layer 'norm': not mapped yet: a layer norm")

    monkeypatch.setattr(published, "require_mapped", refuse)
    arguments = argparse.Namespace(family="masked_spiking_transformer", size="imagenet", chip=None)
    ((family, size, chip, row),) = published.rows(arguments)
    assert (family, size, chip) == ("masked_spiking_transformer", "imagenet", "every chip")
    assert "layer 'norm': not mapped yet: a layer norm" in published.text(family, size, chip, row)


def test_independent_spikes_are_drawn_as_ever(tmp_path):
    """Column by column, 16 random bits a spike."""
    given, _ = published.rates("spikingformer", "tiny", 0.1)
    mapped = simulate.load(published.workload(tmp_path, "spikingformer", "tiny", given), "small")
    shape = mapped.program.notes["tensors"]["patch_embed.block1_lif"]
    draws, threshold = np.random.default_rng([1, 1, 0]), round(0.1 * 65536)
    assert list(mapped.program.notes["tensors"])[0] == "patch_embed.block1_lif" and shape["channels"] == 4
    size = (64, 4, 1, 1)
    expected = sum((draws.integers(0, 65536, size, np.uint16) < threshold) * (1 << column) for column in range(4))
    assert (mapped.words(0)["patch_embed.block1_lif"] == expected).all()


EXPERTS = {"residual_maximum": 1, "dispatch_membranes": 1, "normaliser_operand_bits": 10, "pool_rows": 64}
"""What a chip with an expert engine needs besides for the published form of experts."""


@pytest.mark.parametrize("spike_in_rows", [200, 1 << 14])
def test_experts_of_the_published_form_run_from_drawn_spikes(tmp_path, spike_in_rows):
    """What their slots hold is drawn by nobody: it follows from the scores, as in mode execute, whose run equals the reference."""
    given, _ = published.rates("spiking_moe", "tiny", 0.2)
    chip = load_chip("small_experts").replace(**EXPERTS, spike_in_rows=spike_in_rows, residual_rows=1 << 13)
    path = published.workload(tmp_path, "spiking_moe", "tiny", given, {"images": 1})
    ran = simulate.run(path, chip)
    assert ran.program.notes["streamed"] == (spike_in_rows < 1 << 14)
    computed = {name for name, shape in ran.program.notes["tensors"].items() if shape.get("computed")}
    assert {f"block.0.mlp.{expert}.hidden" for expert in range(3)} <= computed
    assert ran.images[0].loads[max(ran.images[0].loads)][:, 0].sum() == 16
    executed = simulate.run(path, chip, mode="execute", check=True)
    assert executed.check.differing == {"spikes": 0, "membranes": 0, "logits": 0}


@pytest.mark.parametrize("size", spiking_moe.PUBLISHED)
def test_every_published_size_with_experts_has_room_on_its_preset(size):
    network = spiking_moe.PUBLISHED[size].network(Shapes())
    chip = load_chip("adders_512_experts")
    require_room(padded(skeleton(network, Precision(8, 8, 9, 24)), chip.columns), chip)


@pytest.mark.parametrize(
    ("name", "spike_in_rows"), [("small_complete", 200), ("small_t4", 200), ("small_complete", 1 << 14), ("small_t4", 1 << 14)]
)
def test_spikes_of_turned_maps_and_of_several_nodes_are_drawn_by_the_maps_of_the_definition(tmp_path, name, spike_in_rows):
    """8 x 8 positions of 12 channels, then 4 x 4 of three nodes of 8, of which first one, then another, then all fire."""
    given, _ = published.rates("spiking_mlp", "tiny", 0.1)
    given["token_mix.0.proj_h_lif"] = 0.6
    chip = load_chip(name).replace(spike_in_rows=spike_in_rows, spike_out_rows=1024, residual_rows=1 << 13, transposer=1)
    path = published.workload(tmp_path, "spiking_mlp", "tiny", given)
    mapped = simulate.load(path, chip)
    words, streamed = mapped.words(0), mapped.program.notes["streamed"]
    assert streamed == (spike_in_rows < 1 << 14) and simulate.run(path, chip).images[0].cycles > 0
    turned = from_words(chip, words["token_mix.0.proj_h_lif by height"], 4, 8).reshape(4, 8, 12, 8)
    assert turned.mean() == pytest.approx(0.6, abs=0.05)
    assert ("token_mix.0.proj_h_lif" in words) == streamed
    if streamed:
        back = from_words(chip, words["token_mix.0.proj_h_lif"], 4, 12).reshape(4, 8, 8, 12)
        assert (turned == back.transpose(0, 2, 3, 1)).all()
    for layer, fires in (("h.0", range(8)), ("h.1", range(8, 16)), ("h", range(24))):
        spikes = from_words(chip, words[f"to_patch_embedding.1.{layer}"], 4, 24)
        assert set(np.flatnonzero(spikes.any((0, 1)))) == set(fires)


def test_clustered_spikes_are_another_draw_of_the_same_rates(tmp_path):
    given, _ = published.rates("spikingformer", "tiny", 0.2)
    like = {"spikes_like": str(compare.ARTEFACTS / "spikingformer_digits")}
    path = published.workload(tmp_path, "spikingformer", "tiny", given, like)
    first, again = simulate.run(path, "small"), simulate.run(path, "small")
    assert first.spikes.endswith("as in spikingformer_digits")
    assert (first.images[0].records == again.images[0].records).all()
    assert first.images[0].cycles != published.measure("spikingformer", "tiny", "small", 0.2, False)["cycles"]


def test_a_wider_bus_takes_no_longer(tmp_path):
    """The causes of a width, additions among them, add up to all slots."""
    given, _ = published.rates("spikingformer", "tiny", 0.2)
    found = bandwidth.sweep(published.workload(tmp_path, "spikingformer", "tiny", given), "small", [4, 16])
    assert found[4]["cycles"] > found[16]["cycles"]
    lines = bandwidth.table(found)
    first = next(number for number, line in enumerate(lines) if line.startswith("additions done"))
    for column in (0, 1):
        shares = [float(line.split("%")[column].split()[-1]) for line in lines[first:]]
        assert sum(shares) == pytest.approx(100, abs=0.1)


def test_comparison(tmp_path, monkeypatch, capsys):
    """A verdict that differs between the draws is undecided; every group of the energy is in the total."""
    monkeypatch.setattr(
        "sys.argv",
        ["compare", "--size", "tiny", "--chip", "small", "--rates", "0.1", "--figure", str(tmp_path / "figure.svg")],
    )
    compare.main()
    printed = capsys.readouterr().out
    assert "SYNTHETIC" in printed and "Spikformer ASSUMED 0.1: Spikingformer takes" in printed
    assert "<svg" in (tmp_path / "figure.svg").read_text()
    own = compare.Row("spikingformer", "published", "independent", 1.0, {"adders": 2.0}, 10, "a", 0.0)
    other = replace(own, family="spikformer", rates="ASSUMED 0.1", formula_mj=2.0, groups_mj={"adders": 2.5}, bound="b")
    rows = [own, replace(own, drawn="clustered"), other, replace(other, drawn="clustered")]
    assert compare.verdicts(rows) == [
        "Spikformer ASSUMED 0.1: Spikingformer takes 50.0% less by the formulas; energy on the chip 20.0% less (independent) / "
        "20.0% less (clustered); cycles 0.0% more (independent) / 0.0% more (clustered)"
    ]
    rows[3] = replace(rows[3], groups_mj={"adders": 1.5}, bound="c")
    assert [line.split(": ")[1] for line in compare.verdicts(rows)[1:]] == [
        "which of the two takes less energy", "what Spikformer loses most to"
    ]  # fmt: skip


def test_other_time_steps(monkeypatch):
    family = "masked_spiking_transformer"
    monkeypatch.setitem(SIZES, family, dict(SIZES[family]))
    assert {size.network(Shapes()).timesteps for size in SIZES[family].values()} == {128}
    published.vary(family, 4)
    assert {size.network(Shapes()).timesteps for size in SIZES[family].values()} == {4}
    require_mapped(SIZES[family]["imagenet"].network(Shapes()))


def test_a_size_whose_run_is_compared_with_the_reference():
    """64 positions of 4 channels and so on: 4 steps of all maps and membranes, and ten logits."""
    row = published.measure("spikformer", "tiny", "small", 0.1, False, check=True)
    assert row["checked"] > 4 * 64 * 4 and row["differing"] == 0
    line = published.text("spikformer", "tiny", "small", row)
    assert line.endswith(f"checked: {row['checked']:,} values compared with the integer reference, 0 differ")


def test_a_kept_report_is_priced_by_the_model_as_it_is_now(tmp_path, monkeypatch):
    """Nothing is run for it; the same model gives the same row, a dearer DRAM a dearer one."""
    row = published.measure("spikformer", "tiny", "small", 0.1, keep=tmp_path)
    monkeypatch.setattr(simulate, "run", lambda *_: pytest.fail("run"))
    ((family, size, chip, again),) = published.priced(tmp_path)
    assert (family, size, chip) == ("spikformer", "tiny", "small")
    assert again.pop("energy_uj") == pytest.approx(row["energy_uj"], rel=1e-12)
    assert again.pop("range_uj") == pytest.approx(row["range_uj"], rel=1e-12)
    assert again == {key: value for key, value in row.items() if key not in ("energy_uj", "range_uj")}
    real = published.energy_pj
    monkeypatch.setattr(published, "energy_pj", lambda *given: {name: 2 * value for name, value in real(*given).items()})
    ((*_, dearer),) = published.priced(tmp_path)
    assert dearer["energy_uj"] == pytest.approx(2 * row["energy_uj"], rel=1e-12)
    monkeypatch.setattr(published, "COUNTERS", published.COUNTERS[1:])  # a report of another version has others
    with pytest.raises(ArchsimError, match=r"tiny.small.json: required the counters of this version"):
        list(published.priced(tmp_path))


@pytest.mark.parametrize(
    ("given", "said"), [(["--priced", "{}"], "required reports that --keep has written"), (["--keep", "{}", "--map"], "--keep: ")]
)
def test_reports_that_are_not_there_and_runs_that_make_none_are_refused(tmp_path, monkeypatch, capsys, given, said):
    monkeypatch.setattr("sys.argv", ["published", *(word.format(tmp_path) for word in given)])
    with pytest.raises(SystemExit, match="2"):
        published.main()
    assert said in capsys.readouterr().err
