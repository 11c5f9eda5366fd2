"""Runs tests on mutants, one at a time, in a private copy of the tree with caches of its own that stay warm."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from archsim.contracts.common.errors import ArchsimError
from scripts.mutate.operators import Mutant
from scripts.mutate.targets import ROOT, TRANSACTIONS, Stage

COPIED = ("archsim", "rtl", "mapping", "workloads", "tests", "scripts", "pyproject.toml")
"""What the tests need of the tree."""

KILLED, HUNG, INVALID, SURVIVED = "killed", "hung", "invalid", "survived"
"""Verdicts. Hung: the tests took longer than their limit, which is a kill. Invalid: Amaranth or Numba refuses the source, so
there is no hardware or model to test; such mutants do not count."""

LIMIT_SECONDS = 300
"""A stage that takes longer hangs; on an idle machine of two cores the longest takes 40 seconds."""

_NOT_FOUND = (4, 5)
"""Statuses of pytest: no such test; nothing selected."""

_REFUSED = re.compile(
    r"\n(?:E +|.*?:\d+: )(amaranth\.hdl\.\S+|DriverConflict|FrozenError|NameError|AttributeError|TypeError|SyntaxError"
    r"|numba\.core\.errors\.\S+|TypingError|CombinationalCycle)\b"
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+(?: [^-\n]\S*)*)(?: - (.*))?$", re.MULTILINE)


class Verdict(NamedTuple):
    """What became of a mutant.

    Attributes:
        verdict: one of the verdicts above.
        test: the first test that failed, with its message.
        seconds: time of all tests that ran.
    """

    verdict: str
    test: str
    seconds: float


class Workspace:
    """A private copy of the tree, removed at the end; use as a context manager."""

    def __init__(self) -> None:
        self.passing: set[str] = set()

    def __enter__(self) -> "Workspace":
        self._folder = tempfile.TemporaryDirectory(prefix="mutate-")
        self.root = Path(self._folder.name).resolve()
        for name in COPIED:
            source, target = ROOT / name, self.root / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def judge(self, mutant: Mutant, stages: tuple[Stage, ...]) -> Verdict:
        """Run stages on a mutant until one fails; what failed must pass on the unchanged tree, or ArchsimError is raised."""
        total = 0.0
        for stage in stages:
            status, output, seconds = self._with(mutant, stage)
            total += seconds
            if status is None:
                self._check(" ".join(stage.arguments), stage.arguments, stage)
                return Verdict(HUNG, " ".join(stage.arguments), total)
            if status:
                failed = _FAILED.search(output)
                self._check(failed[1] if failed else "", [failed[1]] if failed else stage.arguments, stage)
                test = f"{failed[1]}: {failed[2] or ''}" if failed else " ".join(output.splitlines()[-1:])
                return Verdict(INVALID if _REFUSED.search(output) else KILLED, test[:300], total)
        return Verdict(SURVIVED, "", total)

    def _check(self, name: str, arguments: list[str], stage: Stage) -> None:
        """Once for each test that fails: it, or if it cannot be named the whole stage, passes on the unchanged tree."""
        if name in self.passing:
            return
        status, output, _ = self._pytest(arguments)
        if status in _NOT_FOUND:
            status, output, _ = self._pytest(stage.arguments)
        if status != 0:
            raise ArchsimError(f"mutation: the unchanged tree must pass {stage.arguments}:\n{output[-2000:]}")
        self.passing.add(name)

    def _with(self, mutant: Mutant, stage: Stage) -> tuple[int | None, str, float]:
        """Run a stage with the mutant in its place; the file is as before afterwards."""
        path = self.root / mutant.file
        if path.read_text() != mutant.original:
            raise ArchsimError(
                f"mutation: {mutant.file} differs from the private copy; its source changed during the run"
            )
        times, kept = path.stat(), self._cached()
        path.write_text(mutant.text)
        try:
            return self._pytest(stage.arguments)
        finally:
            path.write_text(mutant.original)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # kernels of the unchanged source stay valid
            for left in self._cached() - kept:
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def _pytest(self, arguments: list[str]) -> tuple[int | None, str, float]:
        """Status (None if the limit passed), output and seconds of pytest."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider", *arguments]
        begin = time.monotonic()
        process = subprocess.Popen(
            command, cwd=self.root, env=self._environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=LIMIT_SECONDS)
            status: int | None = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            status = None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return status, output, time.monotonic() - begin

    def _environment(self) -> dict[str, str]:
        """The copy comes first on the path, in subprocesses too; caches lie inside it. No bytecode: it is told by time and size."""
        cache = str(self.root / "cache")
        return os.environ | {
            "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": cache,
            "ARCHSIM_CACHE_DIR": f"{cache}/archsim", "CCACHE_DIR": f"{cache}/ccache",
            "ARCHSIM_RTL_TRANSACTIONS": str(TRANSACTIONS), "COLUMNS": "400",
        }  # fmt: skip

    def _cached(self) -> set[Path]:
        """Kernels and simulators that lie in the copy; those of a mutant are of no further use."""
        return {*(self.root / "cache" / "archsim").glob("kernels-*"), *(self.root / "build").glob("*/*")}
