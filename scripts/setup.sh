#!/usr/bin/env bash
# Prepare this checkout: `setup.sh [core|all|train|packages]`.
#
#   core      .venv with what the simulator needs
#   all       Debian packages, then .venv with every extra but training (default)
#   train     .venv with core, torch and scikit-learn
#   packages  Debian packages only
#
# Run again at will: a stamp in .venv, named by the content that decides the result, makes the
# second run immediate. PYTHON selects the interpreter (3.11 or newer; default python3).
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
VENV=.venv

die() {
    echo "setup: $*" >&2
    exit 1
}

# The location counts too: a moved checkout has a .venv whose scripts point elsewhere.
KEY=$({ pwd; cat pyproject.toml constraints.txt constraints-train.txt scripts/setup.sh; } | sha256sum | cut -c1-16)
stamp() { echo "$VENV/.stamp-$1-$KEY"; }

# Whether set-up $1 is done, by this or by a larger one.
is_done() { [ -x "$VENV/bin/python" ] && [ -e "$(stamp "$1")" ]; }

# ---------------------------------------------------------------- Debian packages

has_python() { "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# cocotb loads Python into the simulator: it needs the shared library, which Debian's python3 does not bring.
has_shared_python() {
    "$PYTHON" - 2>/dev/null <<'PY'
import ctypes, pathlib, sysconfig
name = sysconfig.get_config_var("INSTSONAME") or ""
try:
    ctypes.CDLL(str(pathlib.Path(sysconfig.get_config_var("LIBDIR")) / name))
except OSError:
    ctypes.CDLL(name)  # a non-zero exit if the loader does not know it either
PY
}

missing_for_core() {
    has_python || echo python3
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

missing_for_all() {
    missing_for_core
    has_shared_python || "$PYTHON" -c 'import sys; print("libpython%d.%d" % sys.version_info[:2])' 2>/dev/null \
        || echo libpython3.11
    command -v iverilog >/dev/null || echo iverilog
    command -v g++ >/dev/null || echo g++
    command -v make >/dev/null || echo make
    command -v ccache >/dev/null || echo ccache
    # perl-base lacks this module, which Verilator's front end reads
    perl -MPod::Usage -e 1 2>/dev/null || echo perl
    command -v berkeley-abc >/dev/null || echo berkeley-abc # unbounded proofs
    [ -e /usr/share/qflow/tech/osu018/osu018_stdcells.lib ] || echo qflow-tech-osu018
    command -v sta >/dev/null || echo opensta # critical paths
}

# Install what `$1` (missing_for_core or missing_for_all) lists, or say precisely what is missing.
install_packages() {
    local missing as_root=()
    missing=$("$1" | tr '\n' ' ')
    [ -n "${missing// /}" ] || return 0
    command -v apt-get >/dev/null || die "missing: $missing(names as in Debian); install them and run again"
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null \
            || die "missing Debian packages: $missing; run: sudo apt-get update && sudo apt-get install $missing"
        as_root=(sudo -n)
    fi
    echo "setup: installing Debian packages: $missing"
    "${as_root[@]}" apt-get update -qq
    # shellcheck disable=SC2086  # a list of names
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    missing=$("$1" | tr '\n' ' ')
    [ -z "${missing// /}" ] || die "still missing after installation: $missing; PYTHON selects another interpreter (3.11 or newer)"
}

# ---------------------------------------------------------------- Python packages

pip_install() { "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

make_venv() {
    [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1 && return
    "$PYTHON" -m venv --clear "$VENV"
}

# Editable install of the project with extras `$1` ("" or "[a,b]"), everything at its pinned version.
install_project() {
    make_venv
    # What follows changes the environment: stamps of another content no longer tell the truth.
    find "$VENV" -maxdepth 1 -name '.stamp-*' ! -name "*-$KEY" -delete
    # The build back end comes from constraints.txt too, hence no isolated (unpinned) build.
    pip_install -c constraints.txt hatchling editables
    pip_install -c constraints.txt --no-build-isolation --editable ".$1"
}

setup_core() {
    is_done all || is_done core && return
    install_packages missing_for_core
    install_project ""
    touch "$(stamp core)"
}

setup_all() {
    # Packages are looked at every time: it takes milliseconds, and they can go away without the stamp.
    install_packages missing_for_all
    is_done all && return
    install_project "[rtl,sim,eda,dev]"
    touch "$(stamp all)"
}

setup_train() {
    setup_core
    is_done train && return
    # torch first and alone: what depends on it would otherwise choose another version, with CUDA.
    pip_install torch==2.13.0
    pip_install -c constraints.txt -c constraints-train.txt scikit-learn sanafe
    # Its neurons alone are used; what it names beside (torchvision) would bring another torch.
    pip_install -c constraints-train.txt --no-deps spikingjelly
    touch "$(stamp train)"
}

case ${1:-all} in
    core) setup_core ;;
    all) setup_all ;;
    train) setup_train ;;
    packages) install_packages missing_for_all ;;
    *) die "unknown set-up '$1': required core, all, train or packages" ;;
esac
