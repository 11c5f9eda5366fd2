"""Does any key or array of an artefact escape its check? Each taken away, replaced by another type, or misshapen, one by one."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from archsim.contracts.common.errors import ArchsimError
from mapping.importers import artefact, spikingformer
from mapping.quantise import Precision, quantise

FOLDER = Path(__file__).parents[2] / "workloads" / "artefacts" / "spikingformer_digits"
WEIGHTS, TRACES, TEST = "weights.safetensors", "traces.npz", "test.npz"
UNREAD = {
    "name", "paper", "command", "parameters", "schema_version", "training", "versions", "firing_rates", "correct", "total",
    "train", "val", "formula", "source", "split_counts", "split_seed", "layout", "packing", "kind", "bias", "reset",
    "attention_threshold", "stem_channels", "logits",
}  # fmt: skip
"""Keys, at any depth, that are for people: without them an artefact is whole."""


def _paths(value, path=()):
    """Every path in a JSON value, to mappings and lists too; of lists of numbers, only the list."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _paths(inner, (*path, index))


def _read_paths():
    """Paths that something reads: of alike entries (traces.shapes, lif) only some."""
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    for path in _paths(manifest):
        unread = not UNREAD.isdisjoint(path) or path[0] == "data" and path[-1] in ("name", "images")
        alike = (
            len(path) > 1
            and path[0] in ("traces", "lif")
            and str(path[-1 if path[0] == "traces" else 1]).startswith("block.1")
        )
        if not unread and not alike and path != ("hyperparameters", "attention_scale"):
            yield path


def _at(manifest, path):
    for key in path[:-1]:
        manifest = manifest[key]
    return manifest


def _import(folder):
    """What a run does with an artefact before it maps it, and with each recording."""
    trained = artefact.load(folder)
    network = spikingformer.read(trained)
    for layer in network.layers:
        if getattr(layer, "spikes", None):
            trained.spikes(layer.spikes, 0)
    trained.normalised()
    return quantise(network, Precision())


@pytest.mark.parametrize("path", list(_read_paths()), ids=lambda path: ".".join(map(str, path)))
def test_manifest_key_missing_or_of_another_type(copy, path):
    """Missing, a list, a number, a text, a negative one: refused with the file's name, or as good as before."""
    original = (copy.folder / "manifest.json").read_text()
    for number, wrong in enumerate([None, [], "x", -7, 0.5, {}, True, float("nan")]):
        (copy.folder / "manifest.json").write_text(original)
        if number:
            copy.manifest(lambda manifest, wrong=wrong: _at(manifest, path).__setitem__(path[-1], wrong))
        else:
            copy.manifest(lambda manifest: _at(manifest, path).__delitem__(path[-1]))
        try:
            _import(copy.folder)
        except ArchsimError as error:
            assert "required" in str(error) or " need a map of " in str(error), error
        else:
            assert number, f"{path} can be left out"


@pytest.mark.parametrize(
    "path", [("family",), ("lif", "block.0.attn.q_lif", "tau"), ("tokenizer", 1, "stride"), ("sha256", TEST)]
)
def test_the_message_names_the_key(copy, refused, path):
    copy.manifest(lambda manifest: _at(manifest, path).pop(path[-1]))
    message = refused()
    assert "spikingformer_digits/manifest.json: " in message
    assert str(path[-1]) in message
    assert "required a" in message
    assert "given nothing; export the network again" in message


def test_a_wrong_type_shows_what_was_given(copy, refused):
    copy.manifest(lambda manifest: manifest["data"]["normalisation"].update(std=0))
    assert "manifest.json: data.normalisation.std: required a finite number above 0, given 0; export" in refused()


def test_recordings_of_another_number_of_images(copy, refused):
    copy.manifest(lambda manifest: manifest["traces"].update(images=31))
    message = refused()
    assert re.search(
        r"manifest\.json: traces\.shapes\['.*'\]: required 31 images as traces\.images says, given 32", message
    )


def test_several_keys_in_one_go(copy, refused):
    copy.manifest(lambda manifest: manifest["data"]["normalisation"].clear())
    assert refused().count("data.normalisation.") == 3


