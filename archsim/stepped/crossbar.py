"""Expert crossbar, cycle by cycle: queues as lists, the registers of the outputs, everything decided from the start of a cycle."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.crossbar import CrossbarParams


def run(
    params: CrossbarParams,
    destinations: Sequence[NDArray[np.int64]],
    lasts: Sequence[NDArray[np.bool_]],
    gaps: Sequence[NDArray[np.int64]],
    ready: Sequence[NDArray[np.bool_]],
) -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[NDArray[np.int64]], dict[str, NDArray[np.int64]]
]:
    """As :func:`archsim.units.crossbar.run`, one cycle after the other."""  # fmt: skip
    ports, starts = params.ports, np.cumsum([0, *map(len, destinations)])
    flat, ends = np.concatenate(destinations), np.concatenate(lasts)
    pauses, total = np.concatenate(gaps), int(starts[-1])
    queues: list[list[deque[int]]] = [[deque() for _ in range(ports)] for _ in range(ports)]
    grant, last_choice = [-1] * ports, [ports - 1] * ports
    accepted, departed, sources = (np.full(total, -1, np.int64) for _ in range(3))
    arrivals: list[list[int]] = [[] for _ in range(ports)]
    waiting = [list(range(starts[port], starts[port + 1])) for port in range(ports)]
    pause = [int(pauses[flits[0]]) if flits else 0 for flits in waiting]
    place, cycle, left = [0] * ports, 0, total
    while left:
        sizes = [[len(queue) for queue in row] for row in queues]
        entering = []
        for port in range(ports):
            if place[port] == len(waiting[port]):
                continue
            if pause[port]:
                pause[port] -= 1
                continue
            flit = waiting[port][place[port]]
            if sizes[port][flat[flit]] < params.depth:
                entering.append((port, flit))
        for output in range(ports):
            if grant[output] >= 0:
                source = grant[output]
                if sizes[source][output] == 0 or not ready[output][cycle % len(ready[output])]:
                    continue
                flit = queues[source][output].popleft()
                departed[flit], sources[flit] = cycle, source
                arrivals[output].append(flit)
                left -= 1
                if not ends[flit]:
                    continue
                sizes[source][output] -= 1
                grant[output] = -1
            for offset in range(1, ports + 1):
                source = (last_choice[output] + offset) % ports
                if sizes[source][output]:
                    grant[output] = last_choice[output] = source
                    break
        for port, flit in entering:
            accepted[flit] = cycle
            queues[port][flat[flit]].append(flit)
            place[port] += 1
            if place[port] < len(waiting[port]):
                pause[port] = int(pauses[waiting[port][place[port]]])
        cycle += 1
    counts = np.array([[len(queue) for queue in row] for row in queues])
    state = {"counts": counts, "chosen": np.array(last_choice)}
    return accepted, departed, sources, [np.array(flits, np.int64) for flits in arrivals], state
