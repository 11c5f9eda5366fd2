"""Shared by the system tests: the digits workload mapped for a chip, once per session; a copy of it to break."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from archsim import cli, simulate

WORKLOAD = Path(__file__).parents[2] / "workloads" / "spikingformer.yaml"


@cache
def _mapped(chip: str) -> simulate.Workload:
    return simulate.load(WORKLOAD, chip)


@pytest.fixture(scope="session")
def mapped() -> Callable[[str], simulate.Workload]:
    """The digits workload mapped for a preset."""
    return _mapped


@pytest.fixture(scope="session")
def workload_file() -> Path:
    """The digits workload file."""
    return WORKLOAD


@dataclass
class Copy:
    """A workload file and its artefact folder that a test may break.

    Attributes:
        workload: the workload file.
        folder: its artefact.
    """

    workload: Path
    folder: Path

    def replace(self, old: str, new: str) -> None:
        """Replace text in the workload file."""
        text = self.workload.read_text()
        assert old in text
        self.workload.write_text(text.replace(old, new))

    def manifest(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the manifest."""
        place = self.folder / "manifest.json"
        manifest = json.loads(place.read_text())
        change(manifest)
        place.write_text(json.dumps(manifest))

    def arrays(self, name: str, change: Callable[[dict[str, np.ndarray]], object], rehash: bool = True) -> None:
        """Change the arrays of weights.safetensors, test.npz or traces.npz; ``rehash``: and the manifest's sha256."""
        place, safe = self.folder / name, name.endswith(".safetensors")
        arrays = load_file(place) if safe else dict(np.load(place))
        change(arrays)
        if safe:
            save_file(arrays, place)
        else:
            np.savez(place, **arrays)
        if rehash:
            self.rehash(name)

    def rehash(self, name: str) -> None:
        """Make the manifest agree with a file again."""
        digest = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
        self.manifest(lambda manifest: manifest["sha256"].update({name: digest}))


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Copy:
    """A copy of the digits workload in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artefacts" / "spikingformer_digits"
    shutil.copytree(WORKLOAD.parent / "artefacts" / "spikingformer_digits", folder)
    shutil.copy(WORKLOAD, tmp_path)
    return Copy(tmp_path / WORKLOAD.name, folder)


@pytest.fixture
def refused(monkeypatch, capsys, copy) -> Callable[..., str]:
    """Runs the command line on the copy; returns the message, after it was refused as bad input must be."""

    def run(*options: object) -> str:
        before = sorted(Path().rglob("*"))
        monkeypatch.setattr(sys, "argv", ["archsim", "run", str(copy.workload), *map(str, options)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        message = printed.err[printed.err.index("error: ") :]
        assert end.value.code == 2
        assert printed.out == ""
        assert "Traceback" not in printed.err
        assert sorted(Path().rglob("*")) == before, "a refused run leaves files"
        assert any(word in message for word in ("required", "needs", "must")), message
        return message

    return run
