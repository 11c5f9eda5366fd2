"""A process that simulates layers of recorded spikes in SANA-FE: a run for each line that it reads.

    python -m benchmarks.sanafe_layers FILE

FILE (npz) holds for each layer the spikes that it reads, bool [T, positions, channels], and its outputs. Positions are alike and
independent (linear layers): each has a group of input neurons, which spike as recorded, and a group of outputs that never fire;
both lie on one core and are fully connected. On standard error it prints its version, then for each run the synaptic events that
SANA-FE counted and the seconds of its simulation (SANA-FE itself writes on standard output).
"""

import sys
import time
from importlib.metadata import version

import numpy as np
import sanafe

RUNS = 16
"""Runs that the input neurons' spike trains suffice for: time goes on from one to the next."""


def network(arch: sanafe.Architecture, layers: list[tuple[np.ndarray, int]]) -> sanafe.Network:
    """The layers' positions, round by round over the cores."""
    net, cores, place = sanafe.Network(), arch.cores(), 0
    for number, (spikes, outputs) in enumerate(layers):
        for position in range(spikes.shape[1]):
            name, inputs = f"{number}.{position}", spikes.shape[2]
            source = net.create_neuron_group(f"in.{name}", inputs)
            target = net.create_neuron_group(
                f"out.{name}", outputs, model_attributes={"threshold": 1e9}, soma_hw_name="loihi_lif",
                default_synapse_hw_name="loihi_dense_synapse",
            )  # fmt: skip
            core = cores[place % len(cores)]
            for channel, neuron in enumerate(source.neurons):
                train = RUNS * spikes[:, position, channel].astype(int).tolist()
                neuron.set_attributes(soma_hw_name=f"loihi_inputs[{channel}]", model_attributes={"spikes": train})
                neuron.map_to_core(core)
            for neuron in target.neurons:
                neuron.map_to_core(core)
            source.connect_neurons_dense(target, {"weight": [1.0] * (inputs * outputs)})
            place += 1
    return net


def main() -> None:
    """Build once, simulate for each line."""
    with np.load(sys.argv[1], allow_pickle=False) as file:
        layers = [(file[f"spikes{i}"], int(outputs)) for i, outputs in enumerate(file["outputs"])]
    arch = sanafe.load_loihi()
    chip, steps = sanafe.SpikingChip(arch), len(layers[0][0])
    chip.load(network(arch, layers))
    print(version("sanafe"), file=sys.stderr, flush=True)
    for _ in sys.stdin:
        before = time.perf_counter()
        result = chip.sim(steps, timing_model="detailed")
        print(result["spikes"], time.perf_counter() - before, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
