"""Is a network spike-driven? What every layer has to compute, the unit that would, and whether the mapper takes it.

Three verdicts. *Addition-only*: weights, counts or constants are added where a spike is. *Integer-by-binary*: an operand is an
integer of several bits; its bit planes gate additions, and sums are doubled between planes. *Not spike-driven*: numbers that depend
on the image are multiplied, divided or exponentiated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from archsim.account.definition import define
from mapping.ir import GATE, IMAGE, Attention, Chain, Classifier, Layer, Network, Synapse
from mapping.nodes import BATCH, Concat, Experts, Norm, Sum, Transpose, WindowAttention
from mapping.operands import ANALOG, INTEGERS, REAL, SCALED, SPIKES, Operand, operands
from mapping.operators import refusals

ADDITION, INTEGER, NOT = "addition-only", "integer-by-binary", "not spike-driven"
"""Verdicts, from the least that a layer needs to the most."""

_ORDER = (ADDITION, INTEGER, NOT)


@dataclass(frozen=True)
class Verdict:
    """A layer's verdict, why, the unit that runs it or would, and why the mapper refuses it (None: it runs)."""

    layer: str
    verdict: str
    reason: str
    unit: str
    refused: str | None


def verdicts(network: Network) -> list[Verdict]:
    """The verdict on every layer of a network, in order."""
    maps, refused = operands(network), refusals(network)
    return [
        Verdict(layer.name, verdict, reason, unit, refused[layer.name])
        for layer in network.layers
        for verdict, reason, unit in [_judge(layer, maps)]
    ]


def broken(network: Network, claim: str | None) -> Iterator[Verdict]:
    """The layers that contradict a claim: one of the verdicts but the last, or ``spike-driven`` (see the workload's schema)."""
    if claim is None:
        return
    limit = _ORDER.index(INTEGER if claim == INTEGER else ADDITION)
    for layer, found in zip(network.layers, verdicts(network), strict=True):
        ends = isinstance(layer, Classifier) or getattr(layer, "source", None) == IMAGE
        allowed = max(limit, _ORDER.index(INTEGER)) if claim == "spike-driven" and ends else limit
        if _ORDER.index(found.verdict) > allowed:
            yield found


def check(workload: str | Path) -> dict[str, Any]:
    """The verdicts on a workload's network as JSON data; raises ArchsimError for bad input."""
    definition = define(workload)
    found, claim = verdicts(definition.network), definition.config.claims
    return {
        "workload": definition.config.name, "network": definition.network.name, "note": definition.note, "claims": claim,
        "layers": [vars(verdict) for verdict in found],
        "counts": {verdict: sum(x.verdict == verdict for x in found) for verdict in _ORDER},
        "refused_layers": sum(x.refused is not None for x in found),
        "broken_by": [verdict.layer for verdict in broken(definition.network, claim)],
    }  # fmt: skip


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the verdicts: layers that differ only in their block as one row."""
    table = Table(title=f"{result['network']}: what its layers need")
    for heading in ("layer", "layers", "verdict", "why", "unit", "on this chip"):
        table.add_column(heading, justify="right" if heading == "layers" else "left")
    rows: dict[tuple[str, ...], list[str]] = {}
    for layer in result["layers"]:
        state = "runs" if layer["refused"] is None else f"refused: {layer['refused']}"
        rows.setdefault((_kind(layer["layer"]), layer["verdict"], layer["reason"], layer["unit"], state), []).append(
            layer["layer"]
        )
    for (_, *texts), layers in rows.items():
        table.add_row(layers[0], str(len(layers)), *texts)
    console.print(table)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in result["counts"].items())
    lines = [
        ("layers", counts),
        ("refused by the mapper", f"{result['refused_layers']} layers"),
        ("claims", result["claims"] or "nothing"),
    ]
    if result["note"]:
        lines.append(("note", result["note"]))
    if result["claims"]:
        lines.append(("the claim", _broken(result["broken_by"])))
    for label, text in lines:
        console.print(f"[bold]{label:<22}[/]{text}", highlight=False)


def _broken(layers: list[str]) -> str:
    return f"is contradicted by {len(layers)} layers, the first is {layers[0]}" if layers else "holds"


def _kind(name: str) -> str:
    """A layer's name without its numbers: alike in all blocks."""
    return ".".join(part for part in name.split(".") if not part.isdigit())


def _judge(layer: Layer, maps: Mapping[str, Operand]) -> tuple[str, str, str]:
    if isinstance(layer, Synapse):
        return _synapse(layer, maps[layer.source])
    if isinstance(layer, Chain):
        return (
            NOT,
            "parts without a neuron between them: all but the first read real numbers; merged they read spikes",
            "core",
        )
    if isinstance(layer, Attention):
        return _attention(layer)
    if isinstance(layer, WindowAttention):
        reason = "softmax: exponentials and a division; its real result is multiplied with v"
        return NOT, reason, "attention unit, by table and division"
    if isinstance(layer, Sum):
        return ADDITION, f"adds {_of(maps[layer.name])} position by position", "multicast"
    if isinstance(layer, Concat | Transpose):
        return ADDITION, "moves spikes only", "multicast"
    if isinstance(layer, Norm):
        return _norm(layer, maps[layer.source])
    if isinstance(layer, Experts):
        if layer.softmax:
            return (
                NOT,
                "the softmax of the gate is multiplied with the experts' results",
                "expert engine, but for the factor",
            )
        return ADDITION, "routes spikes; experts add rows of weights where a spike is", "expert engine"
    if isinstance(layer, Classifier):
        if layer.neuron:
            return ADDITION, "reads the spikes of the neuron before it", "core"
        return INTEGER, "reads a mean over tokens and time, bit plane by bit plane", "core, over bit planes"
    raise TypeError(type(layer))


def _synapse(layer: Synapse, source: Operand) -> tuple[str, str, str]:
    if layer.token_norm is not None and layer.stream:
        return (
            NOT,
            "its norm has a factor for each position, and its sums join a membrane: a multiplication each; runs on copies of the "
            "weights for a few factors",
            "core, over copies of its weights",
        )
    if source.kind == REAL:
        unit = "core, a layer for each map of the stream" if source.spikes else "none: refused"
        return NOT, "reads real numbers: multiplies each with its weights", unit
    if source.kind == ANALOG:
        return INTEGER, "reads the image, bit plane by bit plane", "core, over bit planes"
    if source.kind == INTEGERS:
        return INTEGER, "reads sums of spike maps, map by map", "core, over spike maps"
    reason = "adds a row of weights for each spike"
    if source.kind == SCALED:
        reason += "; the spikes' height is a factor of the weights"
    if layer.token_norm is not None:
        reason += "; the norm by position moves into the thresholds"
    return ADDITION, reason, "core"


def _attention(layer: Attention) -> tuple[str, str, str]:
    if layer.kind == GATE:
        return ADDITION, "counts k AND v, lets q through where the count fired", "attention unit"
    return ADDITION, "counts k AND v, adds rows of counts where q spikes (integer counts by binary q)", "attention unit"


def _norm(layer: Norm, source: Operand) -> tuple[str, str, str]:
    if layer.kind == BATCH and source.kind in (SPIKES, SCALED):
        return ADDITION, "adds a constant for each spike", "neuron unit"
    if layer.kind == BATCH:
        reason = "a batch norm on the residual path: a multiplication of each value"
        return NOT, reason, "core, folded into the weights of who reads the stream"
    return NOT, "a layer norm: a division and a square root for each token", "normaliser"


def _of(operand: Operand) -> str:
    return "spikes" if operand.kind == INTEGERS else "the heights of spikes to real numbers"
