#!/usr/bin/env bash
# Every small trained network on the Verilog of a whole chip, each on the chip that its workload names: `cosim_families.sh [IMAGES]`.
# Prints the last lines of `archsim cosim` for each, and ends with status 1 if one of them differs.
set -uo pipefail
cd "$(dirname "$0")/.."

BIN=.venv/bin
status=0
for workload in spikingformer spikformer meta_spikeformer spike_driven_transformer spiking_moe spiking_mlp masked_spiking_transformer; do
    echo "== $workload"
    "$BIN/archsim" cosim "workloads/$workload.yaml" --images "${1:-1}" | grep -E '^(cycles|simulator|result)  ' || status=1
done
exit "$status"
