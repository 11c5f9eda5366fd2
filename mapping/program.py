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
    about = {"format": FORMAT, "chip": program.chip.as_dict(), "notes": program.notes}
    path.parent.mkdir(parents=True, exist_ok=True)
    # One key: safetensors writes several in no fixed order.
    path.write_bytes(save(tensors, metadata={"archsim": json.dumps(about, sort_keys=True)}))


def read(path: Path) -> Program:
    """Read a program file; raises ArchsimError when it cannot be read or is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (no dictionary)
    except (SafetensorError, OSError) as error:
        raise ArchsimError(f"{path}: required a program file, given one that cannot be read: {error}") from error
    try:
        about = json.loads(metadata["archsim"])
        if about["format"] != FORMAT:
            raise ValueError(f"format '{about['format']}', required '{FORMAT}'")
        queues = {int(name.removeprefix("queue.")): rows for name, rows in tensors.items() if name.startswith("queue.")}
        return Program(ChipParams(**about["chip"]), queues, tensors["dram"], about["notes"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArchsimError(
            f"{path}: required chip, notes and queues of a program, given a file without ({error!r}); map the network again"
        ) from error
