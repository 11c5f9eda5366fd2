"""Do simulator and Verilog agree on networks, splits, orders and latencies that nobody chose, on chips of odd sizes?"""

from collections import Counter

import pytest
from hypothesis import given, settings

from tests.cosim.chips import CHIPS, SHORT
from tests.cosim.pool import cases, check

NETWORKS = 20
"""The long run has 500 on all chips: ``python -m tests.cosim.long``."""

tally: Counter[str] = Counter()


@pytest.mark.slow
@settings(max_examples=NETWORKS, deadline=None, derandomize=True, database=None)
@given(cases([CHIPS[name] for name in SHORT]))
def test_random_networks(case):
    check(case, tally)
