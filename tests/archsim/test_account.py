"""Does `archsim account` give the published figures from the published rates, and refuse what is not published?"""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from archsim.account import define, figures, report, show
from archsim.account.formula import ACCUMULATE, MULTIPLY, same_rate
from archsim.account.quoted import reductions
from archsim.account.report import GROUPS, MULTIPLIED
from archsim.cli import app
from archsim.contracts.common.errors import ArchsimError
from archsim.energy import COMPONENTS
from archsim.summary import summarise
from archsim.workload import SIZES as SIZES_BY_FAMILY
from tests.mapping.test_networks import SIZES

ROOT = Path(__file__).parents[2]
WORKLOADS = (
    "spikformer_imagenet", "meta_spikeformer_imagenet", "spike_driven_transformer_imagenet", "spiking_moe_imagenet",
    "masked_spiking_transformer_cifar10", "spiking_mlp_imagenet",
)  # fmt: skip

# Of the official energy logs of Spikingformer: G MAC, G AC, mJ; parameters; dense operations and accumulates of some layers.
LOGS = {
    "8-512": (347_329_512, 6.51754094, 7.4635, 29_705_768), "8-768": (520_993_768, 12.51365958, 13.6589, 66_363_208),
}  # fmt: skip
LAYERS = {
    "8-512": {
        "patch_embed.proj_conv": (346_816_512, 346_816_512), "patch_embed.proj1_conv": (3_699_376_128, 955_595_335),
        "patch_embed.proj4_conv": (1_849_688_064, 239_640_649), "block.0.attn.q_conv": (205_520_896, 36_294_116),
        "block.0.attn.proj_conv": (205_922_304, 61_324_280), "block.0.mlp.mlp1_conv": (823_689_216, 220_482_576),
        "block.7.mlp.mlp2_conv": (822_484_992, 11_324_371), "head": (513_000, 513_000),
    },
    "8-768": {
        "patch_embed.proj_conv": (520_224_768, 520_224_768), "block.0.attn.v_conv": (462_422_016, 68_201_345),
        "block.1.mlp.mlp2_conv": (1_850_290_176, 33_789_012), "head": (769_000, 769_000),
    },
}  # fmt: skip


@pytest.fixture
def sized(tmp_path):
    """A workload file of a published size."""

    def write(family, size, rates=None):
        path = tmp_path / "w.yaml"
        lines = f"name: w\nnetwork: {{family: {family}, size: {size}}}\n"
        path.write_text(lines + (f"rates: {ROOT / 'workloads/rates' / rates}\n" if rates else ""))
        return path

    return write


@pytest.mark.parametrize("size", LOGS)
def test_spikingformer_as_its_log_prints_it(sized, size):
    """All printed digits but the last of the accumulates: rates of q, k and v are published with three decimals only."""
    account = report(sized("spikingformer", size, "spikingformer.yaml"), run=False)
    macs, giga, energy, parameters = LOGS[size]
    assert (account["macs"], account["parameters"]) == (macs, parameters)
    assert f"{account['formula_energy_mj']:.4f}" == f"{energy:.4f}"
    # Half a unit of the third decimal of two rates in each of 8 blocks; a product takes T heads N d^2 for each.
    heads, width = (8, 64) if size == "8-512" else (12, 64)
    assert abs(account["acs"] - giga * 1e9) <= 8 * 2 * 0.5e-5 * 4 * heads * 196 * width**2
    assert abs(account["acs"] - giga * 1e9) < 600


@pytest.mark.parametrize("size", LAYERS)
def test_layers_of_the_log(sized, size):
    definition = define(sized("spikingformer", size, "spikingformer.yaml"))
    rows = {row.layer: (row.dense, round(row.count)) for row in figures(definition, definition.rates).rows}
    assert {name: rows[name] for name in LAYERS[size]} == LAYERS[size]


def test_the_attention_by_hand(sized):
    """Block 0 of 8-512: 4 * 8 * 196 * 64^2 * (min(3.626 %, 6.958 %) + 17.23 %)."""
    definition = define(sized("spikingformer", "8-512", "spikingformer.yaml"))
    row = next(row for row in figures(definition, definition.rates).rows if row.layer == "block.0.attn")
    assert row.kind == ACCUMULATE
    assert row.count == pytest.approx(4 * 8 * 196 * 64**2 * 0.20856)


