"""RepConv and SepConv of a published Meta-SpikeFormer: each chain as one dense convolution, and as its separate parts.

    python -m scripts.chains [--size SIZE] [--chip CHIP] [--rate RATE] [--trained WORKLOAD]

The merged form is mapped and run: cycles, bytes of DRAM and energy of each chain, of one image of SYNTHETIC spikes at one ASSUMED
rate. The separate form is given to the mapper, which says by name why it takes it or not; what it would take at least follows from
its weight rows: a cycle of a core for each, every core busy all the time; its weights from DRAM once and nothing else; the energy
of these rows, their additions and bytes, without clock. Weight rows are what a core's adders take cycles for: a row for each event
of each word of outputs. A depthwise part has no grouped form on the chip, so an event costs a row of its own word; an integer
operand costs a row for every one in its bit planes. With ``--trained`` the accuracy of a small trained network is printed: merged
and quantised, and with the weights of each part rounded before they are merged.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from archsim import simulate
from archsim.config import load_workload, read_chip
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.energy import energy_pj
from archsim.summary import summarise
from archsim.workload import precision_of
from mapping import reference
from mapping.importers import artefact, meta_spikeformer
from mapping.ir import Chain, Part
from mapping.merge import merge
from mapping.networks.meta_spikeformer import PUBLISHED, MetaSpikeformer, unmerged
from mapping.networks.weights import Shapes
from mapping.operands import operands
from mapping.operators import refusal
from mapping.quantise import quantise
from scripts.published import rates, workload

FAMILY, OPERAND_BITS, ONES = "meta_spikeformer", 8, 0.5
"""The family; bits of an integer between two parts (assumed: as many as a weight); share of ones in its planes (random bits)."""


FIGURES = "cycles", "DRAM bytes", "mJ"
"""What both forms are weighed in."""


@dataclass(frozen=True)
class Choice:
    """A chain in both forms.

    Attributes:
        name: of the chain.
        merged, separate: weight rows of one position and time step.
        positions: of the output, times the time steps.
        parameters: weights of the separate parts.
        equal: firing rate of the chain's source at which both are the same; None if there is none in 0..1.
        refused: why the mapper does not take the separate form; None if it does.
    """

    name: str
    merged: float
    separate: float
    positions: int
    parameters: int
    equal: float | None
    refused: str | None

    def least(self, chip: ChipParams) -> tuple[float, float, float]:
        """Cycles, bytes of DRAM and mJ that the separate form takes on a chip at least, of one image."""
        rows, size = self.separate * self.positions, self.parameters * chip.weight_bits / 8
        counts = {"weight_reads": round(rows), "additions": round(rows * chip.columns), "dram_bytes": round(size)}
        return rows / chip.cores, size, sum(energy_pj(chip, counts, 0).values()) * 1e-9

    def text(self, chip: ChipParams, measured: tuple[float, float, float]) -> str:
        """The choice; of what the merged form was seen to take more than the separate one takes at least."""
        less = [name for name, own, other in zip(FIGURES, measured, self.least(chip), strict=True) if other < own]
        if self.refused:
            return "merged; separate, refused, " + (f"might take less: {', '.join(less)}" if less else "takes more of all")
        return f"separate might take less: {', '.join(less)}" if less else "merged"


def weight_rows(part: Part, columns: int) -> int:
    """Weight rows of one position of a part whose inputs all fire."""
    outputs, inputs, height, width = part.weight.shape
    if part.groups > 1:  # each word of channels reads itself alone
        return height * width * outputs
    return -(-outputs // columns) * inputs * height * width


def choices(size: MetaSpikeformer, columns: int, rate: float) -> Iterator[Choice]:
    """Both forms of every chain of a size, on words of ``columns``, where every map fires at ``rate``."""
    network = unmerged(size).network(Shapes())
    maps, shapes = operands(network), network.maps()
    for layer in network.layers:
        if isinstance(layer, Chain):
            whole = Part(layer.name, layer.synapse.weight, layer.synapse.bias)
            dense, first = weight_rows(whole, columns), weight_rows(layer.parts[0], columns)
            behind = sum(weight_rows(part, columns) for part in layer.parts[1:]) * OPERAND_BITS * ONES
            equal = behind / (dense - first) if dense > first else None
            known = equal if equal is not None and equal <= 1 else None
            shape = shapes[layer.synapse.source]  # chains keep their map's size
            yield Choice(
                layer.name, dense * rate, first * rate + behind, shape.height * shape.width * size.timesteps,
                sum(part.weight.size for part in layer.parts), known, refusal(layer, maps),
            )  # fmt: skip


def run(size: str, chip: str, rate: float) -> dict[str, dict[str, Any]]:
    """Figures by layer of the merged size on a chip."""
    given, _ = rates(FAMILY, size, rate)
    with tempfile.TemporaryDirectory() as folder:
        summary = summarise(simulate.run(workload(Path(folder), FAMILY, size, given), chip))
    return {row["name"]: row for row in summary["layers"]}


def table(found: list[Choice], measured: dict[str, dict[str, Any]], chip: ChipParams) -> Iterator[str]:
    """Lines: a chain each, its merged form as measured, what its separate form takes at least, the choice."""
    yield f"{'':<32} {'merged, measured':>34} {'separate, at least':>34} {'weight rows':>19} {'same rows':>9}"
    heads = f"{'cycles':>11} {'DRAM bytes':>13} {'mJ':>8}"
    yield f"{'chain':<32} {heads} {heads} {'merged':>9} {'separate':>9} {'at rate':>9}  choice"
    for choice in found:
        row, equal = measured[choice.name], "never" if choice.equal is None else f"{choice.equal:.3f}"
        own = row["cycles"], row["dram_bytes"], row["energy_uj"] / 1000
        both = " ".join(f"{cycles:>11,.0f} {size:>13,.0f} {mj:>8.3f}" for cycles, size, mj in (own, choice.least(chip)))
        yield (
            f"{choice.name:<32} {both} {choice.merged:>9,.0f} {choice.separate:>9,.0f} {equal:>9}  {choice.text(chip, own)}"
        )


def rounded(part: Part, bits: int) -> Part:
    """A part whose weights are integers of so many bits, with a scale for each output channel."""
    greatest = np.abs(part.weight).reshape(len(part.weight), -1).max(1).clip(min=1e-30)
    unit = (greatest / ((1 << (bits - 1)) - 1))[:, None, None, None]
    return replace(part, weight=np.rint(part.weight / unit) * unit)


def accuracies(place: Path) -> tuple[float, float, int]:
    """Right test images of a small trained network in integers, 0..1: merged, and merged from parts rounded before; their number.

    Widths are those of the chip that the workload names.
    """
    config = load_workload(place)
    trained, precision = artefact.load(config.artefact), precision_of(config, read_chip(config.chip, config.directory).params)
    network = meta_spikeformer.read(trained, merged=False)
    shares = []
    for change in (lambda part: part, lambda part: rounded(part, precision.weight_bits)):
        layers = [
            merge(replace(layer, parts=tuple(map(change, layer.parts)))) if isinstance(layer, Chain) else layer
            for layer in network.layers
        ]
        numbers = quantise(replace(network, layers=layers), precision)
        logits = [reference.run(numbers, numbers.quantise_image(pixels)).logits for pixels in trained.normalised()]
        shares.append(float(np.mean(np.argmax(logits, 1) == trained.labels[: len(logits)])))
    return shares[0], shares[1], len(logits)


def main() -> None:
    """Print the table, and what refuses the separate form."""
    parser = argparse.ArgumentParser(description="RepConv and SepConv, merged and separate.")
    parser.add_argument("--size", choices=PUBLISHED, default="15M", help="a published size")
    parser.add_argument("--chip", default="adders_512", help="preset or chip file")
    parser.add_argument("--rate", type=float, default=0.1, help="ASSUMED rate 0..1 of every map")
    parser.add_argument("--trained", type=Path, help="workload of a small trained network, for its accuracy")
    arguments = parser.parse_args()
    try:
        chip = read_chip(arguments.chip).params
        found = list(choices(PUBLISHED[arguments.size], chip.columns, arguments.rate))
        about = f"one image of {arguments.size} on {arguments.chip}"
        print(f"SYNTHETIC spikes, ASSUMED rate {arguments.rate:g}, random weights; {about}")
        print(*table(found, run(arguments.size, arguments.chip, arguments.rate), chip), sep="\n")
        for reason in sorted({choice.refused for choice in found if choice.refused}):
            names = [choice.name for choice in found if choice.refused == reason]
            print(f"refused as separate parts: {len(names)} chains ('{names[0]}' first): {reason}")
        if arguments.trained:
            merged, apart, images = accuracies(arguments.trained)
            print(f"test images right, of {images}: merged {merged:.2%}; each part's weights rounded, then merged {apart:.2%}")
    except ArchsimError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
