"""Is the cache of compiled kernels named by every source that a kernel may use?"""

import ast
from pathlib import Path

from archsim.jit import KERNELS

ROOT = Path(__file__).parents[2]
DECORATORS = {"njit", "kernel", "intrinsic"}


def imported(source: Path) -> set[Path]:
    """Files of the package that a source imports from."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("archsim"):
            place = ROOT / node.module.replace(".", "/")
            names = [place / alias.name for alias in node.names] + [place]
            found |= {name.with_suffix(".py") for name in names if name.with_suffix(".py").exists()}
    return found


def test_whatever_kernels_import_is_part_of_the_hash():
    package = ROOT / "archsim"
    covered = {
        source
        for name in KERNELS
        for source in ((package / name).rglob("*.py") if (package / name).is_dir() else [package / name])
    }
    assert all(source.exists() for source in covered)
    sources = sorted(package.rglob("*.py"))
    users = {
        source
        for source in sources
        if any(
            getattr(part, "id", "") in DECORATORS or getattr(part, "attr", "") in DECORATORS
            for node in ast.walk(ast.parse(source.read_text()))
            if isinstance(node, ast.FunctionDef)
            for part in node.decorator_list
        )
    }
    assert len(users) > 20
    needed, new = set(), users
    while new:
        needed |= new
        new = set().union(*map(imported, new)) - needed
    assert sorted(str(source.relative_to(package)) for source in needed - covered) == []