def test_the_log_of_the_largest_assumes_twelve_heads(sized):
    """With the network's own eight heads of 96 the attention takes half as much again: 17.5 M accumulates more."""
    path = sized("spikingformer", "8-768", "spikingformer.yaml")
    definition = define(path)
    own, logged = (figures(definition, definition.rates, heads).total(ACCUMULATE) for heads in (None, 12))
    assert round((own - logged) / 1e6, 1) == 17.5
    assert report(path, run=False)["logged_heads"] == 12


def test_reductions_are_of_quoted_figures():
    assert [line[:6] for line in reductions("spikingformer", "8-512")] == ["60.36%", "35.58%"]
    assert [line[:6] for line in reductions("spikingformer", "8-768")] == ["57.34%", "36.31%"]
    assert [line[:6] for line in reductions("spikingformer", "8-384")] == ["62.27%"]
    assert reductions("spikformer", "8-512") == reductions("spikingformer", None) == []


@pytest.mark.parametrize("size", SIZES)
def test_dense_operations(sized, size):
    account = report(sized("spikingformer", size), run=False)
    assert (account["parameters"], round(account["dense_macs"] / 1e6)) == SIZES[size]


def test_dense_operations_of_merged_chains():
    account = report(ROOT / "workloads/meta_spikeformer_imagenet.yaml", run=False)
    assert [round(count / 1e6) for count in account["dense_macs_variants"].values()] == [24_699, 37_796]


@pytest.mark.parametrize("name", WORKLOADS)
def test_without_rates_operations_are_refused_or_a_range(name):
    path = ROOT / f"workloads/{name}.yaml"
    account = report(path, run=False)
    assert account["acs"] is account["formula_energy_mj"] is None
    assert "assume a range with --rate LOW HIGH" in account["refused"]
    low, high = report(path, run=False, rate=(0.1, 0.2))["acs"]
    definition = define(path)
    assert (low, high) == tuple(
        round(figures(definition, same_rate(definition, rate)).total(ACCUMULATE)) for rate in (0.1, 0.2)
    )
    assert 0 < low < high


def test_integers_count_as_often_as_their_spikes():
    """The q of block 1 reads four spike maps: at a rate of 10 % its mean is 0.4."""
    definition = define(ROOT / "workloads/spikformer_imagenet.yaml")
    rows = {row.layer: row for row in figures(definition, same_rate(definition, 0.1)).rows}
    assert rows["block.1.attn.q_conv"].mean == pytest.approx(0.4)
    assert rows["block.1.attn.proj_conv"].mean == pytest.approx(0.1)


def test_masks_drop_scores():
    """Scores of 75 % masked spikes count a quarter; the product with v multiplies real numbers."""
    definition = define(ROOT / "workloads/masked_spiking_transformer_cifar10.yaml")
    rows = [
        row for row in figures(definition, same_rate(definition, 0.2)).rows if row.layer == "layers.0.blocks.0.attn"
    ]
    assert [(row.kind, row.mean) for row in rows] == [(ACCUMULATE, pytest.approx(0.05)), (MULTIPLY, 1.0)]


def test_a_trained_network_has_the_rates_of_its_recording():
    """Pooled where the reader finds a pool; 8 x 8 pixels, T = 4; the manifest counts the parameters."""
    definition = define(ROOT / "workloads/spikingformer.yaml")
    manifest = json.loads((ROOT / "workloads/artefacts/spikingformer_digits/manifest.json").read_text())
    assert sum(definition.parameters.values()) == manifest["parameters"]
    assert set(definition.rates) == {name for name in manifest["traces"]["shapes"] if name.endswith("_lif")}
    rows = {row.layer: row for row in figures(definition, definition.rates).rows}
    assert rows["head"].dense == definition.network.layers[-1].weight.size + 10


def test_the_groups_hold_every_component_once():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMPONENTS)


