"""Is a chip refused that is written wrongly, or that a layer does not fit? The message names file and key, or layer and buffer."""

import re
from pathlib import Path

import pytest

PRESETS = Path(__file__).parents[2] / "archsim" / "presets"


@pytest.fixture
def chip_file(copy):
    """Writes small.yaml with other values beside the workload; returns its path."""

    def write(text="", **changes):
        content = (PRESETS / "small.yaml").read_text()
        for key, value in changes.items():
            content, count = re.subn(rf"(?m)^( *{key}: *)\S+", rf"\g<1>{value}", content)
            assert count == 1, key
        place = copy.workload.with_name("chip.yaml")
        place.write_text(content + text)
        return place

    return write


# ---- written wrongly


def test_unknown_preset(refused):
    assert "chip 'smal': required a preset's name or a YAML file, given neither; did you mean 'small'?" in refused(
        "--chip", "smal"
    )


def test_unknown_preset_in_the_workload(copy, refused):
    copy.replace("chip: adders_128", "chip: adder_128")
    message = refused()
    assert "spikingformer.yaml:8:7: chip: required a preset's name or a YAML file, given 'adder_128'" in message
    assert "did you mean 'adders_128'?" in message


def test_several_errors_in_one_go(chip_file, refused):
    """An unknown key, a duplicate, a wrong type, a value out of range, each with its place, in the order of the file."""
    message = refused("--chip", chip_file("wieght_bits: 8\nlanes: 2\n", cores=64, param_rows="many"))
    places = re.findall(r"chip\.yaml:(\d+):(\d+): (\S+): required", message)
    assert [(line, key) for line, _, key in places] == [
        ("7", "cores"), ("14", "param_rows"), ("31", "wieght_bits"), ("32", "lanes"),
    ]  # fmt: skip
    assert "cores: required an integer in 1..32, given 64; number of cores" in message
    assert "param_rows: required an integer in 1..1024, given 'many'" in message
    assert "wieght_bits: required a known key, given 'wieght_bits'; did you mean 'weight_bits'?" in message
    assert "lanes: required once, given again (first in line 8); remove one" in message


def test_relations_point_at_their_key(chip_file, refused):
    message = refused("--chip", chip_file(neurons_per_cycle=5))
    assert "chip.yaml:10:20: neurons_per_cycle: " in message
    assert "must divide columns, given 5 and 16" in message


def test_a_chip_file_that_is_no_yaml(chip_file, refused):
    assert re.search(r"chip\.yaml:\d+:\d+: required YAML, given something else", refused("--chip", chip_file("a: [")))


# ---- too small for a layer

BUFFERS = [
    # Maps that do not fit pass through DRAM; what the classifier reads does not.
    ("spike_in", {"spike_in_bank_kib": 0.05}, "head",
     "its input map 'head.input' needs 48 rows of one spike_in bank, but a bank of chip 'small' has 25"),
    # A pooled position reads 5 x 5 pixels of 8 planes.
    ("spike_in image", {"spike_in_bank_kib": 0.2}, "patch_embed.proj_conv", "needs 200 rows of spike_in, but chip 'small' has 102"),
    # A row of 4 pooled positions x 4 steps of a word; 20 bytes are 10 rows of 16 spikes.
    ("spike_out", {"spike_out_bank_kib": 0.02}, "patch_embed.proj_conv", "rows of spike_out, but chip 'small' has 10"),
    # 16 tokens x 4 steps x 64 channels / 4 per row = 1024 rows in one core, 512 in each of two.
    ("residual", {"residual_kib": 3}, "patch_embed.proj1_conv", "needs 512 rows of residual, but chip 'small' has 256"),
    ("weight", {"weight_bank_kib": 0.1}, "patch_embed.proj1_conv",
     "needs 48 weight rows, but a weight bank of chip 'small' gives 6"),
    ("param", {"param_rows": 2}, "patch_embed.proj_conv", "needs 4 rows of param, but chip 'small' has 2"),
    ("reduce", {"reduce_rows": 2}, "block.1.mlp.mlp2_conv", "rows of reduce, but chip 'small' has 2"),
    ("attention", {"attention_bank_kib": 0.25}, "block.0.attn", "needs 256 rows of attention, but chip 'small' has 128"),
    ("psum", {"weight_bank_kib": 1, "psum_kib": 0.1}, "patch_embed.proj1_conv", "rows of psum, but chip 'small' has 8"),
    # 4 columns after the pool x 4 steps.
    ("pool_rows", {"pool_rows": 15}, "patch_embed.proj_conv", "needs 16 rows of pool lines, but chip 'small' has 15"),
    ("pool_steps", {"pool_steps": 3}, "patch_embed.proj_conv", "needs 4 rows of pool columns, but chip 'small' has 3"),
]  # fmt: skip


@pytest.mark.parametrize("changes, layer, text", [case[1:] for case in BUFFERS], ids=[case[0] for case in BUFFERS])
def test_a_layer_that_does_not_fit(chip_file, refused, changes, layer, text):
    message = refused("--chip", chip_file(**changes))
    assert f"layer '{layer}': " in message
    assert text in message
    assert "; use a chip with" in message


def test_a_queue_that_is_too_long(chip_file, refused):
    message = refused("--chip", chip_file(queue_rows=16))
    assert re.search(r"program: the queue of (dma|core 0|multicast) needs \d+ rows, but queue_rows is 16", message)
    assert "use a chip with longer queues or larger buffers" in message


@pytest.mark.parametrize("bits, layer, needed", [(12, "patch_embed.proj_conv", 18), (16, "patch_embed.proj_conv", 18)])
def test_membranes_that_could_overflow(chip_file, refused, bits, layer, needed):
    """9 weights of at most 127 and a plane operand of 8 bit: up to 9 x 127 x 128, 18 bits."""
    message = refused("--chip", chip_file(membrane_bits=bits))
    assert f"layer '{layer}': its accumulator can reach" in message
    assert int(re.search(r"which needs (\d+) bits", message).group(1)) <= needed
    assert f"but membrane_bits is {bits}; use a chip with wider membranes, fewer weight bits, or split" in message


@pytest.mark.parametrize(
    "name, layer", [("block.0.mlp.mlp2_conv.bias", "block.0.mlp.mlp2_conv"), ("head.bias", "head")]
)
def test_biases_that_could_overflow(copy, refused, name, layer):
    copy.arrays("weights.safetensors", lambda arrays: arrays[name].__imul__(1e6))
    message = refused()
    assert f"layer '{layer}': its " in message
    assert re.search(r"can reach \d+, which needs \d\d bits, but membrane_bits is 24", message)


def test_membrane_bits_beside_weight_bits(chip_file, refused):
    message = refused("--chip", chip_file(membrane_bits=8))
    assert "chip.yaml:12:16: membrane_bits: " in message
    assert "must be more than weight_bits, given 8 and 8" in message
