"""Stream rules of every component that offers a stream with back-pressure: found by its signature, in every unit.

An offer stays, unchanged, until it is taken; ``valid`` never depends on ``ready``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from amaranth.hdl import Cat, Fragment, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from rtl.build import UNITS
from rtl.fifo import Fifo
from rtl.formal.claims import Claims, steady, transfer

_CHIP = {
    "cores": 2, "lanes": 2, "columns": 4, "neurons": 2, "weight_bits": 2, "membrane_bits": 8, "count_bits": 2,
    "weight_rows": 16, "param_rows": 4, "spike_in_rows": 4, "spike_out_rows": 4, "residual_rows": 4, "psum_rows": 4,
    "reduce_rows": 4, "attention_rows": 4, "count_rows": 16, "queue_rows": 2,
}  # fmt: skip

SMALL: dict[str, dict[str, int]] = {
    "event_encoder": {"lanes": 2, "word_bits": 3, "row_bits": 3},
    "synapse_array": {"lanes": 2, "columns": 4, "neurons": 2, "weight_bits": 2, "membrane_bits": 3, "weight_rows": 4},
    "spike_fetch": {"lanes": 2, "word_bits": 2, "rows": 4, "row_bits": 3},
    "crossbar": {"ports": 3, "depth": 2, "data_bits": 2},
    "masker": {"lanes": 1, "word_bits": 2},
    "transposer": {"word_bits": 3},
    "router": {"neurons": 2, "score_bits": 3, "experts": 4, "slot_bits": 2},
    **dict.fromkeys(("attention", "core"), _CHIP),
    "attention+softmax": _CHIP | {"softmax_tokens": 4, "membrane_bits": 11},
    "experts": _CHIP | {"crossbar_depth": 2},
    "normaliser": _CHIP | {"normaliser_operand_bits": 4, "normaliser_table_bits": 2},
    "vector": {"elements": 1, "membrane_bits": 4, "operand_bits": 3, "sum_bits": 6, "table_bits": 2},
}
"""Parameters of the units for these proofs where not the default ones: small enough to be fast.