def test_chip_beside_formula(monkeypatch, result):
    """On the hand-worked run: the parts add up to the whole on both sides, and the table shows both."""
    monkeypatch.setattr("archsim.simulate.run", lambda *_, **__: result)
    account = report(ROOT / "workloads/spikingformer.yaml", chip="small")
    assert account["chip_energy_mj"] == summarise(result)["energy_uj"]["total"] / 1e3 > 0
    assert sum(account["chip_groups"].values()) == pytest.approx(account["chip_energy_mj"])
    assert sum(account["formula_groups"].values()) == pytest.approx(account["formula_energy_mj"])
    console = Console(record=True, width=120, file=io.StringIO())
    show(account, console)
    text = console.export_text()
    assert f"small: {account['chip_energy_mj']:.4f} mJ, modelled at 45 nm" in text
    assert "SYNTHETIC" not in text
    show(report(ROOT / "workloads/spikingformer_imagenet.yaml"), console)
    assert "SYNTHETIC: random weights, spikes drawn independently at the rates" in console.export_text()
    assert [f" {group} " in text for group in (*GROUPS, MULTIPLIED)] == [True] * (len(GROUPS) + 1)


def test_what_the_chip_refuses_is_named(sized):
    account = report(sized("spiking_moe", "8-768-e4"))  # on the default chip
    assert account["chip_energy_mj"] is None
    wanted = "layer 'block.0.mlp': experts need an expert engine, but chip 'adders_128' has a crossbar_depth of 0"
    assert account["chip_refused"] == wanted


@pytest.mark.parametrize("rate", [(0.3, 0.2), (-0.1, 0.2), (0.1, 1.5)])
def test_bad_range(rate):
    with pytest.raises(ArchsimError, match="--rate: required 0 <= LOW <= HIGH <= 1, given"):
        report(ROOT / "workloads/spikformer_imagenet.yaml", run=False, rate=rate)


def test_a_map_without_a_rate(sized, tmp_path):
    (tmp_path / "rates.yaml").write_text("8-512: {patch_embed.proj1_lif: 10}\n")
    path = sized("spikingformer", "8-512")
    path.write_text(path.read_text() + "rates: rates.yaml\n")
    with pytest.raises(ArchsimError, match="rates: required that of map 'patch_embed.proj2_lif'"):
        report(path, run=False)


def test_command():
    path = str(ROOT / "workloads/spikingformer_imagenet.yaml")
    printed = json.loads(CliRunner().invoke(app, ["account", path, "--no-chip", "--json"]).stdout)
    assert {"parameters", "macs", "acs", "formula_energy_mj", "chip_energy_mj"} <= set(printed)
    text = CliRunner().invoke(app, ["account", path, "--no-chip"]).stdout
    assert "0.347329512 G MAC" in text
    assert "7.4635 mJ" in text
    assert "60.36%" in text


def test_every_size_is_listed():
    """The table marks what is inferred; the JSON list has the figures."""
    listed = json.loads(CliRunner().invoke(app, ["networks", "--json"]).stdout)
    found = {(row["family"], row["size"]): row for row in listed}
    assert len(found) == len(listed) == sum(len(members) for members in SIZES_BY_FAMILY.values())
    largest = found["spike_driven_transformer", "8-768"]
    assert (largest["parameters"], largest["dense_macs"], largest["timesteps"]) == (66_339_144, 18_511_331_328, 4)
    text = CliRunner().invoke(app, ["networks"]).stdout
    assert "15M*" in text
    assert "* mlp-spe-b of spiking_mlp: its dimension and depths are not published" in text
    assert "8-512*" not in text


def test_assumed_rates_say_so():
    path = str(ROOT / "workloads/spiking_moe_imagenet.yaml")
    text = CliRunner().invoke(app, ["account", path, "--no-chip", "--rate", "0.1", "0.2"]).stdout
    assert text.count("ASSUMED") == 2
    assert "inspired by SpikingMoE" in text
    assert (
        json.loads(CliRunner().invoke(app, ["account", path, "--no-chip", "--rate", "0.1", "0.2", "--json"]).stdout)[
            "rates"
        ]
        == "assumed"
    )
