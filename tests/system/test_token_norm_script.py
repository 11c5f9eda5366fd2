"""Does the command that sweeps classes of token scales print what it says?"""

from archsim.config import load_chip, load_workload
from mapping.importers.artefact import load
from mapping.quantise import Precision
from scripts.token_norm import WORKLOAD, rows


def test_copies_cost_weight_bytes_and_nothing_else(monkeypatch):
    artefact = load(load_workload(WORKLOAD).artefact)
    monkeypatch.setattr(type(artefact), "normalised", lambda self: (self.images[:4] / 16.0 - 0.305) / 0.376)
    object.__setattr__(artefact, "labels", artefact.labels[:4])
    lines = list(rows(artefact, Precision(8, 8, 12, 24), load_chip("small_complete"), (1, 2)))
    assert lines[0] == "float: 356 of 360 test images"
    (one, *first), (two, *second) = (line.replace(",", "").split() for line in lines[2:])
    assert (one, two) == ("1", "2")
    assert [int(copies) for copies in first[1:7]] == [1] * 6
    assert [int(copies) for copies in second[1:7]] == [1, 2] * 3
    # Second layers: rows of alpha x dim inputs of 16 bytes, once for each copy and word; dim 36 twice, then 72.
    once = 2 * (108 * 3) * 16 + (216 * 5) * 16
    assert int(second[7]) - int(first[7]) == once
    assert first[8:] == second[8:]
