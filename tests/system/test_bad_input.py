"""Is bad input refused? One message with place, required, given and remedy; exit status 2; no traceback; no file written."""

import shutil

import numpy as np
import pytest

import archsim
from archsim.contracts.common.errors import ArchsimError
from mapping import program

WEIGHTS, TRACES, TEST = "weights.safetensors", "traces.npz", "test.npz"


def test_the_copy_itself_runs(copy):
    """What the other tests break is whole."""
    assert archsim.run(copy.workload, images=2).accuracy is not None


# ---- workload file


def test_unknown_key(copy, refused):
    copy.replace("images: 32", "imagse: 32")
    message = refused()
    assert "spikingformer.yaml:10:1: imagse: required a known key" in message
    assert "did you mean 'images'?" in message


def test_wrong_type(copy, refused):
    copy.replace("images: 32", "images: many")
    assert (
        "spikingformer.yaml:10:9: images: required an integer of at least 1, given 'many'; number of images"
        in refused()
    )


def test_several_errors_at_once(copy, refused):
    copy.replace("mode: execute", "mode: guess")
    copy.replace("images: 32", "images: 0")
    message = refused()
    assert "spikingformer.yaml:9:7: mode: required one of execute, trace, given 'guess'" in message
    assert "spikingformer.yaml:10:9: images: required an integer of at least 1, given 0" in message


def test_missing_workload(copy, refused):
    copy.workload.unlink()
    assert "spikingformer.yaml: required a file, given a path where there is none; check the name" in refused()


def test_missing_artefact_folder(copy, refused):
    copy.replace("artefact: artefacts/spikingformer_digits", "artefact: artefacts/other")
    message = refused()
    assert "spikingformer.yaml:7:13: network.artefact: required an existing folder" in message
    assert "artefacts/other" in message
    assert "correct the path" in message


def test_wrong_family(copy, refused):
    copy.replace("family: spikingformer", "family: resnet")
    message = refused()
    assert "spikingformer.yaml:6:11: network.family: required one of spikingformer, spikformer, " in message
    assert "given 'resnet'" in message


def test_masks_of_a_network_without_any(copy, refused):
    copy.replace("family: spikingformer", "family: spikingformer\n  masked: 0.5")
    message = refused()
    assert "spikingformer.yaml:7:11: network.masked: required only for a trained masked_spiking_transformer" in message
    assert "given 0.5 for another network; remove it" in message


def test_a_share_of_masks_beyond_all(copy, refused):
    copy.replace("family: spikingformer", "family: spikingformer\n  masked: 1.5")
    assert "network.masked: required" in refused()


def test_unknown_claim(copy, refused):
    copy.replace("claims: spike-driven", "claims: neuromorphic")
    assert "claims: required one of addition-only, spike-driven, integer-by-binary" in refused()


def test_artefact_of_another_family(copy, refused):
    copy.manifest(lambda manifest: manifest.update(family="sdt"))
    message = refused()
    assert "network.family: required 'sdt', the family of" in message
    assert "given 'spikingformer'" in message


def test_more_images_than_there_are(copy, refused):
    message = refused("--images", 361)
    assert "images: required 1..360, the test images of" in message
    assert "given 361" in message


def test_no_image_through_the_library(copy):
    with pytest.raises(ArchsimError, match=r"images: required 1\.\.360.*given 0"):
        archsim.run(copy.workload, images=0)


# ---- artefact files


@pytest.mark.parametrize("name", ["manifest.json", WEIGHTS, TRACES, TEST])
def test_missing_file(copy, refused, name):
    (copy.folder / name).unlink()
    message = refused()
    assert f"spikingformer_digits/{name}: required" in message
    assert "cannot be read: No such file" in message


