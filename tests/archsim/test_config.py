"""Are configuration files read as written, and all their errors found, with file, line and column?"""

import json
from dataclasses import MISSING, fields
from importlib.resources import files
from pathlib import Path

import pytest

from archsim.config import ChipConfig, chip_names, json_schema, load_chip, load_workload, read_chip
from archsim.config.yaml_source import parse_yaml
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError

SMALL = files("archsim.presets").joinpath("small.yaml").read_text(encoding="utf-8")

WORKLOAD = """\
name: digits
network:
  family: spikingformer
  artefact: trained
chip: small
images: 2
"""


def errors_of(path: Path, load=load_chip) -> list[str]:
    """Lines of the error that ``load`` raises, the file's name removed."""
    with pytest.raises(ArchsimError) as caught:
        load(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def changed(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """The preset `small` with texts replaced, as a file."""
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "chip.yaml"
    path.write_text(text)
    return path


def line_of(key: str) -> int:
    """Line of a key in the preset `small`."""
    return next(number for number, line in enumerate(SMALL.splitlines(), 1) if line.strip().startswith(f"{key}:"))


# ------------------------------------------------------------------------------ presets


@pytest.mark.parametrize(
    "name, adders, mhz",
    [
        ("small", 32, 100),
        ("small_t4", 128, 100),
        ("small_experts", 64, 100),
        ("small_complete", 32, 100),
        ("small_normaliser", 32, 100),
        ("adders_128", 128, 500),
        ("adders_512", 512, 500),
        ("adders_512_experts", 512, 500),
        ("adders_512_half", 512, 500),
        ("adders_512_masked", 512, 500),
        ("adders_512_maximum", 512, 500),
        ("adders_512_t4", 512, 500),
        ("adders_512_transposer", 512, 500),
        ("scale_out", 2048, 500),
    ],
)
def test_presets(name, adders, mhz):
    chip = load_chip(name)
    assert (chip.name, chip.adders, chip.clock_mhz, chip.membrane_bits) == (name, adders, mhz, 24)


def test_every_preset_is_listed_and_every_value_is_commented():
    assert len(chip_names()) == 14
    for name in chip_names():
        for line in files("archsim.presets").joinpath(f"{name}.yaml").read_text().splitlines():
            inside_dram = line.startswith("  ")
            plain = line.startswith(("#", "name:", "description:"))
            assert plain or inside_dram or "#" in line, (name, line)


def data_kib(name: str) -> float:
    """KiB of weights, residual, partial sums and spikes of a preset, all cores and the attention unit."""
    chip: ChipConfig = read_chip(name).config
    core = (
        2 * (chip.weight_bank_kib + chip.spike_in_bank_kib + chip.spike_out_bank_kib)
        + chip.residual_kib
        + chip.psum_kib
    )
    return chip.cores * core + 6 * chip.attention_bank_kib


def test_memory_of_the_512_adder_presets():
    # 512 of weights, 1280 of residual and partial sums, 384 of spikes; same with 4 lanes; half: 512
    assert {data_kib(f"adders_512{kind}") for kind in ("", "_t4", "_transposer", "_maximum")} == {512 + 1280 + 384}
    assert 511 <= data_kib("adders_512_half") <= 512


@pytest.mark.parametrize("name", ["small", "small_t4", "adders_128"])
def test_presets_hold_the_digits_network(name):
    # D = 64, T = 4, 16 tokens, hidden 256, 64 pixels in 8 planes, 32 x 9 rows of the second convolution
    chip = load_chip(name)
    slices = chip.slices(4)
    assert chip.weight_rows >= 288
    assert chip.spike_in_rows >= max(64 * 8, 16 * slices * 256 // chip.columns)
    assert chip.residual_rows >= 16 * 4 * 64 // chip.neurons
    assert chip.attention_rows >= 16 * slices * 64 // chip.columns
    assert chip.count_rows >= 4 * 64


def test_what_a_chip_file_may_leave_out_is_the_same_for_files_and_parameters():
    given = {field.name: field.default for field in fields(ChipParams) if field.default is not MISSING}
    assert given.keys() >= {"pool_steps", "pool_rows", "crossbar_depth", "route_rows", "transposer", "masker", "softmax_tokens"}
    assert given.pop("energy_laws") == 1 and ChipConfig.model_fields["energy_provider"].default == "laws"
    assert given["normaliser_operand_bits"] == 0
    assert given == {name: ChipConfig.model_fields[name].default for name in given}
    assert given["crossbar_depth"] == given["transposer"] == given["masker"] == given["softmax_tokens"] == 0  # nothing of it


def test_rows_follow_from_row_widths():
    chip = load_chip("small_t4")
    assert chip.weight_rows == 8 * 1024 * 8 // (16 * 8)
    assert chip.spike_in_rows == 8 * 1024 * 8 // (4 * 16)
    assert chip.residual_rows == 12 * 1024 * 8 // (4 * 24)


# ------------------------------------------------------------------------------ errors


def test_all_errors_of_a_file_at_once(tmp_path):
    path = changed(
        tmp_path, ("columns:", "colums:"), ("cores: 2", 'cores: "2"'), ("lanes: 1 ", "lanes: 17 "),
        ("  latency_cycles: 20\n", ""), ("weight_bits: 8 ", "weight_bits: yes "),
        ("technology_nm: 45", "technology_nm: 28"),
    )  # fmt: skip
    errors = errors_of(path)
    text = "\n".join(errors)
    assert len(errors) == 7
    assert f"{line_of('columns')}:1: colums: required a known key, given 'colums'; did you mean 'columns'?" in errors
    assert f"{line_of('cores')}:8: cores: required an integer in 1..32, given '2'; number of cores" in errors
    assert f"{line_of('lanes')}:8: lanes: required an integer in 1..16, given 17; " in text
    assert "columns: required an integer in 2..64, given nothing; adders per lane and core" in text
    assert "dram.latency_cycles: required an integer in 0..4095, given nothing; " in text
    assert "weight_bits: required an integer in 2..8, given 'yes'; " in text
    assert "technology_nm: required 45, given 28; " in text
    assert [int(error.split(":")[0]) for error in errors] == sorted(int(error.split(":")[0]) for error in errors)


def test_duplicate_keys_are_refused_with_both_places(tmp_path):
    path = changed(tmp_path, ("  burst_bytes: 32\n", "  burst_bytes: 32\n  burst_bytes: 64\n"))
    line = line_of("burst_bytes")
    assert errors_of(path) == [
        f"{line + 1}:3: dram.burst_bytes: required once, given again (first in line {line}); remove one"
    ]


@pytest.mark.parametrize(
    "old, new, key, text",
    [
        ("neurons_per_cycle: 4", "neurons_per_cycle: 5", "neurons_per_cycle",
         "neurons must divide columns, given 5 and 16"),
        ("burst_bytes: 32", "burst_bytes: 33", "burst_bytes",
         "must be a multiple of dram_bus_bytes (8), given 33"),
        ("weight_bank_kib: 8 ", "weight_bank_kib: 9000 ", "weight_bank_kib",
         "weight_rows must be an integer in 2..16384"),
        ("residual_kib: 12", "residual_kib: 0.01", "residual_kib", "residual_rows must be an integer in 2.."),
        ("membrane_bits: 24", "membrane_bits: 8 ", "membrane_bits",
         "must be more than weight_bits, given 8 and 8"),
        ("queue_rows: 1024", "dispatch_membranes: 1\nqueue_rows: 1024", "queue_rows",
         "dispatch_membranes must be 0 on a chip without an expert engine (crossbar_depth 0), given 1"),
        ("queue_rows:", "normaliser_operand_bits: 1\nqueue_rows:", "queue_rows",
         "normaliser_operand_bits: normaliser: vector unit: operand_bits must be in 2..24 for membranes of 24 bits, given 1"),
        ("queue_rows:", "normaliser_operand_bits: 25\nqueue_rows:", "queue_rows", "required an integer in 0..24, given 25"),
    ],
)  # fmt: skip
def test_relations_are_reported_at_their_key(tmp_path, old, new, key, text):
    (error,) = errors_of(changed(tmp_path, (old, new)))
    assert error.startswith(f"{line_of(key)}:")
    assert text in error


@pytest.mark.parametrize(
    "text, error",
    [
        ("cores: [1, 2\n", "required YAML, given something else"),
        ("- 1\n", "required a mapping (`key: value` lines), given a list"),
        ("", "given an empty file"),
        ("a: &x {b: *x}\n", "an alias of something that contains it"),
        ("3\n", "given a single value"),
        ("a: 1\n--- \nb: 2\n", "required YAML"),
    ],
)
def test_what_is_no_mapping(text, error):
    with pytest.raises(ArchsimError, match="^file.yaml") as caught:
        parse_yaml(text, "file.yaml")
    assert error in str(caught.value)


def test_unknown_chip_names_the_nearest():
    with pytest.raises(ArchsimError, match="did you mean 'adders_512'"):
        load_chip("adders_51")
    with pytest.raises(ArchsimError, match="known are adders_128"):
        load_chip("zzz")


def test_unreadable_file(tmp_path):
    path = tmp_path / "chip.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArchsimError, match="required a readable UTF-8 file"):
        load_chip(path)


# ------------------------------------------------------------------------------ workloads


def workload(tmp_path: Path, text: str = WORKLOAD) -> Path:
    (tmp_path / "trained").mkdir(exist_ok=True)
    path = tmp_path / "workload.yaml"
    path.write_text(text)
    return path


def test_workload(tmp_path):
    config = load_workload(workload(tmp_path))
    assert (config.name, config.chip, config.images, config.mode) == ("digits", "small", 2, "execute")
    assert config.artefact == tmp_path / "trained"
    assert (config.operand_bits.image, config.operand_bits.head) == (8, 12)
    assert config.trace_path is None


def test_chip_file_beside_the_workload(tmp_path):
    changed(tmp_path, ("name: small", "name: mine"))
    assert load_workload(workload(tmp_path, WORKLOAD.replace("chip: small", "chip: chip.yaml"))).chip == "chip.yaml"
    changed(tmp_path, ("cores: 2", "cores: 0"))
    with pytest.raises(ArchsimError, match=r"chip.yaml:\d+:8: cores: required an integer in 1..32, given 0"):
        load_workload(workload(tmp_path, WORKLOAD.replace("chip: small", "chip: chip.yaml")))


def test_what_a_workload_names_must_be_there(tmp_path):
    text = WORKLOAD.replace("trained", "missing").replace("chip: small", "chip: smal") + "trace: nowhere\n"
    errors = errors_of(workload(tmp_path, text), load_workload)
    assert [error.split(" ")[0:2] for error in errors] == [
        ["4:13:", "network.artefact:"], ["5:7:", "chip:"], ["7:8:", "trace:"],
    ]  # fmt: skip
    assert "did you mean 'small'?" in errors[1]


def test_mode_trace_needs_a_trace(tmp_path):
    (error,) = errors_of(workload(tmp_path, WORKLOAD + "mode: trace\n"), load_workload)
    assert error.startswith("7:7: mode: required a `trace:` key")


def test_unknown_family(tmp_path):
    (error,) = errors_of(workload(tmp_path, WORKLOAD.replace("spikingformer", "resnet")), load_workload)
    assert error.startswith("3:11: network.family: required one of spikingformer, spikformer, meta_spikeformer, ")
    assert "given 'resnet'" in error


# ------------------------------------------------------------------------------ schema


@pytest.mark.parametrize("kind", ["chip", "workload"])
def test_schema_describes_every_key(kind):
    schema = json_schema(kind)
    json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert all("description" in part for part in schema["properties"].values())