A unit that has more components with an option stands here once more, as ``unit+option``.
"""

CONSTANT = ("config", "tile", "opcode", "attend", "route", "requesting", "replying")
"""Ports that are constant in an instruction or in a phase of one: they may change while nothing is offered."""

PULSE = ("start", "setup")
"""Ports that begin an instruction: not while something is offered."""


@dataclass(frozen=True)
class Place:
    """Where a component stands: the unit, and the names of the submodules that lead to it."""

    unit: str
    path: tuple[str, ...]

    def create(self) -> Component:
        """The component, new."""
        for path, component in parts(create(self.unit)):
            if path == self.path:
                return component
        raise KeyError(self)


def create(unit: str) -> Component:
    """A unit with small parameters; ``unit``: its name, or a key of SMALL."""
    changes = {name: str(value) for name, value in SMALL.get(unit, {}).items()}
    made = UNITS[unit.partition("+")[0]]
    return made.create(made.parameters(changes))


def parts(component: Component) -> Iterator[tuple[tuple[str, ...], Component]]:
    """``component`` and all components inside it, with the names of the submodules that lead to each."""
    stack: list[tuple[tuple[str, ...], Fragment]] = [((), Fragment.get(component, None))]
    while stack:
        path, fragment = stack.pop()
        for origin in fragment.origins or ():
            if isinstance(origin, Component):
                yield path, origin
                break
        for number, (inner, name, _) in enumerate(fragment.subfragments):
            stack.append(((*path, name or str(number)), inner))


def outputs(component: Component) -> list:
    """The streams with back-pressure that ``component`` offers."""
    return _streams(component, Out)


def inputs(component: Component) -> list:
    """The streams with back-pressure that ``component`` takes."""
    return _streams(component, In)


@cache
def found() -> dict[str, Place]:
    """Every class of components that offers a stream with back-pressure, by its name, and the least deep place of one."""
    places: dict[str, Place] = {}
    for unit in UNITS | SMALL:
        for path, component in parts(create(unit)):
            name = type(component).__name__
            if outputs(component) and (name not in places or len(path) < len(places[name].path)):
                places[name] = Place(unit, path)
    return places


def rules(place: Place, bug: bool) -> Claims:
    """The rule of :func:`steady` for all streams that the component offers; with the bug it does not wait for ``ready``."""
    component = place.create()
    claims = Claims(component)
    claims.free(component, [it.ready for it in outputs(component)])
    offered = [_consumer(claims, number, it, bug) for number, it in enumerate(outputs(component))]
    _environment(claims, component, offered)
    for offer in offered:
        claims.hold(steady(claims, offer))
    claims.reach(*(transfer(offer) & claims.past(offer.valid & ~offer.ready) for offer in offered))
    return claims


def independence(place: Place, bug: bool) -> tuple[Claims, list[str], list[str]]:
    """The component, and the names of every ``ready`` of its consumers and of every ``valid`` that it gives.

    With the bug it offers only what is taken.
    """
    component = place.create()
    claims, ready, valid = Claims(component), [], []
    offered = outputs(component)
    claims.free(component, [it.ready for it in offered])
    for number, it in enumerate(offered):
        takes, shown = claims.any(1, f"takes_{number}"), claims.any(1, f"shown_{number}")
        claims.m.d.comb += [it.ready.eq(takes), shown.eq(it.valid & (takes | (not bug)))]
        ready.append(f"takes_{number}")
        valid.append(f"shown_{number}")
    return claims, ready, valid


@dataclass
class _Offer:
    """A stream as its consumer sees it."""

    valid: Value
    payload: Value
    ready: Signal


def _consumer(claims: Claims, number: int, offered, bug: bool) -> _Offer:
    """A consumer of ``offered`` that may refuse at any time; with the bug the component believes that it never does."""
    ready = claims.any(1, f"takes_{number}")
    claims.m.d.comb += offered.ready.eq(ready | bug)
    return _Offer(offered.valid, Value.cast(offered.payload), ready)


def _streams(component: Component, flow) -> list:
    """Streams with a ``ready`` among the members of ``component``, those of arrays each for itself."""
    streams = []
    for name, member in component.signature.members.items():
        backed = (
            member.is_signature and isinstance(member.signature, stream.Signature) and not member.signature.always_ready
        )
        if backed and member.flow is flow:
            streams += _flat(getattr(component, name), len(member.dimensions))
    return streams


def _flat(value, dimensions: int) -> list:
    return [value] if dimensions == 0 else [it for inner in value for it in _flat(inner, dimensions - 1)]


def _environment(claims: Claims, component: Component, offered: list) -> None:
    """Assume the rules of who feeds the component; ``offered``: its own streams.

    Streams keep their rules, memories hold what they answered until they are read again, instructions neither begin nor
    change while something is offered, and nobody pushes more than a FIFO holds.
    """
    for taken in inputs(component):
        claims.assume(steady(claims, taken))
    waits = claims.signal(Cat(offer.valid & ~offer.ready for offer in offered).any())
    waited = claims.past(waits)
    for name, member in component.signature.members.items():
        port = getattr(component, name)
        if name in CONSTANT and not member.is_signature:  # a spike fetch calls a port to its banks as the experts' route
            claims.assume(~waited | (Value.cast(port) == claims.past(port)))
        elif name in PULSE:
            claims.assume(~waits | ~port)
        elif member.is_signature and member.flow is Out and {"en", "data"} <= set(member.signature.members):
            claims.assume(~claims.begun | claims.past(port.en) | (port.data == claims.past(port.data)))
    if isinstance(component, Fifo):
        claims.assume(~component.push | (component.level != component.depth) | transfer(component.o))
