"""The pool's chips: a dozen hardware parameter sets of odd sizes, the smallest first, and one of them that takes maxima.

Each is built once, by its content.
"""

from archsim.config import load_chip
from archsim.contracts.common.chip import ChipParams

_BASE = load_chip("small").replace(
    weight_rows=96, param_rows=64, spike_in_rows=768, spike_out_rows=256, residual_rows=1024, psum_rows=256, reduce_rows=24,
    attention_rows=256, count_rows=256, count_bits=6, queue_rows=512, pool_steps=6, pool_rows=24,
)  # fmt: skip

_COLUMNS = (
    "cores", "lanes", "columns", "neurons", "weight_bits", "membrane_bits", "dram_bus_bytes", "dram_burst_bytes",
    "dram_latency_cycles", "dram_outstanding",
)  # fmt: skip
_SIZES = {
    "tiny": (1, 1, 2, 1, 4, 20, 2, 4, 1, 1),
    "pair": (2, 1, 2, 2, 5, 20, 3, 9, 2, 2),
    "one_lane": (1, 1, 4, 4, 8, 24, 8, 32, 9, 4),
    "two_lanes": (1, 2, 3, 1, 3, 18, 5, 5, 0, 1),
    "three_lanes": (1, 3, 4, 2, 6, 21, 4, 16, 3, 3),
    "four_lanes": (1, 4, 4, 2, 7, 22, 7, 14, 12, 2),
    "gang": (2, 1, 4, 2, 8, 24, 16, 16, 5, 8),
    "gang_lanes": (2, 2, 6, 3, 5, 19, 6, 18, 20, 2),
    "three_cores": (3, 1, 5, 5, 4, 20, 8, 24, 7, 1),
    "three_by_three": (3, 3, 4, 1, 6, 20, 12, 12, 4, 5),
    "four_cores": (4, 1, 3, 3, 8, 23, 4, 8, 2, 3),
    "wide": (1, 2, 16, 4, 8, 24, 32, 64, 15, 4),
}

CHIPS: dict[str, ChipParams] = {
    name: _BASE.replace(name=name, **dict(zip(_COLUMNS, sizes, strict=True))) for name, sizes in _SIZES.items()
}
"""By name; all have the same memories, which a program may use in part."""

CHIPS |= {
    f"{name}_turning": CHIPS[name].replace(name=f"{name}_turning", transposer=1) for name in ("gang", "three_lanes")
}
CHIPS["maximum"] = CHIPS["gang_lanes"].replace(name="maximum", residual_maximum=1)

SHORT = ("tiny", "gang_lanes", "four_lanes")
"""Those of the short run: the fewest builds that have gangs, lanes and a bus that is no power of two."""
