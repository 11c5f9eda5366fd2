"""Does the FIFO of registers keep order and count at every depth, with any pushes and pops?"""

from collections import deque

import numpy as np
import pytest

from archsim.contracts.common.layout import Field, Layout
from rtl.fifo import Fifo
from tests.rtl.levels import component_library

WORD = Layout.of("word", [Field("data", 8)])
CYCLES = 3000


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8])
def test_random_pushes_and_pops(depth):
    """Pushes only where there is room, as its user promises; its level and its oldest entry in every cycle."""
    library = component_library(f"fifo_{depth}", Fifo(WORD, depth))
    rng = np.random.default_rng(depth)
    held: deque[int] = deque()
    library.reset_model()
    library.step({"rst": 1, "push": 0, "pushed": 0, "o__ready": 0})
    levels = set()
    for cycle in range(CYCLES):
        eager = 0.8 if cycle // 50 % 2 else 0.3  # fills, then drains
        push, ready, data = int(rng.random() < eager), int(rng.random() < 1.1 - eager), int(rng.integers(256))
        push &= int(len(held) < depth)
        out = library.step({"rst": 0, "push": push, "pushed": data, "o__ready": ready})
        assert (out["level"], out["o__valid"]) == (len(held), int(bool(held)))
        levels.add(len(held))
        if held:
            assert out["o__payload"] == held[0]
            if ready:
                held.popleft()
        if push:
            held.append(data)
    assert levels == set(range(depth + 1))
