"""The network of a workload file as account and check need it: shapes, parameters and firing rates, without its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from archsim.config import load_workload
from archsim.config.workload import WorkloadConfig
from archsim.synthetic import read_rates
from archsim.traces import pooled, recorded
from archsim.workload import published_size, trained_network
from mapping.importers import artefact
from mapping.ir import Network, Synapse, output_shape
from mapping.networks.meta_spikeformer import MetaSpikeformer, unmerged
from mapping.networks.weights import Shapes, Size
from mapping.operands import written


@dataclass(frozen=True)
class Definition:
    """A workload's network.

    Attributes:
        config: the workload file.
        network: its layers; of a published size, weights are shapes alone.
        parameters: trainable parameters by layer of the checkpoint.
        rates: firing rate 0..1 by spike map as its reader finds it; empty where none is known.
        rates_from: where the rates come from.
        note: what of the size is not published.
        variants: the same network with its chains of convolutions apart, or merged in part.
    """

    config: WorkloadConfig
    network: Network
    parameters: Mapping[str, int]
    rates: Mapping[str, float]
    rates_from: str
    note: str = ""
    variants: Mapping[str, Network] = field(default_factory=dict)

    def biases(self, layer: Synapse) -> int:
        """Biases that the published layer has (a folded norm is none)."""
        return max(0, self.parameters.get(layer.name, 0) - layer.weight.size)


def define(workload: str | Path) -> Definition:
    """Read the network that a workload file names; raises ArchsimError for anything that does not fit together."""
    config = load_workload(workload)
    if config.network.size is None:
        return _trained(config)
    size, weights = published_size(workload, config), Shapes()
    network = size.network(weights)
    rates = read_rates(config.rates_path, config.network.size) if config.rates_path else {}
    source, note = "published" if rates else "", getattr(size, "note", "")
    return Definition(config, network, weights.parameters, rates, source, note, _variants(size))


def _variants(size: Size) -> dict[str, Network]:
    if not isinstance(size, MetaSpikeformer):
        return {}
    return {
        "RepConv and SepConv as trained": unmerged(size).network(Shapes()),
        "RepConv merged, SepConv as trained": replace(size, merge_sep=False).network(Shapes()),
    }


def _trained(config: WorkloadConfig) -> Definition:
    """The network of an artefact, and the mean rates of its recording."""
    trained = artefact.load(config.artefact)
    network = trained_network(config, trained)
    parameters: dict[str, int] = {}
    for name, tensor in trained.weights.items():
        place, _, kind = name.rpartition(".")
        if kind in ("weight", "bias"):
            parameters[place] = parameters.get(place, 0) + tensor.size
    maps, rates, images = network.maps(), {}, trained.manifest["traces"]["images"]
    for layer in network.layers:
        if spikes := written(layer):
            found = [recorded(trained, layer, spikes, image) for image in range(images)]
            if isinstance(layer, Synapse) and layer.pool:
                shape = output_shape(layer, maps[layer.source])
                found = [pooled(spikes, single, shape) for single in found]
            rates[spikes] = float(np.mean(found))
    return Definition(config, network, parameters, rates, f"means over {images} recorded images")
