"""ECP5: resources of a unit, and with ``place`` its frequency after place and route, in a harness of shift registers.

A unit has more ports than a package has pins, so every input comes from a bit of one shift register and every output goes
to a bit of another: all its paths lie between registers and all of them are timed.

Memories are told not to mind a row that is read while it is written (``-no-rw-check``): the contract of the bank forbids it, and
without the option yosys adds two registers for every bit of a row to get the old value.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from archsim.contracts.common.errors import ArchsimError
from rtl.build import CLOCK, Port
from rtl.synthesis import tools

MULTIPLIERS = ("MULT18X18D", "MULT9X9D", "ALU54B", "ALU24B")
"""Cells that must not occur: the chip only adds."""

COUNTED = {
    "lut4": ("LUT4",), "carry": ("CCU2C",), "flip_flops": ("TRELLIS_FF",), "block_ram": ("DP16KD",),
    "lut_ram": ("TRELLIS_DPR16X4",), "multipliers": MULTIPLIERS,
}  # fmt: skip
"""What is reported, and the cells that it counts."""


class Device(NamedTuple):
    """A member of the family: its option of nextpnr, package, slices' LUTs and block RAMs."""

    option: str
    package: str
    luts: int
    block_rams: int


DEVICES = (
    Device("--25k", "CABGA381", 24288, 56), Device("--45k", "CABGA554", 43848, 108), Device("--85k", "CABGA756", 83640, 208),
)  # fmt: skip
FILL = 0.85
"""Greatest part of a device's LUTs that is used; the next one is taken beyond."""

TARGET_MHZ = 100
"""Frequency that nextpnr aims for; it goes on below."""


def synthesise(code: str, top: str, folder: Path) -> dict[str, Any]:
    """Resources of a unit; raises ArchsimError if a multiplier is among them."""
    (folder / "design.v").write_text(code)
    tools.yosys(
        f"read_verilog design.v\nsynth_ecp5 -abc9 -no-rw-check -top {top}\ntee -o stat.json stat -json -tech ecp5\n",
        folder,
    )
    counts = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    found = {name: sum(counts.get(cell, 0) for cell in cells) for name, cells in COUNTED.items()}
    if found["multipliers"]:
        raise ArchsimError(f"{top}: the chip only adds, and {found['multipliers']} multiplier cells were inferred")
    return found


def device_of(found: dict[str, Any]) -> Device:
    """The smallest device that holds these resources; raises ArchsimError if none does."""
    luts = found["lut4"] + 2 * found["carry"] + 6 * found["lut_ram"]
    for device in DEVICES:
        if luts <= FILL * device.luts and found["block_ram"] <= device.block_rams:
            return device
    raise ArchsimError(f"{luts} LUTs and {found['block_ram']} block RAMs required, more than any ECP5 has")


def place(code: str, top: str, ports: Sequence[Port], device: Device, folder: Path) -> dict[str, Any]:
    """Frequency in MHz after place and route, and what the whole with its harness takes of the device."""
    (folder / "design.v").write_text(code + harness(top, ports))
    tools.yosys("read_verilog design.v\nsynth_ecp5 -abc9 -no-rw-check -top harness -json harness.json\n", folder)
    tools.nextpnr([
        device.option, "--package", device.package, "--json", "harness.json", "--report", "report.json", "--freq",
        str(TARGET_MHZ), "--timing-allow-fail", "--lpf-allow-unconstrained", "--seed", "1", "-q",
    ], folder)  # fmt: skip
    report = json.loads((folder / "report.json").read_text())
    fmax = min(clock["achieved"] for clock in report["fmax"].values())
    used = {name: f"{cell['used']}/{cell['available']}" for name, cell in report["utilization"].items() if cell["used"]}
    return {"device": f"LFE5U-{device.option[2:-1]}F {device.package}", "mhz": round(fmax, 2), "used": used}


def harness(top: str, ports: Sequence[Port]) -> str:
    """Verilog of a module ``harness`` of four pins around the unit."""
    inputs = [port for port in ports if port.direction == "input" and port.name != CLOCK]
    outputs = [port for port in ports if port.direction == "output"]
    width, out = (sum(port.width for port in group) for group in (inputs, outputs))
    wires, offset = [f".{CLOCK}(clk)"], {"drive": 0, "seen": 0}
    for name, group in (("drive", inputs), ("seen", outputs)):
        for port in group:
            first = offset[name]
            offset[name] += port.width
            wires.append(f".\\{port.name} ({name}[{offset[name] - 1}:{first}])")
    return f"""
module harness(input clk, input serial, input sample, output result);
  reg [{width}:0] drive;
  reg [{out}:0] kept;
  wire [{out}:0] seen;
  always @(posedge clk) begin
    drive <= {{drive[{width - 1}:0], serial}};
    kept <= sample ? seen : {{kept[{out - 1}:0], drive[{width}]}};
  end
  assign seen[{out}] = 0;
  assign result = kept[{out}];
  {top} unit({", ".join(wires)});
endmodule
"""
