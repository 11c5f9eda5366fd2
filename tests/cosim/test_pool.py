"""Do simulator and Verilog agree on networks, splits, orders and latencies that nobody chose, on chips of odd sizes?"""

from collections import Counter

import pytest
from hypothesis import given, settings

from archsim.contracts.sequencer import ATTEND_SCORES, ATTENTION
from archsim.kernel import decode
from mapping.context import Limits
from tests.cosim.chips import CHIPS, SHORT
from tests.cosim.pool import Case, cases, check, mapped
from tests.mapping.conftest import random_network

NETWORKS = 20
"""The long run has 500 on all chips: ``python -m tests.cosim.long``."""

tally: Counter[str] = Counter()


@pytest.mark.slow
@settings(max_examples=NETWORKS, deadline=None, derandomize=True, database=None)
@given(cases([CHIPS[name] for name in SHORT]))
def test_random_networks(case):
    check(case, tally)


# ------------------------------------------------------------------------------ counterexamples


@pytest.mark.slow
def test_scores_of_a_head_of_two_words_read_v_with_each_pair():
    """The simulator counted one read of V for each token; the Verilog reads it with each of a head's words of Q and K."""
    chip = CHIPS["gang_lanes"]
    network = random_network(0, height=1, width=1, dim=2 * chip.columns, heads=1, stride=2)
    case = Case(chip, network, {}, Limits(), False, (0, 0), None, 0)
    scores = [head for head in decode(mapped(case)[1])[ATTENTION] if head["opcode"] == ATTEND_SCORES]
    assert scores and all(head["head_words"] == 2 for head in scores)
    check(case, Counter())
