"""Workloads as users write them: a trained network, the chip to run it on, and how many images."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from archsim.config.chip import Name, chip_names, read_chip
from archsim.config.validate import Strict, nearest, validate
from archsim.config.yaml_source import KeyPath, read_yaml
from archsim.contracts.common.errors import ArchsimError


class NetworkConfig(Strict):
    """Which network: a trained one, or a published size of which only the shapes are known."""

    family: Literal[
        "spikingformer", "spikformer", "meta_spikeformer", "spike_driven_transformer", "spiking_moe",
        "masked_spiking_transformer", "spiking_mlp",
    ]  # fmt: skip
    """the family of the network, which says how its artefact is read, and which sizes were published"""
    artefact: str | None = None
    """folder of the trained network, relative to this file"""
    size: str | None = None
    """published size instead of a trained network: its weights are random"""
    seed: Annotated[int, Field(ge=0)] = 0
    """seed of random weights, images and spikes"""
    masked: Annotated[float, Field(ge=0, le=1)] | None = None
    """share of the spikes of q, k and scores that a trained masked spiking transformer drops; without it that of its artefact"""


class OperandBits(Strict):
    """Widths of the integer operands that are computed bit plane by bit plane."""

    image: Annotated[int, Field(ge=2, le=16)] = 8
    """bits of the quantised image, two's complement"""
    head: Annotated[int, Field(ge=2, le=24)] = 12
    """bits of the summed membranes that enter the classifier, two's complement"""


class WorkloadConfig(Strict):
    """A workload as users write it; `artefact` and `trace_path` resolve its paths against its file."""

    name: Name
    """identifier, also the name of the report's folder"""
    description: str = ""
    """one sentence on what the workload is"""
    network: NetworkConfig
    """the trained network"""
    chip: str = "adders_128"
    """a preset's name or a YAML file, relative to this file"""
    mode: Literal["execute", "trace"] = "execute"
    """execute: run the network; trace: replay recorded spikes"""
    images: Annotated[int, Field(ge=1)] = 1
    """number of images to run"""
    trace: str | None = None
    """folder of recorded spikes, relative to this file; needed by mode trace of a trained network"""
    claims: Literal["addition-only", "spike-driven", "integer-by-binary"] | None = None
    """what the network claims of its layers, for `archsim check`. addition-only: each only adds weights where a spike is;
    spike-driven: so does each but those on the image and the classifier, which may read integers bit plane by bit plane;
    integer-by-binary: any layer may read integers so"""
    rates: str | None = None
    """YAML file of published firing rates in percent, by size and map, relative to this file; needed by mode trace of a size"""
    spikes_like: str | None = None
    """folder of a trained network, relative to this file: spikes of a size are drawn with the spread over channels and the
    correlation over time and tokens of its recorded ones; without it independently"""
    operand_bits: OperandBits = OperandBits()
    """widths of integer operands"""

    _directory: Path = PrivateAttr(default=Path())

    @property
    def directory(self) -> Path:
        """Folder of the file that this came from."""
        return self._directory

    @property
    def artefact(self) -> Path:
        """Folder of the trained network; of a published size, the folder of this file."""
        return self._directory / (self.network.artefact or "")

    @property
    def rates_path(self) -> Path | None:
        """File of published firing rates, or None."""
        return self._directory / self.rates if self.rates is not None else None

    @property
    def spikes_like_path(self) -> Path | None:
        """Folder of the network as whose spikes those of a size cluster, or None."""
        return self._directory / self.spikes_like if self.spikes_like is not None else None

    @property
    def trace_path(self) -> Path | None:
        """Folder of the recorded spikes, or None."""
        return self._directory / self.trace if self.trace is not None else None


def load_workload(path: str | Path) -> WorkloadConfig:
    """Read and check a workload file: its keys, and that all it names is there.

    Raises one ArchsimError with file, line and column of every error.
    """
    path = Path(path)
    document = read_yaml(path)
    workload = validate(WorkloadConfig, document)
    workload._directory = path.parent
    problems: list[tuple[KeyPath, str]] = []
    if not workload.artefact.exists():
        given = f"required an existing folder, given {str(workload.artefact)!r}"
        problems.append((("network", "artefact"), f"{given}; train it or correct the path (relative to this file)"))
    if workload.chip not in chip_names() and not (path.parent / workload.chip).is_file():
        remedy = nearest(workload.chip, chip_names())
        problems.append((("chip",), f"required a preset's name or a YAML file, given {workload.chip!r}; {remedy}"))
    if (workload.network.artefact is None) == (workload.network.size is None):
        problems.append((("network",), "required either `artefact:` (a trained network) or `size:` (a published one)"))
    if workload.network.masked is not None and (
        workload.network.family != "masked_spiking_transformer" or workload.network.artefact is None
    ):
        given = f"given {workload.network.masked} for another network; remove it"
        problems.append((("network", "masked"), f"required only for a trained masked_spiking_transformer, {given}"))
    spikes = "trace" if workload.network.size is None else "rates"
    if workload.mode == "trace" and getattr(workload, spikes) is None:
        problems.append(
            (("mode",), f"required a `{spikes}:` key with mode trace, given none; add it or use mode execute")
        )
    if workload.rates_path is not None and not workload.rates_path.is_file():
        problems.append((("rates",), f"required an existing file, given {str(workload.rates_path)!r}; correct the path "
                         "(relative to this file)"))  # fmt: skip
    if workload.spikes_like is not None and workload.rates is None:
        given = "required a `rates:` key beside it, since only drawn spikes cluster, given none"
        problems.append((("spikes_like",), f"{given}; add one or remove this key"))
    if workload.trace_path is not None and not workload.trace_path.exists():
        problems.append((("trace",), f"required an existing path, given {str(workload.trace_path)!r}"
                         "; correct it (relative to this file)"))  # fmt: skip
    if problems:
        lines = [(document.position(key), f"{document.where(key)}: {'.'.join(map(str, key))}: {text}")
                 for key, text in problems]  # fmt: skip
        raise ArchsimError("\n".join(text for _, text in sorted(lines)))
    if workload.chip not in chip_names():
        read_chip(workload.chip, base=path.parent)
    return workload
