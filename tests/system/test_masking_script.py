"""Does the script on masks run a network at the share that it is asked for, and compare with the first?"""

from pathlib import Path

import pytest

from archsim.config import load_workload
from scripts.masking import WORKLOAD, Row, measure, table, with_share


def test_a_copy_of_the_workload_has_another_share_alone(tmp_path):
    original, copy = load_workload(WORKLOAD), load_workload(with_share(WORKLOAD, 0.75, tmp_path))
    assert (original.network.masked, copy.network.masked) == (0.5, 0.75)
    assert copy.artefact.samefile(original.artefact)
    assert copy.model_dump(exclude={"network"}) == original.model_dump(exclude={"network"})


def test_the_table_sets_rows_beside_the_first():
    rows = [Row(0.0, 3, 2e5, 1e6, 4.0, 20.0, 10.0), Row(0.75, 4, 1e5, 1.5e6, 3.0, 21.0, 10.0)]
    last = table(rows, 4).splitlines()[-1]
    assert last.split() == [
        "0.75", "4/4", "100,000", "(-50.00", "%)", "1,500,000", "(+50.00", "%)", "3.000", "(-25.00", "%)", "21.000", "(+5.00",
        "%)", "10.000", "(+0.00", "%)",
    ]  # fmt: skip


def test_a_measurement():
    """The formula counts the scores of q that are kept; of two images one is right, whatever is masked."""
    rows = [measure(Path(WORKLOAD), share, 2) for share in (0.0, 1.0)]
    assert [row.right for row in rows] == [1, 1]
    assert rows[0].formula_uj > rows[1].formula_uj > 0.95 * rows[0].formula_uj
    assert all(row.chip_uj > row.chip_without_dram_uj > row.formula_uj for row in rows)
    assert rows[0].cycles == pytest.approx(rows[1].cycles, rel=0.05)
