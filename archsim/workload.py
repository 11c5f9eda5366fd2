"""Workloads as a run needs them: a network in integers, its program, its images, and recorded or drawn spikes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim.clustering import recorded
from archsim.config.workload import WorkloadConfig
from archsim.contracts import dma, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from archsim.kernel import decode
from archsim.ownership import prove
from archsim.prepare import Queues
from archsim.synthetic import Synthetic, calibrated, read_rates
from archsim.traces import trace_words
from archsim.units.sram import Pool
from mapping.importers import artefact
from mapping.importers.masked_spiking_transformer import read as read_masked_spiking_transformer
from mapping.importers.meta_spikeformer import read as read_meta_spikeformer
from mapping.importers.spike_driven_transformer import read as read_spike_driven_transformer
from mapping.importers.spike_driven_transformer import read_experts
from mapping.importers.spikformer import read as read_spikformer
from mapping.importers.spiking_mlp import read as read_spiking_mlp
from mapping.importers.spikingformer import read as read_spikingformer
from mapping.ir import Network
from mapping.networks import (
    masked_spiking_transformer,
    meta_spikeformer,
    spike_driven_transformer,
    spikformer,
    spiking_mlp,
    spiking_moe,
    spikingformer,
)
from mapping.networks.weights import Shapes, Size
from mapping.networks.weights import Synthetic as RandomWeights
from mapping.operators import require_mapped
from mapping.pad import padded
from mapping.product import FirstProduct
from mapping.quantise import OPERAND_BITS, IntNetwork, Precision, quantise
from mapping.schedule import require_room
from mapping.skeleton import skeleton
from mapping.window_attention import on_chip

FAMILIES = {
    "spikingformer": read_spikingformer, "spikformer": read_spikformer, "meta_spikeformer": read_meta_spikeformer,
    "spike_driven_transformer": read_spike_driven_transformer, "spiking_moe": read_experts,
    "spiking_mlp": read_spiking_mlp,
    "masked_spiking_transformer": read_masked_spiking_transformer,
}  # fmt: skip
"""Importer of each network family."""

SIZES: dict[str, Mapping[str, Size]] = {
    "spikingformer": spikingformer.PUBLISHED, "spikformer": spikformer.PUBLISHED,
    "meta_spikeformer": meta_spikeformer.PUBLISHED, "spike_driven_transformer": spike_driven_transformer.PUBLISHED,
    "masked_spiking_transformer": masked_spiking_transformer.PUBLISHED, "spiking_moe": spiking_moe.PUBLISHED,
    "spiking_mlp": spiking_mlp.PUBLISHED,
}  # fmt: skip
"""Published sizes of each family."""

TUNING_IMAGES = 4
"""Recorded images by which a mapping is chosen."""


def image_bytes(program: Program) -> range:
    """Where the image lies in DRAM: rows of bit planes, each from a beat's first byte on."""
    note = program.notes["image"]
    return dma.dram_bytes(note | {"dram_address": note["address"]}, program.chip.dram_bus_bytes)


@dataclass
class Workload:
    """A workload, mapped: everything that a run of its images needs.

    Attributes:
        config: the workload file.
        network: its integers.
        program: for the chip.
        trained: the trained network's artefact; None for a published size.
        recording: where recorded spikes come from (the artefact itself, or the workload's trace); None likewise.
        synthetic: images and spikes of a published size; None for a trained network.
        products: by attention layer, what K^T V takes on either engine.
    """

    config: WorkloadConfig
    network: IntNetwork
    program: Program
    trained: artefact.Artefact | None = None
    recording: artefact.Artefact | None = None
    synthetic: Synthetic | None = None
    products: dict[str, FirstProduct] = field(default_factory=dict)
    queues: Queues = field(init=False)

    def __post_init__(self) -> None:
        """Decode the program and prove its rules."""
        self.queues = decode(self.program)
        prove(self.program.chip, self.queues, len(self.program.dram))

    @cached_property
    def memories(self) -> Pool:
        """Memories of the runs; of DRAM they write the image and what the program stores."""
        chip, stores = self.program.chip, [f for f in self.queues[sequencer.DMA] if f["opcode"] == sequencer.STORE]
        stored = [dma.dram_bytes(fields, chip.dram_bus_bytes) for fields in stores]
        return Pool(chip, self.program.dram, [image_bytes(self.program), *stored])

    def images(self, count: int) -> list[NDArray[np.float64]]:
        """The first images, normalised. Raises ArchsimError when there are not so many."""
        if self.synthetic is not None:
            return [self.synthetic.pixels(number) for number in range(count)]
        assert self.trained is not None  # it has one of both
        pixels = self.trained.normalised()
        if not 1 <= count <= len(pixels):
            raise ArchsimError(
                f"images: required 1..{len(pixels)}, the test images of {self.config.artefact}, given {count}"
            )
        return list(pixels[:count])

    def words(self, image: int) -> dict[str, NDArray[np.uint64]]:
        """Words of every map of an image: recorded, or drawn at published rates."""
        program = self.program
        if self.synthetic is not None:
            return self.synthetic.words(program.chip, program.notes, image)
        assert self.recording is not None
        return trace_words(program.chip, self.network, program.notes, self.recording, image)

    def tuning_images(self) -> range:
        """Numbers of the recorded images that choose the mapping."""
        return range(0 if self.recording is None else min(TUNING_IMAGES, self.recording.manifest["traces"]["images"]))


