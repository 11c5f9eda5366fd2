"""The adapter between contracts and Amaranth: layouts of bits become shapes and streams.

A :class:`~archsim.contracts.common.layout.Layout` and its shape agree bit for bit, so a payload that Python packs
with ``Layout.pack`` is the word that stands on the Verilog port.
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import stream
from amaranth.lib.data import ArrayLayout, StructLayout
from amaranth.lib.wiring import In, Member, Out, Signature

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
