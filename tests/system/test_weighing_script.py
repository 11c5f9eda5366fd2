"""Does the script on the weights of experts run a network with as many digits as it is asked for?"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from mapping.experts import IntExperts
from mapping.quantise import Precision, quantise
from mapping.weigh import weigh
from scripts.weighing import DIGITS, rows, with_digits
from tests.mapping.conftest import expert_network

ARTEFACT = Path(__file__).parents[2] / "workloads/artefacts/spiking_moe_digits"


def test_a_weight_has_as_many_digits():
    """Scores 0, -1 at a unit of one: 187 = 256 - 64 - 4 - 1 of 256."""
    network = quantise(expert_network(0, softmax=True, choices=1), Precision())
    for digits, weight in ((31, 187), (3, 188), (2, 192), (1, 256)):
        layer = next(x for x in with_digits(network, digits).layers if isinstance(x, IntExperts))
        assert layer.weigh.digits == layer.weigh.fields()["digits"] == digits
        assert replace(weigh(1.0, 24), digits=digits).weights(np.array([[0, -1]]), 24).tolist() == [weight]


def test_a_row_for_each_number_of_digits(tmp_path):
    """The committed network, read as if its experts were of the published form."""
    folder = shutil.copytree(ARTEFACT, tmp_path / "weighed")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["hyperparameters"] |= {"choices": 1, "expert_steps": [4, 1, 1, 1]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lines = list(rows(folder, 2))
    assert lines[0].endswith("integers, of the first 2:")
    assert [line.split()[0] for line in lines[2:]] == ["all", *map(str, DIGITS[1:])]
    assert all(0 <= int(line.split()[1]) <= 2 for line in lines[2:]) and lines[2].split()[2] == "0"
