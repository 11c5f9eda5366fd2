"""The same synaptic events here and in SANA-FE: a network of linear layers, and the process that simulates them there."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from archsim import simulate
from archsim.config import load_chip
from archsim.kernel import decode
from archsim.tensors import Capture, from_words
from archsim.units.sram import Memories
from benchmarks.paired import Entry, seconds
from mapping.ir import IMAGE, Classifier, Map, Network, Synapse
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule

CHANNELS, LAYERS, SIDE, STEPS = 256, 6, 4, 4
"""Channels and number of the linear layers, side of their map, time steps."""

GAIN = 5.0
"""Spread of the random weights: with it the layers fire at about the rates of spiking transformers."""

CHIP = "adders_512"


def network() -> Network:
    """A convolution on the image, LAYERS linear layers, of which the last two are a stream that a classifier reads."""
    rng, layers = np.random.default_rng(1), []
    source = IMAGE
    for number in range(LAYERS + 1):
        inputs, kernel = (3, 3) if number == 0 else (CHANNELS, 1)
        fan_in = inputs * kernel * kernel
        weight = rng.normal(0, GAIN / np.sqrt(fan_in), (CHANNELS, inputs, kernel, kernel))
        last = number == LAYERS
        stream = "x" if number >= LAYERS - 1 else None
        layers.append(
            Synapse(
                f"layer.{number}", source, weight, rng.normal(0.3, 0.2, CHANNELS), padding=kernel // 2, stream=stream,
                opens=number == LAYERS - 1, neuron=None if last else "lif", threshold=0.0 if last else 1.0,
                spikes=None if last else f"map.{number}", reduce=last,
            )
        )  # fmt: skip
        source = f"map.{number}"
    head = Classifier("head", f"layer.{LAYERS}", rng.normal(0, 1, (10, CHANNELS)), np.zeros(10))
    return Network("events", STEPS, Map(SIDE, SIDE, 3), 2.0, 4.0, (*layers, head))


class Events:
    """Our side: the network mapped and one image of noise.

    Attributes:
        events: additions of the linear layers in a run, all of them where a spike is.
        spikes: what each linear layer reads, bool [T, positions, channels].
    """

    def __init__(self) -> None:
        self.chip = load_chip(CHIP)
        integers = quantise(network(), Precision(self.chip.weight_bits, 8, 10, self.chip.membrane_bits))
        self.mapped = SimpleNamespace(network=integers, program=schedule(integers, self.chip))
        self.queues = decode(self.mapped.program)
        self.pixels = np.random.default_rng(2).uniform(-2, 2, (3, SIDE, SIDE))
        records, capture = self.run()
        names = [entry["name"] for entry in self.mapped.program.notes["layers"]]
        linear = [names.index(f"layer.{number}") for number in range(1, LAYERS + 1)]
        self.events = int(records["additions"][np.isin(records["layer"], linear)].sum())
        self.spikes = [
            from_words(self.chip, capture.words[f"map.{number}"], STEPS, CHANNELS) for number in range(LAYERS)
        ]

    def run(self) -> tuple[np.ndarray, Capture]:
        """One image in execute mode."""
        program = self.mapped.program
        memories, capture = Memories.empty(self.chip, program.dram), Capture(self.chip, program.notes)
        simulate.write_image(self.mapped, memories.dram, self.pixels)  # type: ignore[arg-type]  # the two attributes that it reads
        return simulate.Simulation(self.chip, self.queues, memories, capture).run(), capture


def against_sanafe(versions: dict[str, str], repeats: int) -> Iterator[Entry]:
    """Synaptic events a second: this simulator, execute mode, against SANA-FE's detailed mode, by turns.

    The spikes are those that this simulator computes; SANA-FE is given them, and must count as many events.
    """
    ours = Events()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "layers.npz"
        spikes = {f"spikes{number}": spikes for number, spikes in enumerate(ours.spikes)}
        np.savez(file, outputs=np.full(LAYERS, CHANNELS), **spikes)
        command = [sys.executable, "-m", "benchmarks.sanafe_layers", str(file)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stdin is not None and process.stderr is not None  # asked for above
        theirs_version, rates = process.stderr.readline().strip(), []
        if not theirs_version[:1].isdigit():
            raise SystemExit("benchmarks: SANA-FE did not start; run `scripts/setup.sh train`")
        for _ in range(repeats + 1):
            mine = seconds(ours.run)
            process.stdin.write("\n")
            process.stdin.flush()
            count, its = process.stderr.readline().split()
            if int(count) != ours.events:
                raise SystemExit(f"benchmarks: {ours.events} synaptic events here, {count} in SANA-FE")
            rates.append((ours.events / mine, ours.events / float(its)))
        process.stdin.close()
        process.wait()
    pairs = np.array(rates[1:])
    ratios, middle = pairs[:, 0] / pairs[:, 1], np.median(pairs, axis=0)
    name = f"{ours.events:,} synaptic events of linear layers, against SANA-FE detailed"
    spread = float(ratios.min()), float(ratios.max())
    yield Entry(
        name, float(middle[0]), float(middle[1]), float(np.median(ratios)), spread, "1/s",
        versions | {"sanafe": theirs_version},
    )  # fmt: skip
