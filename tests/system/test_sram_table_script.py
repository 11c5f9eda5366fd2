"""Does the script that makes the memory law's table find both sides of a jump, keep what has to stay, and read CACTI right?"""

import sys
from dataclasses import astuple

import pytest

from archsim.contracts.common.errors import ArchsimError
from archsim.energy.sram import DEVICE, FIGURES, HELD, Run, over_size, runs, table
from scripts import sram_table

PRINTED = """\
    Total dynamic read energy per access (nJ): 0.0399081
    Total dynamic write energy per access (nJ): 0.100314
    Total leakage power of a bank (mW): 0.000642351
    Total gate leakage power of a bank (mW): 0.000294159
    Cache height x width (mm): 0.25 x 0.46192
"""


def stepped(size, bits, banks=1, device=DEVICE):
    """Straight lines with a jump of 40 % above 5000 bytes; nothing below 31 rows."""
    if size * 8 / bits <= 30:
        return None
    read = (1 + size / 1e4) * (1.4 if size > 5000 else 1)
    return Run(device, size, bits, banks, read, 2 * read, 1e-9 * size, 1e-6 * size)


def test_both_sides_of_a_jump_are_in_the_table_and_little_else():
    found = sram_table.of_width(stepped, 64, set())
    sizes = [run.size for run in found]
    assert sizes[0] == 248 + 8 and sizes[-1] == 1 << 22 and len(found) <= 6
    low = max(size for size in sizes if size <= 5000)
    high = min(size for size in sizes if size > 5000)
    assert high / low < 1.005
    for size in range(256, 100_000, 8):
        if not low < size < high:
            for _, of in FIGURES.values():
                assert over_size(found, size, of) == pytest.approx(of(stepped(size, 64)), rel=sram_table.KEPT)


def test_a_curve_takes_as_many_runs_as_it_needs():
    own = [Run(DEVICE, 1000 + step, 64, 1, (1 + step / 1000) ** 2, 1.0, 1.0, 1.0) for step in range(0, 1001, 10)]
    kept = sram_table.thinned(own, set())
    errors = [abs(over_size(kept, run.size, FIGURES["read"][1]) / run.read_pj - 1) for run in own]
    assert 0.005 < max(errors) <= 0.01 and len(kept) < 8


def test_what_has_to_stay_is_in_the_table():
    staying = {12_288, 100_000}
    assert staying <= {run.size for run in sram_table.of_width(stepped, 64, staying)}
    assert not staying & {run.size for run in sram_table.of_width(stepped, 64, set())}


def test_every_figure_counts():
    line = [stepped(size, 64) for size in (8192, 9000, 10_000)]
    assert sram_table.worst(*line) < 1e-9
    for name in ("read_pj", "write_pj", "leakage_mw", "area_mm2"):
        values = {**line[1].__dict__, name: getattr(line[1], name) * 1.25}
        assert sram_table.worst(line[0], Run(**values), line[2]) == pytest.approx(0.2)


def test_starting_sizes_are_those_of_the_first_table():
    assert sram_table.starting_sizes()[:9] == [64, 96, 128, 176, 256, 384, 512, 704, 1024]
    assert sram_table.starting_sizes()[-2:] == [2_965_824, 1 << 22]


def test_banks_of_presets_are_runs_of_the_table():
    banks = sram_table.of_presets()
    assert {(32_768, 512), (10_224, 384), (153_600, 384)} <= banks  # weights, partial sums, sums of adders_512
    assert {(49_152, 64), (49_152, 256)} <= banks  # granules and rows of adders_512_t4's input banks
    assert all(size * 8 // bits * bits == size * 8 for size, bits in banks)


def test_the_drawn_runs_are_not_in_the_table_and_come_by_the_seed():
    one, same, other = (list(sram_table.held_lines(stepped, seed, 40)) for seed in (1, 1, 2))
    assert one == same != other
    drawn = [tuple(map(int, text.split(",")[1:3])) for text in one if text.startswith(DEVICE)]
    assert len(drawn) == 40 and min(bits for _, bits in drawn) < 64 < 256 < max(bits for _, bits in drawn)
    assert not any(run.size == size for size, bits in drawn for run in table()[bits])


def fake(folder, body):
    """A binary in the tree of the package."""
    binary = folder / "cacti" / "cacti"
    binary.parent.mkdir()
    binary.write_text(f"#!{sys.executable}\n{body}")
    binary.chmod(0o755)
    (folder / "default_cfg.cfg").write_text(f'-Data array cell type - "{DEVICE}"\n')
    return binary


def test_figures_are_read_from_what_cacti_prints(tmp_path):
    seen = tmp_path / "seen"
    binary = fake(tmp_path, f"import sys\nopen({str(seen)!r}, 'w').write(open(sys.argv[2]).read())\nprint({PRINTED!r})")
    run = sram_table.cacti(binary)(32_768, 512, 4, "itrs-hp")
    assert astuple(run) == ("itrs-hp", 32_768, 512, 4, 39.908, 100.31, 0.00064235, 0.11548)
    assert sram_table.line(run) == "itrs-hp,32768,512,4,39.908,100.31,0.00064235,0.11548"
    settings = seen.read_text().splitlines()
    assert {"-size (bytes) 32768", "-block size (bytes) 64", "-output/input bus width 512", "-UCA bank 4"} <= set(
        settings
    )
    assert settings[0].endswith('"itrs-hp"')


def test_a_size_without_an_organisation_is_no_run(tmp_path):
    assert sram_table.cacti(fake(tmp_path, "print('ERROR: no valid organisation')"))(64, 512) is None


def test_without_cacti_the_error_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    with pytest.raises(
        ArchsimError, match=r"cacti: required a built CACTI .* docstring of scripts/sram_table.py says how"
    ):
        sram_table.cacti(tmp_path / "cacti" / "cacti")
    monkeypatch.setattr(sys, "argv", ["sram_table", str(tmp_path / "none"), "table"])
    assert sram_table.main() == 2 and "required a built CACTI" in capsys.readouterr().err


def test_lines_that_come_out_otherwise_are_named():
    known = {(run.device, run.size, run.bits, run.banks): run for run in runs(file=HELD)}
    assert not list(sram_table.again_lines(lambda size, bits, banks, device: known[device, size, bits, banks], HELD))
    first = next(iter(known.values()))
    known[first.device, first.size, first.bits, first.banks] = None
    (text,) = sram_table.again_lines(lambda size, bits, banks, device: known[device, size, bits, banks], HELD)
    assert text == f"{sram_table.line(first)} now nothing"
