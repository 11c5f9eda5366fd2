"""Expert crossbar, cycle by cycle: queues as lists, the registers of the outputs, everything decided from the start of a cycle."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.crossbar import CrossbarParams


class Network:
    """The queues and outputs of a crossbar; a flit is whatever its producer calls it.

    Attributes:
        queues: flits of each queue [input][output], with their last marks.
        chosen: the input that each output chose last.
    """

    def __init__(self, params: CrossbarParams) -> None:
        self.ports, self.depth = params.ports, params.depth
        self.queues: list[list[deque[tuple[Any, bool]]]] = [
            [deque() for _ in range(self.ports)] for _ in range(self.ports)
        ]
        self.grant, self.chosen = [-1] * self.ports, [self.ports - 1] * self.ports

    def step(
        self, offers: Sequence[tuple[Any, int, bool] | None], ready: Sequence[bool]
    ) -> tuple[list[bool], list[tuple[Any, int] | None]]:
        """One cycle.

        Args:
            offers: per input, the flit that it offers, its destination and whether it ends its packet.
            ready: per output, whether its consumer takes.

        Returns per input whether its flit was taken, and per output the flit that it gave and the input that it came from.
        """  # fmt: skip
        sizes = [[len(queue) for queue in row] for row in self.queues]
        taken = [offer is not None and sizes[port][offer[1]] < self.depth for port, offer in enumerate(offers)]
        arrivals = [self._give(output, sizes, ready[output]) for output in range(self.ports)]
        for port, offer in enumerate(offers):
            if offer is not None and taken[port]:
                self.queues[port][offer[1]].append((offer[0], offer[2]))
        return taken, arrivals

    def _give(self, output: int, sizes: list[list[int]], ready: bool) -> tuple[Any, int] | None:
        """The flit that an output gives in this cycle; its next choice."""
        given, source = None, self.grant[output]
        if source >= 0:
            if sizes[source][output] == 0 or not ready:
                return None
            flit, last = self.queues[source][output].popleft()
            given = flit, source
            if not last:
                return given
            sizes[source][output] -= 1
            self.grant[output] = -1
        for offset in range(1, self.ports + 1):
            source = (self.chosen[output] + offset) % self.ports
            if sizes[source][output]:
                self.grant[output] = self.chosen[output] = source
                break
        return given

    def empty(self) -> bool:
        """Whether no queue holds a flit."""
        return not any(queue for row in self.queues for queue in row)


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
    network = Network(params)
    accepted, departed, sources = (np.full(total, -1, np.int64) for _ in range(3))
    arrivals: list[list[int]] = [[] for _ in range(ports)]
    waiting = [deque(range(starts[port], starts[port + 1])) for port in range(ports)]
    pause = [int(pauses[flits[0]]) if flits else 0 for flits in waiting]
    cycle, left = 0, total
    while left:
        offers = [
            (flits[0], int(flat[flits[0]]), bool(ends[flits[0]])) if flits and not pause[port] else None
            for port, flits in enumerate(waiting)
        ]
        taken, given = network.step(offers, [trace[cycle % len(trace)] for trace in ready])
        for port, flits in enumerate(waiting):
            if taken[port]:
                accepted[flits.popleft()] = cycle
                pause[port] = int(pauses[flits[0]]) if flits else 0
            elif pause[port]:
                pause[port] -= 1
        for output, arrival in enumerate(given):
            if arrival is not None:
                flit, sources[arrival[0]] = arrival
                departed[flit] = cycle
                arrivals[output].append(flit)
                left -= 1
        cycle += 1
    counts = np.array([[len(queue) for queue in row] for row in network.queues])
    state = {"counts": counts, "chosen": np.array(network.chosen)}
    return accepted, departed, sources, [np.array(flits, np.int64) for flits in arrivals], state
