"""What a layer norm in integers costs in accuracy, at several widths of the normaliser's operands, on the integer reference.

    python -m scripts.layer_norm [WORKLOAD] [--bits BITS ...] [--images N]

The first row norms the same streams in float64, without what a published norm adds to the variance. All before the norm is the
same in all rows: integers. Errors of a normed value are in deviations of its token.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim.config import load_workload, read_chip
from archsim.workload import trained_network
from mapping import reference
from mapping.importers import artefact
from mapping.ir import Classifier
from mapping.layer_norm import IntLayerNorm
from mapping.quantise import IntPlanes, IntSynapse, Precision, quantise
from mapping.spike_heights import lowered
from mapping.window_attention import on_chip

WORKLOAD = Path(__file__).resolve().parents[1] / "workloads" / "masked_spiking_transformer.yaml"
BITS = (8, 10, 12, 16, 20, 24)


@dataclass(frozen=True)
class Row:
    """Images right and images classified as in float64, root of the mean square and greatest error; ``bits``: None for float64."""

    bits: int | None
    right: int
    alike: int
    error: float
    greatest: float


def normed(stream: NDArray[np.int64]) -> NDArray[np.float64]:
    """Streams [..., channels] normed in float64; 0 where nothing deviates."""
    deviation = stream.std(-1, keepdims=True)
    return (stream - stream.mean(-1, keepdims=True)) / np.where(deviation == 0, np.inf, deviation)


def measure(workload: Path, bits: tuple[int, ...], images: int) -> list[Row]:
    """The first test images of a workload."""
    config = load_workload(workload)
    trained, chip = artefact.load(config.artefact), read_chip(config.chip, config.directory).params
    network, widths = trained_network(config, trained), config.operand_bits
    versions = {
        size: on_chip(quantise(network, Precision(chip.weight_bits, widths.image, widths.head, chip.membrane_bits, size)), chip)
        for size in bits
    }
    first = versions[bits[0]]
    norm = next(layer for layer in first.layers if isinstance(layer, IntLayerNorm))
    runs = [reference.run(first, first.quantise_image(pixels)) for pixels in trained.normalised()[:images]]
    streams = np.stack([run.inputs[norm.source] for run in runs])
    exact, labels = normed(streams), trained.labels[:images]
    head = lowered(network).layers[-1]
    assert isinstance(head, Classifier) and head.norm is not None
    logits = (exact.mean((1, 2)) * head.norm[0] + head.norm[1]) @ head.weight.T + head.bias
    rows, floats = [], logits.argmax(1)
    rows.append(Row(None, int((floats == labels).sum()), images, 0.0, 0.0))
    for size, version in versions.items():
        norm, planes, classifier = version.layers[-3:]
        assert isinstance(norm, IntLayerNorm) and isinstance(planes, IntPlanes) and isinstance(classifier, IntSynapse)
        values = np.stack([norm.values(stream) for stream in streams])
        half = 1 << (planes.planes - 1)
        operands = np.clip(values.sum((1, 2)) >> planes.right_shift, -half, half - 1)
        found = (operands @ classifier.weight[:, :, 0, 0].astype(np.int64).T + classifier.bias).argmax(1)
        errors = (values + 0.5) / 2.0**norm.exponent - exact  # a floor loses half a unit on average; the classifier's bias has it
        rows.append(Row(
            size, int((found == labels).sum()), int((found == floats).sum()), float(np.sqrt((errors**2).mean())),
            float(np.abs(errors).max()),
        ))  # fmt: skip
    return rows


def table(rows: list[Row], images: int) -> str:
    """The rows as a table."""
    lines = ["operand bits  right      as float64  error     greatest"]
    for row in rows:
        cells = f"{row.right}/{images}", f"{row.alike}/{images}", f"{row.error:.5f}", f"{row.greatest:.5f}"
        lines.append(f"{row.bits or 'float64':<14}{cells[0]:<11}{cells[1]:<12}{cells[2]:<10}{cells[3]}")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure a layer norm in integers at several widths of operands.")
    parser.add_argument("workload", type=Path, nargs="?", default=WORKLOAD)
    parser.add_argument("--bits", type=int, nargs="+", default=BITS)
    parser.add_argument("--images", type=int, default=360)
    arguments = parser.parse_args()
    print(table(measure(arguments.workload, tuple(arguments.bits), arguments.images), arguments.images))


if __name__ == "__main__":
    main()
