"""Does the script about maxima of sums say what its layer does, on a tiny size?"""

import sys

import pytest

from archsim.config import load_chip
from archsim.workload import SIZES
from mapping.ir import Map
from mapping.networks.spike_driven_transformer import SpikeDrivenTransformer
from scripts import maxima

CHIP = load_chip("small").replace(
    residual_maximum=1, pool_rows=64, param_rows=256, weight_rows=128, psum_rows=64, spike_in_rows=1 << 13, queue_rows=4096
)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """32 channels, one block, 16 x 16 pixels: sums of 8 x 8, maxima of 4 x 4."""
    tiny = SpikeDrivenTransformer("tiny", Map(16, 16, 3), 2, 32, 1, 10, heads=4)
    monkeypatch.setitem(SIZES, maxima.FAMILY, {**SIZES[maxima.FAMILY], "tiny": tiny})


def test_figures_by_hand():
    """A gang of two cores, a word each; 144 weight rows in two chunks, which are loaded for each piece of 4 sums again."""
    found = maxima.figures("tiny", CHIP, 0.1)
    # 11 elements in each direction lie inside the windows of 4; 4 steps, each a group of 4 blocks and the gap of 2. Words: 2.
    assert found["comparison_cycles"] == 11 * 11 * 4 * (4 + 2) * 2
    assert found["own_weight_rows"] == 9 * 16 * 2 and found["additions"] == 1
    assert found["weight_rows"] == 8 * 8 / 4 * found["own_weight_rows"]
    assert 0 < found["cycles"] < found["all_cycles"]


def test_the_check_compares():
    check = maxima.checked("tiny", CHIP, 0.2)
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0} and check.compared["membranes"] > 1000


def test_the_command_prints(monkeypatch, capsys):
    monkeypatch.setattr(maxima, "figures", lambda *given: {"additions": 1.5, "cycles": 1234})
    monkeypatch.setattr(sys, "argv", ["maxima", "--rate", "0.3"])
    maxima.main()
    text = capsys.readouterr().out
    assert "at a rate of 0.3, ASSUMED" in text and "1.500" in text and "1,234" in text
