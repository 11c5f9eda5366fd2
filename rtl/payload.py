"""The adapter between contracts and Amaranth: layouts of bits become shapes and streams.

A :class:`~archsim.contracts.common.layout.Layout` and its shape agree bit for bit, so a payload that Python packs
with ``Layout.pack`` is the word that stands on the Verilog port.
"""

from collections.abc import Mapping

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import stream
from amaranth.lib.data import ArrayLayout, StructLayout
from amaranth.lib.wiring import Component, In, Member, Out, Signature, connect, flipped

from archsim.contracts.common.layout import Layout


def shape(layout: Layout) -> StructLayout:
    """The structure of a contract's layout: a member a field, an array where the field has several elements."""
    members = {}
    for field in layout.fields:
        element = signed(field.width) if field.signed else unsigned(field.width)
        members[field.name] = ArrayLayout(element, field.count) if field.count > 1 else element
    return StructLayout(members)


def elements(view, layout: Layout, name: str) -> list:
    """The elements of a field of ``view`` (a view of ``shape(layout)``) as a list, also where there is only one."""
    member = view[name]
    count = layout.by_name[name].count
    return [member[index] for index in range(count)] if count > 1 else [member]


def stream_in(layout: Layout) -> Member:
    """A stream that the component takes: ``valid`` and ``payload`` come in, ``ready`` goes out."""
    return In(stream.Signature(shape(layout)))


def stream_out(layout: Layout) -> Member:
    """A stream that the component gives: ``valid`` and ``payload`` go out, ``ready`` comes in."""
    return Out(stream.Signature(shape(layout)))


def load_port(layout: Layout) -> Member:
    """A stream without back-pressure that the component takes: ``valid`` and ``payload``, no ``ready``.

    Not ``stream.Signature(always_ready=True)``, whose constant ``ready`` Amaranth cannot write as a Verilog port.
    """
    return In(Signature({"valid": Out(1), "payload": Out(shape(layout))}))


def forwarded(ports: Mapping[str, tuple[Component, str]]) -> dict[str, Member]:
    """Members of a component that passes these ports of its parts on: its name for a port, and (part, name there)."""
    return {name: part.signature.members[port] for name, (part, port) in ports.items()}


def forward(m: Module, component: Component, ports: Mapping[str, tuple[Component, str]]) -> None:
    """Connect the members that :func:`forwarded` gave ``component`` to those of its parts."""
    for name, (part, port) in ports.items():
        mine, its = getattr(component, name), getattr(part, port)
        member = component.signature.members[name]
        if member.is_port:
            m.d.comb += its.eq(mine) if member.flow is In else mine.eq(its)
            continue
        for one, other in zip(mine, its, strict=True) if member.dimensions else [(mine, its)]:
            connect(m, flipped(one), other)
