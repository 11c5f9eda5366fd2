#!/usr/bin/env bash
# Time one stage: `stage.sh [--last] NAME COMMAND...` runs the command, prints `stage NAME: N s` and
# exits with its status. Stages of a run are collected in $STAGE_LOG, if set.
#
# --last: print the times of all stages just before the command's own last line, so that the summary
# of a test runner closes the output.
set -uo pipefail

last=false
if [ "$1" = --last ]; then
    last=true
    shift
fi
name=$1
shift
log=${STAGE_LOG:-/dev/null}

report() {
    local line
    line="stage $name: $((SECONDS)) s"
    echo "$line" >>"$log"
    if $last && [ -f "$log" ]; then cat "$log"; else echo "$line"; fi
}

# Pass lines on one behind, so that the last one can follow the report.
hold_last_line() {
    local line held="" first=true
    while IFS= read -r line || [ -n "$line" ]; do
        $first || printf '%s\n' "$held"
        first=false
        held=$line
    done
    report
    $first || printf '%s\n' "$held"
}

SECONDS=0
echo "== $name"
if $last; then
    "$@" 2>&1 | hold_last_line
    exit "${PIPESTATUS[0]}"
fi
"$@"
status=$?
report
exit "$status"
