"""Program files: one safetensors file with the queues, the DRAM image and the notes, the same bytes for the same program."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program

FORMAT = "archsim program 1"


def write(program: Program, path: Path) -> None:
    """Write a program file."""
    tensors = {f"queue.{engine:02d}": rows for engine, rows in program.queues.items()} | {"dram": program.dram}
    about = {"chip": program.chip.as_dict(), "notes": program.notes}
    metadata = {"format": FORMAT, "about": json.dumps(about, sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(tensors, metadata=metadata))


def read(path: Path) -> Program:
    """Read a program file; raises ArchsimError when it cannot be read or is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (no dictionary)
    except (SafetensorError, OSError) as error:
        raise ArchsimError(f"{path}: required a program file, given one that cannot be read: {error}") from error
    if metadata.get("format") != FORMAT or "dram" not in tensors:
        raise ArchsimError(
            f"{path}: required a file of format '{FORMAT}', given '{metadata.get('format')}'; map the network again"
        )
    about = json.loads(metadata["about"])
    queues = {int(name.removeprefix("queue.")): rows for name, rows in tensors.items() if name.startswith("queue.")}
    return Program(ChipParams(**about["chip"]), queues, tensors["dram"], about["notes"])