@dataclass(frozen=True)
class Sources:
    """What a workload file names, read: a network in integers, and the rest of :class:`Workload`'s attributes."""

    network: IntNetwork
    trained: artefact.Artefact | None = None
    recording: artefact.Artefact | None = None
    synthetic: Synthetic | None = None


def read(place: str | Path, config: WorkloadConfig, chip: ChipParams, mode: str) -> Sources:
    """Read and quantise the network of a workload file; raises ArchsimError for anything that does not fit together.

    In mode ``execute`` a published size with firing rates is calibrated, so that its random weights fire at them.
    """
    precision = precision_of(config, chip)
    if config.network.size is not None:
        size = published_size(place, config)
        shapes = size.network(Shapes())
        require_mapped(shapes)  # before random weights are drawn, and so is what has no room whatever they are
        require_room(padded(skeleton(shapes, precision), chip.columns), chip)
        network = quantise(size.network(RandomWeights(config.network.seed)), precision)
        rates = read_rates(config.rates_path, config.network.size) if config.rates_path else {}
        if mode == "execute" and rates:
            network = calibrated(network, Synthetic(network, rates, config.network.seed))
        network = on_chip(padded(network, chip.columns), chip)
        clustering = recorded(config.spikes_like_path) if config.spikes_like_path else None
        return Sources(network, synthetic=Synthetic(network, rates, config.network.seed, clustering))
    trained, recording = _artefacts(place, config)
    network = quantise(trained_network(config, trained), precision)
    return Sources(on_chip(network, chip), trained, recording)


def precision_of(config: WorkloadConfig, chip: ChipParams) -> Precision:
    """Bits of a workload's integers on a chip."""
    return Precision(
        chip.weight_bits, config.operand_bits.image, config.operand_bits.head, chip.membrane_bits,
        chip.normaliser_operand_bits or OPERAND_BITS,
    )  # fmt: skip


def trained_network(config: WorkloadConfig, trained: artefact.Artefact) -> Network:
    """The network of an artefact, with the masks that the workload asks for."""
    network = FAMILIES[config.network.family](trained)
    return network if config.network.masked is None else masked_spiking_transformer.masked(network, config.network.masked)


def published_size(place: str | Path, config: WorkloadConfig) -> Size:
    """The published size that a workload file names; raises ArchsimError for one that the family has not."""
    sizes, size = SIZES[config.network.family], config.network.size or ""
    if size not in sizes:
        raise ArchsimError(f"{place}: network.size: required one of {', '.join(sizes)}, given '{size}'")
    return sizes[size]


def _artefacts(place: str | Path, config: WorkloadConfig) -> tuple[artefact.Artefact, artefact.Artefact]:
    """The trained network, and the recording of its spikes."""
    trained = artefact.load(config.artefact)
    if trained.manifest["family"] != config.network.family:
        raise ArchsimError(
            f"{place}: network.family: required '{trained.manifest['family']}', the family of {config.artefact}, "
            f"given '{config.network.family}'"
        )
    if config.trace_path is None or config.trace_path.resolve() == config.artefact.resolve():
        return trained, trained
    recording = artefact.load(config.trace_path)
    if recording.manifest["sha256"]["weights.safetensors"] != trained.manifest["sha256"]["weights.safetensors"]:
        raise ArchsimError(
            f"{config.trace_path}: required a trace recorded from the weights of {config.artefact}, given one of other "
            "weights (sha256 differs); record it again or name the right network"
        )
    return trained, recording
