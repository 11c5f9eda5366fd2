"""Timeline in the Chrome trace format: one row per engine, one slice per instruction. Perfetto opens it.

Times are microseconds of chip time (cycles / clock in MHz); every slice's arguments hold its cycles.
"""

from typing import Any

from archsim.contracts import sequencer
from archsim.results import COUNTERS, RunResult

WAITED_FOR = ("nothing", "dma", "multicast", "attention", "another core", "experts", "normaliser")
"""Names of ``waited_for``, by number."""


def timeline(result: RunResult) -> dict[str, Any]:
    """The trace of the first image as JSON data."""
    run, chip = result.images[0], result.chip
    layers = result.program.notes["layers"]
    title = f"{result.workload} on {chip.name}"
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "pid": 0, "args": {"name": title}}]
    for engine in sequencer.engines(chip):
        row = {"ph": "M", "pid": 0, "tid": engine}
        events.append({**row, "name": "thread_name", "args": {"name": sequencer.engine_name(engine)}})
        events.append({**row, "name": "thread_sort_index", "args": {"sort_index": engine}})
    names = run.records.dtype.names or ()
    for values in run.records.tolist():
        record = dict(zip(names, values, strict=True))
        layer = layers[record["layer"]]["name"]
        opcode = sequencer.OPCODES[record["opcode"]]
        counts = {entry.name: record[entry.name] for entry in COUNTERS if record[entry.name]}
        events.append(
            {
                "ph": "X",
                "pid": 0,
                "tid": record["engine"],
                "name": f"{opcode} {layer}",
                "cat": opcode,
                "ts": record["start"] / chip.clock_mhz,
                "dur": (record["end"] - record["start"]) / chip.clock_mhz,
                "args": {
                    "layer": layer,
                    "instruction": record["index"],
                    "ready_cycle": record["ready"],
                    "start_cycle": record["start"],
                    "end_cycle": record["end"],
                    "waited_cycles": record["start"] - record["ready"],
                    "waited_for": WAITED_FOR[record["waited_for"]],
                    **counts,
                },
            }
        )
    other = {"time_unit": "microseconds of chip time", "clock_mhz": chip.clock_mhz, "image": 0}
    return {"displayTimeUnit": "ns", "otherData": other, "traceEvents": events}
