"""Does the requester ask for every beat of a transfer, also of one far greater than the benches' memories hold?"""

import pytest

from rtl.units.dma import TRANSFER, Requester, request_layout
from tests.rtl.levels import component_library
from tests.rtl.slice_programs import chip_of

CHIPS = {
    "bytes": chip_of("bytes", dram_bus_bytes=1, dram_burst_bytes=256, dram_outstanding=4),
    "odd": chip_of("odd", dram_bus_bytes=3, dram_burst_bytes=768, dram_outstanding=2),
}


@pytest.mark.parametrize(("rows", "row_bytes"), [(1, 1), (1, 1023), (1500, 1), (700, 1000), (3, 257)])
@pytest.mark.parametrize("name", CHIPS)
def test_bursts_follow_one_another_and_hold_every_beat(name, rows, row_bytes):
    """A burst ends in the cycle after its request, so one is requested in every cycle."""
    chip = CHIPS[name]
    library = component_library(f"requester_{name}", Requester(chip))
    transfer = TRANSFER.pack({"dram_address": 4096 * 3, "rows": rows, "row_bytes": row_bytes})
    idle = {"rst": 0, "transfer": transfer, "store": 0, "start": 0, "burst_end": 0}
    library.reset_model()
    library.step(idle | {"rst": 1})
    for start in (0, 0, 1):
        assert library.step(idle | {"start": start})["request__valid"] == 0
    beats = rows * -(-row_bytes // chip.dram_bus_bytes)
    burst = chip.dram_burst_bytes // chip.dram_bus_bytes
    ended, address = 0, 4096 * 3
    while beats:
        out = library.step(idle | {"burst_end": ended})
        assert out["request__valid"] == 1
        request = request_layout(chip).unpack(out["request__payload"])
        assert request == {"address": address, "beats": min(beats, burst), "write": 0}
        beats, address, ended = beats - min(beats, burst), address + chip.dram_burst_bytes, 1
    for _ in range(4):
        assert library.step(idle | {"burst_end": ended})["request__valid"] == 0
        ended = 0
