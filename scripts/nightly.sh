#!/usr/bin/env bash
# What takes too long for every change: proofs, mass co-simulation, synthesis with place and route, the mutation run, the long
# co-simulations, the pool. `nightly.sh [STAGE...]` runs all stages or those that are named, each to its end whatever became of the others,
# and leaves what it printed in reports/nightly/STAGE.txt behind a line with the date and one with the command.
set -uo pipefail
cd "$(dirname "$0")/.."

BIN=.venv/bin
OUT=reports/nightly
PUBLISHED=workloads/spikingformer_imagenet.yaml
mkdir -p "$OUT"

declare -A COMMANDS=(
    [cosim-units]="$BIN/python -m tests.rtl.mass"
    [formal]="$BIN/python -m rtl.formal --out reports/formal.md"
    [synthesis]="$BIN/python -m rtl.synthesis"
    [place-and-route]="$BIN/python -m rtl.synthesis --chip small --top --place"
    [mutation]="$BIN/python -m scripts.mutate --sample 300 --seed 1"
    [cosim-pool]="$BIN/python -m tests.cosim.long"
    [cosim]="$BIN/archsim cosim workloads/spikingformer.yaml --chip small --images 64"
    [cosim-families]="scripts/cosim_families.sh 2"
    [cosim-masked]="$BIN/archsim cosim workloads/masked_spiking_transformer.yaml --images 8"
    [cosim-sample-128]="$BIN/archsim cosim $PUBLISHED --chip adders_128 --sample 200 --seed 1"
    [cosim-sample-512]="$BIN/archsim cosim $PUBLISHED --chip adders_512 --sample 200 --seed 1"
    [published]="$BIN/python -m scripts.published"
    [chains]="$BIN/python -m scripts.chains --size 15M --trained workloads/meta_spikeformer.yaml"
    [compare]="$BIN/python -m scripts.compare --rates 0.05 0.15 --figure docs/spikformer.svg"
    [bandwidth]="$BIN/python -m scripts.bandwidth $PUBLISHED"
)
ORDER=(cosim-units formal cosim cosim-families cosim-masked cosim-pool cosim-sample-128 cosim-sample-512 published chains compare bandwidth synthesis place-and-route mutation)

failed=()
for stage in "${@:-${ORDER[@]}}"; do
    command=${COMMANDS[$stage]:-}
    [ -n "$command" ] || { echo "unknown stage '$stage': required some of ${ORDER[*]}" >&2; exit 2; }
    echo "== $stage"
    { echo "date:    $(date -u +%F)"; echo "command: ${command//"$BIN/"/}"; echo; } >"$OUT/$stage.txt"
    # The table is kept; progress, on standard error, is only shown.
    # shellcheck disable=SC2086  # a list of words
    $command | tee -a "$OUT/$stage.txt" || failed+=("$stage")
done
[ "${#failed[@]}" -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
