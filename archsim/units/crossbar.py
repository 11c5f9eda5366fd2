"""Expert crossbar, fast: exact under contention, by events. Only cycles in which a flit moves or an output chooses are visited."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import crossbar as contract
from archsim.handshake import taken, waits
from archsim.jit import njit

turn = njit(contract.turn)
ENTER, CHOOSE = contract.ENTER, contract.CHOOSE
NEVER = np.iinfo(np.int64).max


@njit
def choose(chosen, counts, output, leaving):
    """The input whose queue to ``output`` is next in turn, or -1; ``leaving``: input whose flit leaves now, or -1."""
    ports = len(counts)
    for offset in range(ports):
        source = turn(chosen, offset, ports)
        if counts[source, output] > (1 if source == leaving else 0):
            return source
    return -1


@njit
def send(
    t, output, grant, chosen, counts, heads, numbers, lasts, period, departed, sources, order, sent, next_in, next_out
):
    """The output offers in ``t`` what its consumer takes, or chooses; sets its next event and wakes a blocked input."""
    source = grant[output]
    if source < 0:
        source = choose(chosen[output], counts, output, -1)
        if source >= 0:
            grant[output] = chosen[output] = source
            next_out[output] = taken(t + CHOOSE, period)
        else:
            next_out[output] = NEVER
        return
    flit = numbers[source, output, heads[source, output] % numbers.shape[2]]
    departed[flit], sources[flit] = t, source
    order[output, sent[output]] = flit
    sent[output] += 1
    heads[source, output] += 1
    if lasts[flit]:
        grant[output] = choose(chosen[output], counts, output, source)
        if grant[output] >= 0:
            chosen[output] = grant[output]
    counts[source, output] -= 1
    if next_in[source] == NEVER - 1 - output:
        next_in[source] = t + 1
    held = grant[output]
    if held >= 0:
        next_out[output] = taken(t + 1, period) if counts[held, output] else NEVER
    else:
        next_out[output] = NEVER


@njit
def walk(
    depth, destinations, lasts, starts, gaps, ahead, ready, places, offered, accepted, departed, sources, order, sent,
    counts, chosen,
):  # fmt: skip
    """Visit the events in order of time; fills ``offered``, ``accepted``, ``departed`` (cycles per flit), ``order`` [output, n].

    A gap counts from the acceptance of the flit before, or, if producers work ``ahead``, from its first offer: then a flit is
    offered in the cycle after that acceptance at the earliest.
    """
    ports = len(starts) - 1
    position, grant = starts[:-1].copy(), np.full(ports, -1)
    heads, tails = np.zeros((ports, ports), np.int64), np.zeros((ports, ports), np.int64)
    numbers = np.zeros((ports, ports, depth), np.int64)  # flits of the queues, each a ring
    next_in, next_out = np.full(ports, NEVER), np.full(ports, NEVER)
    for port in range(ports):
        if starts[port] < starts[port + 1]:
            next_in[port] = offered[starts[port]] = gaps[starts[port]]
    while True:
        t = min(next_in.min(), next_out.min())
        if t >= NEVER - ports:
            return
        for output in range(ports):
            if next_out[output] == t:
                send(
                    t, output, grant, chosen, counts, heads, numbers, lasts, ready[places[output] : places[output + 1]],
                    departed, sources, order, sent,
                    next_in, next_out,
                )  # fmt: skip
        for port in range(ports):
            if next_in[port] != t:
                continue
            flit = position[port]
            output = destinations[flit]
            # Room is that at the start of the cycle: what leaves in t makes none before t + 1.
            left = 1 if departing(departed, numbers, heads, port, output, t) else 0
            if counts[port, output] + left >= depth:
                next_in[port] = t + 1 if left else NEVER - 1 - output
                continue
            accepted[flit] = t
            numbers[port, output, tails[port, output] % depth] = flit
            tails[port, output] += 1
            counts[port, output] += 1
            if next_out[output] == NEVER and grant[output] in (-1, port):
                next_out[output] = (
                    t + ENTER if grant[output] < 0 else taken(t + ENTER, ready[places[output] : places[output + 1]])
                )
            position[port] += 1
            next_in[port] = NEVER
            if flit + 1 < starts[port + 1]:
                next_in[port] = max(t, offered[flit] + gaps[flit + 1]) + 1 if ahead else t + 1 + gaps[flit + 1]
                offered[flit + 1] = next_in[port]


@njit
def departing(departed, numbers, heads, port, output, t):
    """Whether a flit of the queue leaves in ``t``."""
    head = heads[port, output]
    return head > 0 and departed[numbers[port, output, (head - 1) % numbers.shape[2]]] == t


def run(
    params: contract.CrossbarParams,
    destinations: Sequence[NDArray[np.int64]],
    lasts: Sequence[NDArray[np.bool_]],
    gaps: Sequence[NDArray[np.int64]],
    ready: Sequence[NDArray[np.bool_]],
) -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[NDArray[np.int64]], dict[str, NDArray[np.int64]]
]:
    """Send flits through a crossbar.

    Args:
        params: the crossbar.
        destinations: per input, destination of each flit in order.
        lasts: per input, whether each flit ends its packet.
        gaps: per input, cycles that the producer waits after a flit was taken before it offers the next.
        ready: per output, a cyclic trace of the cycles in which its consumer takes.

    Returns, for flits numbered through the inputs in order: the cycles in which the crossbar and the consumer take each,
    its source, the flits of each output in order, and the retired state (counts [input, output], chosen [output]).
    """  # fmt: skip
    ports = params.ports
    starts = np.cumsum([0, *map(len, destinations)])
    total = int(starts[-1])
    offered, accepted, departed, sources = (np.full(total, -1, np.int64) for _ in range(4))
    order, sent = np.zeros((ports, total), np.int64), np.zeros(ports, np.int64)
    counts, chosen = np.zeros((ports, ports), np.int64), np.full(ports, ports - 1, np.int64)
    # One table for all outputs: each behind the other, with the place where it begins.
    tables, places = [waits(trace) for trace in ready], np.cumsum([0, *map(len, ready)])
    walk(
        params.depth, np.concatenate(destinations).astype(np.int64), np.concatenate(lasts).astype(np.bool_), starts,
        np.concatenate(gaps).astype(np.int64), False, np.concatenate(tables), places, offered, accepted, departed, sources,
        order, sent, counts, chosen,
    )  # fmt: skip
    arrivals = [order[output, : sent[output]] for output in range(ports)]
    return accepted, departed, sources, arrivals, {"counts": counts, "chosen": chosen}
