"""Is the training data split without leaks, the same way each time, and shifted as described?"""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training extra is not installed")
pytest.importorskip("sklearn", reason="the training extra is not installed")

from workloads.training import digits, export, models  # noqa: E402 - needs torch

ARTEFACTS = Path(__file__).resolve().parents[2] / "workloads" / "artefacts"


@pytest.fixture(scope="module")
def split() -> digits.Split:
    return digits.load_split(seed=0)


def test_parts_are_disjoint_and_complete(split):
    parts = (split.train, split.val, split.test)
    assert [len(part.labels) for part in parts] == [1237, 200, 360]
    assert np.sort(np.concatenate([part.index for part in parts])).tolist() == list(range(1797))


def test_every_part_has_the_classes_in_proportion(split):
    whole = np.bincount(np.concatenate([p.labels for p in (split.train, split.val, split.test)]))
    for part in (split.train, split.val, split.test):
        expected = whole * len(part.labels) / 1797
        assert np.abs(np.bincount(part.labels) - expected).max() < 2


def test_split_depends_on_its_seed_only(split):
    assert (digits.load_split(seed=0).test.index == split.test.index).all()
    assert (digits.load_split(seed=1).test.index != split.test.index).any()


@pytest.mark.parametrize("folder", sorted(path.name for path in ARTEFACTS.iterdir() if path.is_dir()))
def test_committed_test_images_are_this_split(folder, split):
    with np.load(ARTEFACTS / folder / "test.npz", allow_pickle=False) as archive:
        assert (archive["index"] == split.test.index).all()


def test_normalise_maps_an_empty_and_a_full_pixel():
    pixels = np.zeros((1, 8, 8), np.uint8)
    pixels[0, 0, 1] = 16
    inputs = digits.normalise(pixels)
    assert inputs.shape == (1, 1, 8, 8) and inputs.dtype == torch.float32
    assert inputs[0, 0, 0, :2].tolist() == pytest.approx([-0.305 / 0.376, (1 - 0.305) / 0.376])


def test_shift_moves_by_at_most_one_pixel_and_fills_with_empty_ones():
    pixels = np.zeros((400, 8, 8), np.uint8)
    pixels[:, 0, 3] = 16  # in the top row: an upward shift loses it
    moved = digits.shift(digits.normalise(pixels), 1, torch.Generator().manual_seed(0))
    full, empty = (1 - 0.305) / 0.376, -0.305 / 0.376
    assert set(np.round(moved.unique().numpy(), 5)) == set(np.round(np.float32([empty, full]), 5))
    _, _, rows, columns = np.nonzero(moved.numpy() > 0)
    places = {(row, column) for row in (0, 1) for column in (2, 3, 4)}
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == places
    assert 80 < 400 - len(rows) < 190  # a third is lost


def test_channels_last_puts_position_y_width_x():
    spikes = torch.zeros(2, 3, 5, 4, 6)  # [T, B, C, H, W]
    spikes[1, 2, 4, 3, 1] = 1
    assert np.argwhere(export.channels_last(spikes)).tolist() == [[2, 1, 3 * 6 + 1, 4]]


def test_manifest_keys_may_not_be_redefined(tmp_path, split):
    model = models.Spikingformer(models.SpikingformerConfig(depth=1))
    with pytest.raises(ValueError, match=r"redefines \['lif'\]: rename those keys"):
        export.write_artefact(tmp_path, model, split, 2, {"lif": {}})


def test_dim_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="required to be a multiple of heads = 3, given 64: change either"):
        models.SpikingformerConfig(heads=3)
