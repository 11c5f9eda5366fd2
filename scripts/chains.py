"""RepConv and SepConv of a published Meta-SpikeFormer: each chain as one dense convolution, and as its separate parts.

    python -m scripts.chains [--size SIZE] [--chip CHIP] [--rate RATE] [--trained WORKLOAD]

The merged form is mapped and run: cycles, bytes of DRAM and energy of each chain, of one image of SYNTHETIC spikes at one ASSUMED
rate. The separate form is given to the mapper, which says by name why it takes it or not; its weight rows and those of the merged
form follow from the shapes. Weight rows are what a core's adders take cycles for: a row for each event of each word of outputs. A
depthwise part has no grouped form on the chip, so an event costs a row of its own word; an integer operand costs a row for every
one in its bit planes. With ``--trained`` the accuracy of a small trained network is printed, merged and quantised, beside that of
its float network.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsim import simulate
from archsim.config import read_chip
from archsim.contracts.common.errors import ArchsimError
from archsim.summary import summarise
from mapping.ir import Chain, Part
from mapping.networks.meta_spikeformer import PUBLISHED, MetaSpikeformer, unmerged
from mapping.networks.weights import Shapes
from mapping.operands import operands
from mapping.operators import refusal
from scripts.published import rates, workload

FAMILY, OPERAND_BITS, ONES = "meta_spikeformer", 8, 0.5
"""The family; bits of an integer between two parts (assumed: as many as a weight); share of ones in its planes (random bits)."""


@dataclass(frozen=True)
class Choice:
    """A chain in both forms.

    Attributes:
        name: of the chain.
        merged, separate: weight rows of one position and time step.
        equal: firing rate of the chain's source at which both are the same; None if there is none in 0..1.
        refused: why the mapper does not take the separate form; None if it does.
    """

    name: str
    merged: float
    separate: float
    equal: float | None
    refused: str | None

    @property
    def text(self) -> str:
        """The choice, and why."""
        fewer = "merged" if self.merged <= self.separate else "separate"
        return f"merged (separate is refused; fewer rows: {fewer})" if self.refused else fewer


def weight_rows(part: Part, columns: int) -> int:
    """Weight rows of one position of a part whose inputs all fire."""
    outputs, inputs, height, width = part.weight.shape
    if part.groups > 1:  # each word of channels reads itself alone
        return height * width * outputs
    return -(-outputs // columns) * inputs * height * width


def choices(size: MetaSpikeformer, columns: int, rate: float) -> Iterator[Choice]:
    """Both forms of every chain of a size, on words of ``columns``, where every map fires at ``rate``."""
    network = unmerged(size).network(Shapes())
    maps = operands(network)
    for layer in network.layers:
        if isinstance(layer, Chain):
            whole = Part(layer.name, layer.synapse.weight, layer.synapse.bias)
            dense, first = weight_rows(whole, columns), weight_rows(layer.parts[0], columns)
            behind = sum(weight_rows(part, columns) for part in layer.parts[1:]) * OPERAND_BITS * ONES
            equal = behind / (dense - first) if dense > first else None
            known = equal if equal is not None and equal <= 1 else None
            yield Choice(layer.name, dense * rate, first * rate + behind, known, refusal(layer, maps))


def run(size: str, chip: str, rate: float) -> dict[str, dict[str, Any]]:
    """Figures by layer of the merged size on a chip."""
    given, _ = rates(FAMILY, size, rate)
    with tempfile.TemporaryDirectory() as folder:
        summary = summarise(simulate.run(workload(Path(folder), FAMILY, size, given), chip))
    return {row["name"]: row for row in summary["layers"]}


def table(found: list[Choice], measured: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Lines: a chain each, its merged form as measured, both forms' weight rows, the choice."""
    yield f"{'chain':<32} {'cycles':>11} {'DRAM bytes':>13} {'mJ':>8} {'rows merged':>12} {'separate':>10} {'equal at':>9}  choice"
    for choice in found:
        row, equal = measured[choice.name], "never" if choice.equal is None else f"{choice.equal:.3f}"
        yield (
            f"{choice.name:<32} {row['cycles']:>11,} {row['dram_bytes']:>13,} {row['energy_uj'] / 1000:>8.3f} "
            f"{choice.merged:>12,.0f} {choice.separate:>10,.0f} {equal:>9}  {choice.text}"
        )


def main() -> None:
    """Print the table, and what refuses the separate form."""
    parser = argparse.ArgumentParser(description="RepConv and SepConv, merged and separate.")
    parser.add_argument("--size", choices=PUBLISHED, default="15M", help="a published size")
    parser.add_argument("--chip", default="adders_512", help="preset or chip file")
    parser.add_argument("--rate", type=float, default=0.1, help="ASSUMED rate 0..1 of every map")
    parser.add_argument("--trained", type=Path, help="workload of a small trained network, for its accuracy")
    arguments = parser.parse_args()
    try:
        found = list(choices(PUBLISHED[arguments.size], read_chip(arguments.chip).params.columns, arguments.rate))
        about = f"one image of {arguments.size} on {arguments.chip}"
        print(f"SYNTHETIC spikes, ASSUMED rate {arguments.rate:g}, random weights; {about}")
        print(*table(found, run(arguments.size, arguments.chip, arguments.rate)), sep="\n")
        for reason in sorted({choice.refused for choice in found if choice.refused}):
            names = [choice.name for choice in found if choice.refused == reason]
            print(f"refused as separate parts: {len(names)} chains ('{names[0]}' first): {reason}")
        if arguments.trained:
            result = simulate.run(arguments.trained, images=None)
            known = f"{result.accuracy} (float: {result.accuracy_float})"
            print(f"accuracy of {result.workload}, merged, {len(result.images)} images: {known}")
    except ArchsimError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