@pytest.mark.parametrize("tau, v_reset, decay", [(1.5, 0.0, True), (2.0, -1.0, True), (2.0, 0.0, False)])
def test_other_neurons_are_refused(copy, refused, tau, v_reset, decay):
    node = {"tau": tau, "v_reset": v_reset, "decay_input": decay}
    copy.manifest(lambda manifest: manifest["lif"]["block.0.mlp.mlp1_lif"].update(node))
    message = refused()
    assert "manifest.json: lif['block.0.mlp.mlp1_lif']: required tau 2, decaying input and hard reset to 0" in message
    assert "train with such neurons" in message


def test_other_pools_are_refused(copy):
    copy.manifest(lambda manifest: manifest["tokenizer"][1]["pool"].update(kernel=2))
    with pytest.raises(
        ArchsimError, match=r"tokenizer\[1\].pool: required 3x3 with stride 2 and padding 1, .* given .*; train with"
    ):
        _import(copy.folder)


@pytest.mark.parametrize("name", sorted(set(np.load(FOLDER / TRACES).files) - {"logits"}))
def test_recording_missing_or_misshapen(copy, name):
    changes = [
        lambda arrays: arrays.pop(name),
        lambda arrays: arrays.update({name: arrays[name][:1]}),
        lambda arrays: arrays.update({name: arrays[name][..., :1].copy()}),
        lambda arrays: arrays.update({name: arrays[name].astype(np.int64)}),
    ]
    original = (copy.folder / TRACES).read_bytes()
    for change in changes:
        (copy.folder / TRACES).write_bytes(original)
        copy.arrays(TRACES, change)
        with pytest.raises(ArchsimError, match=rf"traces\.npz: .*'{name}'.*(match|network)\?"):
            _import(copy.folder)


def test_recorded_values_that_are_not_finite(copy, refused):
    copy.arrays(TRACES, lambda arrays: arrays["head.input"].fill(np.nan))
    assert "traces.npz: 'head.input': required finite numbers, given NaN or infinite ones" in refused()


@pytest.mark.parametrize("name", ["images", "labels"])
def test_test_set_missing_or_misshapen(copy, name):
    changes = [
        lambda arrays: arrays.pop(name),
        lambda arrays: arrays.update({name: arrays[name][:7]}),
        lambda arrays: arrays.update({name: arrays[name][:0]}),
        lambda arrays: arrays.update({name: arrays[name].astype(np.float64)}),
        lambda arrays: arrays.update({name: arrays[name].reshape(-1, 2)}),
    ]
    original = (copy.folder / TEST).read_bytes()
    for change in changes:
        (copy.folder / TEST).write_bytes(original)
        copy.arrays(TEST, change)
        with pytest.raises(ArchsimError, match=r"test\.npz: .*(required).*given"):
            _import(copy.folder)


def test_images_of_another_size(copy, refused):
    copy.arrays(TEST, lambda arrays: arrays.update(images=arrays["images"][:, :4]))
    message = refused()
    assert (
        "test.npz: 'images': required 1 channel(s) of 8 x 8 pixels as manifest.json says, given shape (360, 4, 8)"
        in message
    )
    assert "is it the test set of this network?" in message


@pytest.mark.parametrize(
    "name", [name for name in load_file(FOLDER / WEIGHTS) if "block.1" not in name and name.count("conv.bias") == 0]
)
def test_tensor_missing_or_misshapen(copy, name):
    changes = [
        lambda arrays: arrays.pop(name),
        lambda arrays: arrays.update({name: arrays[name][:-1]}),
        lambda arrays: arrays.update({name: arrays[name].reshape(-1, 1, 1, 1, 1)}),
        lambda arrays: arrays[name].fill(np.nan),
    ]
    original = (copy.folder / WEIGHTS).read_bytes()
    for change in changes:
        (copy.folder / WEIGHTS).write_bytes(original)
        copy.arrays(WEIGHTS, change)
        with pytest.raises(ArchsimError, match=rf"weights\.safetensors: .*'{name}'"):
            _import(copy.folder)


def test_a_trace_folder_is_checked_as_well(copy, refused):
    """The artefact is whole, but the recording of another folder lacks a neuron layer."""
    copy.replace("mode: execute", "mode: trace\ntrace: other")
    copy.workload.with_name("other").mkdir()
    assert "other/manifest.json: required the manifest of a trained network" in refused()


def test_the_whole_artefact_is_accepted():
    network = _import(FOLDER)
    # Two convolutions; per block q, k, v, attention, projection and two of the MLP; the classifier as planes and layer.
    assert len(network.layers) == 2 + 2 * 7 + 2
