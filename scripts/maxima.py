"""What the maximum over sums costs in a published Spike-driven Transformer: its sums, comparisons, weights and cycles.

    python -m scripts.maxima [--size SIZE] [--chip CHIP] [--rate RATE] [--check]

Weights are random, and spikes SYNTHETIC: every map fires at one ASSUMED rate. With ``--check`` thresholds are calibrated to that
rate, one image runs in mode execute, and every spike, membrane and logit is compared with the integer reference; without, spikes
are drawn.
"""

import argparse
import tempfile
from pathlib import Path

from archsim import simulate
from archsim.contracts import dma, neuron, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.results import CheckResult
from mapping.quantise import IntSynapse
from scripts.published import rates, workload

FAMILY = "spike_driven_transformer"


def figures(size: str, chip: str | ChipParams, rate: float) -> dict[str, float]:
    """Figures of the layer that takes maxima of its sums, in one image.

    Returns ``additions`` (weight rows that a spike everywhere would read, of those of each sum once), ``instructions`` (of sums and
    of comparisons), ``comparison_cycles`` (of all cores, by the law of empty groups), ``weight_rows`` (loaded), ``own_weight_rows``
    (that the layer has), ``cycles`` (from the first of its instructions on the cores to the end of the last), ``all_cycles``.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = workload(Path(folder), FAMILY, size, rates(FAMILY, size, rate)[0])
        mapped, result = simulate.load(path, chip), simulate.run(path, chip)
    layers = mapped.network.layers
    number, layer = next((n, x) for n, x in enumerate(layers) if isinstance(x, IntSynapse) and x.sums)
    assert layer.sums is not None
    size_of, columns = layer.weight[0].size, mapped.program.chip.columns
    words = -(-layer.shape.channels // columns)
    found = dict.fromkeys(("read", "instructions", "comparison_cycles", "weight_rows"), 0)
    for engine, queue in mapped.queues.items():
        for head, note in zip(queue, mapped.program.notes["instructions"][str(engine)], strict=True):
            if note["layer"] == number and head["opcode"] == sequencer.SYNAPSE:
                positions, found["instructions"] = head["out_height"] * head["out_width"], found["instructions"] + 1
                if head["maximum"]:
                    group = head["blocks"] * head["steps"] + neuron.GROUP_GAP - 1
                    found["comparison_cycles"] += positions * head["slices"] * group
                else:
                    found["read"] += positions * head["kernel_height"] * head["kernel_width"] * head["tap_rows"]
            elif note["layer"] == number and head["opcode"] == sequencer.LOAD and head["memory"] == dma.WEIGHT:
                found["weight_rows"] += head["rows"]
    records = result.images[0].records
    own = records[(records["layer"] == number) & (records["opcode"] == sequencer.SYNAPSE)]
    return found | {
        "additions": found.pop("read") / (layer.sums.positions * size_of * words), "own_weight_rows": size_of * words,
        "cycles": int(own["end"].max() - own["start"].min()), "all_cycles": result.images[0].cycles,
    }  # fmt: skip


def checked(size: str, chip: str | ChipParams, rate: float) -> CheckResult:
    """One image in mode execute, thresholds calibrated to the rate, against the integer reference."""
    with tempfile.TemporaryDirectory() as folder:
        path = workload(Path(folder), FAMILY, size, rates(FAMILY, size, rate)[0], {"mode": "execute"})
        check = simulate.run(path, chip, check=True).check
    assert check is not None
    return check


def main() -> None:
    """Print the figures, or the comparison."""
    parser = argparse.ArgumentParser(description="What the maximum over sums costs in a Spike-driven Transformer.")
    parser.add_argument("--size", default="8-512", help="published size (default 8-512)")
    parser.add_argument("--chip", default="adders_512_maximum", help="preset or chip file")
    parser.add_argument("--rate", type=float, default=0.1, help="rate 0..1 that is assumed for every map")
    parser.add_argument("--check", action="store_true", help="compare an image with the integer reference")
    arguments = parser.parse_args()
    print(f"SYNTHETIC spikes at a rate of {arguments.rate:g}, ASSUMED, and random weights; one image")
    if arguments.check:
        check = checked(arguments.size, arguments.chip, arguments.rate)
        for kind, count in check.compared.items():
            print(f"{kind:<20} {check.differing[kind]:,} of {count:,} differ")
        raise SystemExit(int(any(check.differing.values())))
    for name, value in figures(arguments.size, arguments.chip, arguments.rate).items():
        print(f"{name:<20} {value:,.3f}" if name == "additions" else f"{name:<20} {value:,}")


if __name__ == "__main__":
    main()
