"""Chips as users write them, presets and YAML files, and the parameters that follow from them."""

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from archsim.config.validate import Strict, nearest, validate
from archsim.config.yaml_source import Document, KeyPath, parse_yaml, read_yaml
from archsim.contracts.attention_softmax import SoftmaxParams
from archsim.contracts.common.chip import NORMALISER_TABLE_BITS, ROUTE_ROWS, ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.experts import ExpertsParams
from archsim.contracts.neuron import NeuronParams
from archsim.contracts.normaliser import NormaliserParams
from archsim.contracts.spike_fetch import SpikeFetchParams
from archsim.contracts.spike_writer import POOL_ROWS, POOL_STEPS, SpikeWriterParams
from archsim.contracts.synapse_array import SynapseArrayParams

Kib = Annotated[float, Field(gt=0, le=1 << 20)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class DramConfig(Strict):
    """DRAM as the DMA engine sees it, in cycles of the chip's clock."""

    bus_bytes: Annotated[int, Field(ge=1, le=256)]
    """bytes that DRAM delivers or takes per cycle"""
    latency_cycles: Annotated[int, Field(ge=0, le=4095)]
    """cycles from a burst's request to its first beat"""
    burst_bytes: Annotated[int, Field(ge=1, le=4096)]
    """bytes of a burst, a multiple of bus_bytes"""
    outstanding: Annotated[int, Field(ge=1, le=64)]
    """bursts that may be requested and not yet delivered"""


class ChipConfig(Strict):
    """A chip as users write it: units in the key names, memories in KiB (1024 bytes)."""

    name: Name
    """identifier in reports"""
    description: str = ""
    """one sentence on what the chip is for"""
    technology_nm: Literal[45] = 45
    """technology node that energy and area are given for, nm; memories, DRAM and cited figures are of this one alone, and laws of
    180 nm are scaled to it (their native figures are in every report)"""
    clock_mhz: Annotated[float, Field(gt=0, le=100_000)]
    """clock frequency, MHz; turns cycles into time"""
    cores: Annotated[int, Field(ge=1, le=32)]
    """number of cores"""
    lanes: Annotated[int, Field(ge=1, le=16)]
    """time steps that share one weight row read"""
    columns: Annotated[int, Field(ge=2, le=64)]
    """adders per lane and core, also channels of a spike word"""
    neurons_per_cycle: Annotated[int, Field(ge=1, le=64)]
    """neurons that each core and the attention unit update per cycle, a divisor of columns"""
    weight_bits: Annotated[int, Field(ge=2, le=8)]
    """bits of a weight"""
    membrane_bits: Annotated[int, Field(ge=8, le=24)]
    """bits of accumulators, membranes, partial sums, biases and thresholds"""
    weight_bank_kib: Kib
    """KiB of one of a core's two weight banks"""
    param_rows: Annotated[int, Field(ge=1, le=1 << 10)]
    """rows of one of a core's two parameter banks, a row for neurons_per_cycle columns"""
    spike_in_bank_kib: Kib
    """KiB of one of a core's two input spike banks"""
    spike_out_bank_kib: Kib
    """KiB of one of a core's two output spike banks"""
    residual_kib: Kib
    """KiB of a core's residual bank"""
    psum_kib: Kib
    """KiB of a core's partial-sum bank"""
    reduce_rows: Annotated[int, Field(ge=1, le=1 << 10)]
    """rows of a core's reduction bank, a row for neurons_per_cycle sums"""
    attention_bank_kib: Kib
    """KiB of each of the attention unit's six spike banks (q0, q1, k, v, out0, out1)"""
    count_rows: Annotated[int, Field(ge=2, le=1 << 20)]
    """rows of the attention unit's count memory, a row for `columns` counts"""
    count_bits: Annotated[int, Field(ge=2, le=16)]
    """bits of a count; bounds the number of tokens"""
    queue_rows: Annotated[int, Field(ge=1, le=1 << 20)]
    """instructions that each engine's program memory holds"""
    pool_steps: Annotated[int, Field(ge=1, le=255)] = POOL_STEPS
    """time steps of a pooled layer at most"""
    pool_rows: Annotated[int, Field(ge=1, le=1 << 16)] = POOL_ROWS
    """words of a core's line buffer: columns after a pool x time steps at most"""
    crossbar_depth: Annotated[int, Field(ge=0, le=64)] = 0
    """flits of a queue in the crossbars of the expert engine; 0: the chip has no expert engine"""
    route_rows: Annotated[int, Field(ge=1, le=1 << 16)] = ROUTE_ROWS
    """rows of each core's tables in the expert engine: choices of its tokens, packets that it sends back"""
    transposer: Annotated[int, Field(ge=0, le=1)] = 0
    """1: the multicast has a bit transposer in every lane; 0: it has none"""
    masker: Annotated[int, Field(ge=0, le=1)] = 0
    """1: the multicast has a masker; 0: it has none"""
    softmax_tokens: Annotated[int, Field(ge=0, le=64)] = 0
    """tokens of a window at most that the attention unit's softmax serves, 4..64; 0: it has no softmax"""
    residual_maximum: Annotated[int, Field(ge=0, le=1)] = 0
    """1: SYNAPSE may take the maximum of its sums and the residual stream; 0: it adds them"""
    normaliser_operand_bits: Annotated[int, Field(ge=0, le=24)] = 0
    """bits of a factor in the normaliser, 2..membrane_bits; 0: the chip has no normaliser (layer norms, weights of experts)"""
    normaliser_table_bits: Annotated[int, Field(ge=1, le=12)] = NORMALISER_TABLE_BITS
    """its table of exponentials has 2^normaliser_table_bits entries"""
    dispatch_membranes: Annotated[int, Field(ge=0, le=1)] = 0
    """1: DISPATCH may send membranes to the experts; 0: spikes alone. Needs an expert engine"""
    clock_gating: Annotated[int, Field(ge=0, le=2)] = 0
    """0: all registers are clocked in every cycle; 1: not those of an engine without an instruction; 2: of the accumulators only
    those that are written"""
    energy_provider: Literal["laws", "table"] = "laws"
    """where energy and area of the logic are from: laws fitted to our netlists for the units that have one, or the table of cited
    figures alone"""
    dram: DramConfig
    """the external memory"""

    def params(self) -> ChipParams:
        """The chip's parameters: the one place where KiB become rows (a rest that fills no row is left out).

        Raises ArchsimError when values do not fit together.
        """
        if self.membrane_bits <= self.weight_bits:
            raise ArchsimError(
                f"chip '{self.name}': membrane_bits must be more than weight_bits, "
                f"given {self.membrane_bits} and {self.weight_bits}"
            )
        array = SynapseArrayParams(
            self.lanes,
            self.columns,
            self.neurons_per_cycle,
            self.weight_bits,
            self.membrane_bits,
            weight_rows=2,
        )
        fetch = SpikeFetchParams(self.lanes, self.columns, rows=2, row_bits=self.columns)
        blocks = self.columns // self.neurons_per_cycle
        writer = SpikeWriterParams(self.lanes, self.neurons_per_cycle, blocks, rows=2)
        neuron = NeuronParams(self.neurons_per_cycle, blocks, self.membrane_bits, 1, 1, 1, 1)
        chip = ChipParams(
            name=self.name, clock_mhz=self.clock_mhz, cores=self.cores, lanes=self.lanes,
            columns=self.columns, neurons=self.neurons_per_cycle,
            weight_bits=self.weight_bits, membrane_bits=self.membrane_bits,
            weight_rows=_rows(self.weight_bank_kib, array.weight.row_bits), param_rows=self.param_rows,
            spike_in_rows=_rows(self.spike_in_bank_kib, fetch.bank.row_bits),
            spike_out_rows=_rows(self.spike_out_bank_kib, writer.bank.row_bits),
            residual_rows=_rows(self.residual_kib, neuron.residual.row_bits),
            psum_rows=_rows(self.psum_kib, neuron.psum.row_bits), reduce_rows=self.reduce_rows,
            attention_rows=_rows(self.attention_bank_kib, fetch.bank.row_bits),
            count_rows=self.count_rows, count_bits=self.count_bits, dram_bus_bytes=self.dram.bus_bytes,
            dram_latency_cycles=self.dram.latency_cycles, dram_burst_bytes=self.dram.burst_bytes,
            dram_outstanding=self.dram.outstanding, queue_rows=self.queue_rows, pool_steps=self.pool_steps,
            pool_rows=self.pool_rows, crossbar_depth=self.crossbar_depth, route_rows=self.route_rows,
            transposer=self.transposer, masker=self.masker, softmax_tokens=self.softmax_tokens,
            residual_maximum=self.residual_maximum, normaliser_operand_bits=self.normaliser_operand_bits,
            normaliser_table_bits=self.normaliser_table_bits, dispatch_membranes=self.dispatch_membranes,
            clock_gating=self.clock_gating, energy_laws=int(self.energy_provider == "laws"),
        )  # fmt: skip
        if chip.crossbar_depth:
            ExpertsParams(chip)  # raises where the chip cannot have an expert engine
        if chip.softmax_tokens:
            SoftmaxParams(chip)  # raises where its membranes are too narrow for a softmax
        if chip.normaliser_operand_bits:
            NormaliserParams(chip)  # raises where its sizes do not fit the chip's
        return chip


@dataclass(frozen=True)
class Chip:
    """A chip that was read: what the user wrote, and from where."""

    config: ChipConfig
    source: str

    @cached_property
    def params(self) -> ChipParams:
        """The derived parameters."""
        return self.config.params()


_DERIVED: dict[str, KeyPath] = {
    "neurons must divide": ("neurons_per_cycle",), "weight_rows": ("weight_bank_kib",),
    "spike_in_rows": ("spike_in_bank_kib",), "spike_out_rows": ("spike_out_bank_kib",),
    "residual_rows": ("residual_kib",), "psum_rows": ("psum_kib",), "attention_rows": ("attention_bank_kib",),
    "expert engine needs 2": ("cores",), "a queue is made of registers": ("crossbar_depth",),
    "dram_burst_bytes": ("dram", "burst_bytes"), "more than weight_bits": ("membrane_bits",),
    "of a softmax over": ("softmax_tokens",), "operand_bits must": ("normaliser_operand_bits",),
    "table_bits must": ("normaliser_table_bits",), "dispatch_membranes must be 0": ("dispatch_membranes",),
}  # fmt: skip
"""Which key of the file a relation between derived parameters comes from, by a part of its message."""


def chip_names() -> list[str]:
    """Names of the presets."""
    return sorted(entry.name[:-5] for entry in files("archsim.presets").iterdir() if entry.name.endswith(".yaml"))


def load_chip(name_or_path: str | Path) -> ChipParams:
    """The parameters of a preset (by name) or of a YAML file; ArchsimError with file, line and column."""
    return read_chip(name_or_path).params


def read_chip(name_or_path: str | Path, base: Path | None = None) -> Chip:
    """A preset (by name) or a YAML file (a path, relative to ``base`` if given), checked completely.

    Raises ArchsimError with file, line and column of every error, or with the nearest preset's name.
    """
    name = str(name_or_path)
    if name in chip_names():
        text = files("archsim.presets").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        return _checked(parse_yaml(text, f"{name}.yaml"))
    path = (base or Path()) / name
    if not path.is_file():
        raise ArchsimError(
            f"chip '{name}': required a preset's name or a YAML file, given neither; " + nearest(name, chip_names())
        )
    return _checked(read_yaml(path))


def _checked(document: Document) -> Chip:
    """The chip in ``document``; relations between its values are reported at the key that they come from."""
    chip = Chip(validate(ChipConfig, document), document.file)
    try:
        _ = chip.params
    except ArchsimError as error:
        text = re.sub(r"^chip '[^']*': ", "", str(error))
        path = next((path for part, path in _DERIVED.items() if part in text), ())
        name = ".".join(str(part) for part in path)
        raise ArchsimError(f"{document.where(path)}: {f'{name}: ' if name else ''}{text}") from error
    return chip


def _rows(kib: float, row_bits: int) -> int:
    """Whole rows of ``row_bits`` bits in ``kib`` KiB."""
    return int(kib * 1024 * 8) // row_bits


def resolved(chip: Chip) -> dict[str, Any]:
    """What was written and what was derived from it, for `archsim export`."""
    return {
        "config": chip.config.model_dump(),
        "derived": {**chip.params.as_dict(), "adders": chip.params.adders},
    }