@pytest.mark.parametrize("name", [WEIGHTS, TRACES, TEST])
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damaged_file(copy, refused, name, damage):
    data = bytearray((copy.folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy.folder / name).write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    message = refused()
    assert f"{name}: required sha256" in message
    assert "as manifest.json says, given" in message
    assert "truncated, corrupt or of another network: restore it" in message


@pytest.mark.parametrize("name", [WEIGHTS, TRACES, TEST])
@pytest.mark.parametrize("length", [0, 5, 300, -100])
def test_truncated_file_with_its_own_hash(copy, refused, name, length):
    data = (copy.folder / name).read_bytes()
    (copy.folder / name).write_bytes(data[:length])
    copy.rehash(name)
    message = refused()
    assert f"{name}: required" in message
    assert "given one that cannot be read" in message


def test_corrupt_bytes_of_an_archive_with_their_own_hash(copy, refused):
    data = bytearray((copy.folder / TEST).read_bytes())
    for place in range(200, 5000, 97):
        data[place] ^= 0xFF
    (copy.folder / TEST).write_bytes(data)
    copy.rehash(TEST)
    assert f"{TEST}: required an npz archive, given one that cannot be read" in refused()


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3", "null"])
def test_manifest_that_is_none(copy, refused, text):
    (copy.folder / "manifest.json").write_text(text)
    assert "spikingformer_digits/manifest.json: " in refused()


# ---- weights


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(copy, refused, value):
    copy.arrays(WEIGHTS, lambda arrays: arrays["block.1.mlp.mlp1_conv.weight"][3].fill(value))
    message = refused()
    assert f"{WEIGHTS}: 'block.1.mlp.mlp1_conv.weight': required finite numbers, given 64 NaN or infinite" in message
    assert "train or export again" in message


def test_tensor_of_another_shape(copy, refused):
    name = "block.0.attn.q_conv.weight"
    copy.arrays(WEIGHTS, lambda arrays: arrays.update({name: arrays[name][:, :32].copy()}))
    message = refused()
    assert (
        f"{WEIGHTS}: '{name}': required shape (64, 64, 1), given (64, 32, 1); do manifest and weights match?" in message
    )


def test_missing_tensor(copy, refused):
    copy.arrays(WEIGHTS, lambda arrays: arrays.pop("block.1.attn.v_bn.running_var"))
    message = refused()
    assert f"{WEIGHTS}: required tensor 'block.1.attn.v_bn.running_var' of shape (64,)" in message
    assert "the file has none of that name" in message


def test_negative_variance(copy, refused):
    copy.arrays(WEIGHTS, lambda arrays: arrays["block.0.attn.k_bn.running_var"].fill(-1))
    assert "'block.0.attn.k_bn.running_var': required 0 or more, given -1.0" in refused()


@pytest.mark.parametrize("name", ["patch_embed.proj_conv", "block.0.mlp.mlp1_conv", "block.0.mlp.mlp2_conv", "head"])
@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("value", [3e38, 0.0])
def test_absurd_weights_end_in_a_message_or_a_result(copy, name, part, value):
    """Finite, but as no training leaves them: nothing overflows on the way to the proof that refuses them."""
    copy.arrays(WEIGHTS, lambda arrays: arrays[f"{name}.{part}"].fill(value) if f"{name}.{part}" in arrays else None)
    try:
        archsim.run(copy.workload, images=1)
    except ArchsimError as error:
        assert f"layer '{name}': its " in str(error)
        assert "bits, but membrane_bits is 24; use a chip with wider membranes" in str(error)


# ---- traces


def test_trace_of_other_weights(copy, refused):
    other = copy.folder.parent / "other"
    shutil.copytree(copy.folder, other)
    copy.arrays(WEIGHTS, lambda arrays: arrays["head.bias"].fill(0))
    copy.replace("mode: execute", "mode: trace\ntrace: artefacts/other")
    message = refused()
    assert "artefacts/other: required a trace recorded from the weights of" in message
    assert "sha256 differs" in message
    assert "record it again" in message


def test_trace_without_a_layer(copy, refused):
    copy.arrays(TRACES, lambda arrays: arrays.pop("block.1.attn.q_lif"))
    message = refused()
    assert f"{TRACES}: required the recording of 'block.1.attn.q_lif', but the trace has ['block.0" in message
    assert "is it the trace of this network?" in message


def test_trace_of_another_shape(copy, refused):
    """Half the tokens, and the manifest says so: it belongs to another network."""
    name = "block.1.attn.q_lif"
    copy.arrays(TRACES, lambda arrays: arrays.update({name: arrays[name][:, :, :8].copy()}))
    copy.manifest(lambda manifest: manifest["traces"]["shapes"].update({name: [32, 4, 8, 64]}))
    message = refused()
    assert (
        "spikes of 'block.1.attn.q_lif': required shape (4, 16, 64) (steps, positions, channels), given (4, 8, 64)"
        in message
    )
    assert "is it the trace of this network?" in message


def test_trace_of_another_shape_than_its_manifest(copy, refused):
    name = "block.1.attn.q_lif"
    copy.arrays(TRACES, lambda arrays: arrays.update({name: arrays[name][:, :, :8].copy()}))
    message = refused()
    assert f"{TRACES}: '{name}': required packed shape for [32, 4, 16, 64] in uint8, given (32, 4, 8, 8)" in message


def test_pooled_layer_of_another_shape(copy, refused):
    name = "patch_embed.proj1_lif"
    copy.arrays(TRACES, lambda arrays: arrays.update({name: arrays[name][:, :, :16].copy()}))
    copy.manifest(lambda manifest: manifest["traces"]["shapes"].update({name: [32, 4, 16, 32]}))
    message = refused()
    assert "spikes of 'patch_embed.proj1_lif': required" in message
    assert "(4, 16, 32)" in message


def test_trace_mode_beyond_the_recording(copy, refused):
    copy.replace("mode: execute", "mode: trace\ntrace: artefacts/spikingformer_digits")
    message = refused("--images", 33)
    assert f"{TRACES}: required image 32, but only 32 images were recorded; use --images 32" in message


# ---- program files


@pytest.fixture
def program_file(mapped, tmp_path):
    place = tmp_path / "program.safetensors"
    program.write(mapped("small").program, place)
    return place


@pytest.mark.parametrize("length", [0, 7, 200, -1])
def test_truncated_program(program_file, length):
    program_file.write_bytes(program_file.read_bytes()[:length])
    with pytest.raises(
        ArchsimError, match=r"program\.safetensors: required a program file, given one that cannot be read"
    ):
        program.read(program_file)


def test_missing_program(tmp_path):
    with pytest.raises(ArchsimError, match="required a program file, given one that cannot be read"):
        program.read(tmp_path / "none")


def test_weights_are_no_program(copy):
    with pytest.raises(ArchsimError, match="required chip, notes and queues of a program.*map the network again"):
        program.read(copy.folder / WEIGHTS)


@pytest.mark.parametrize(
    "old, new", [(b"archsim program", b"archsim pr_gram"), (b"queue.00", b"queue.no"), (b"cores", b"corse")]
)
def test_program_without_its_parts(program_file, old, new):
    program_file.write_bytes(program_file.read_bytes().replace(old, new, 1))
    with pytest.raises(ArchsimError, match="required chip, notes and queues of a program.*map the network again"):
        program.read(program_file)
