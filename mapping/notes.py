"""Notes of a program: what people, reports, captures and traces read, and no hardware does."""

from typing import Any

from mapping.context import Context
from mapping.experts import IntExperts, IntGate
from mapping.ir import IMAGE
from mapping.partition import words
from mapping.place import collected
from mapping.quantise import IntAttention, IntLayer, IntNetwork, IntPlanes, IntSynapse


def tensors(context: Context) -> dict[str, dict[str, int]]:
    """Shape of every map that instructions store, in words."""
    network, chip, steps = context.network, context.chip, context.network.timesteps
    result: dict[str, dict[str, int]] = {}
    for layer in network.layers:
        if isinstance(layer, IntPlanes):
            for name in (layer.spikes, collected(layer)):
                if region := context.regions.get(name):
                    shape = {"positions": region.positions, "slices": region.slices, "words": region.words}
                    result[name] = shape | {"planes": 1}
        elif layer.spikes:
            whole = network.maps[layer.spikes]
            count = -(-whole.channels // chip.columns)
            shape = {"positions": whole.positions, "slices": chip.slices(steps), "words": count, "planes": 0}
            result[layer.spikes] = shape | {"channels": whole.channels, "steps": steps}
        if isinstance(layer, IntExperts):
            for first, _ in layer.experts:
                channels = first.shape.channels
                shape = {
                    "positions": layer.capacity,
                    "slices": chip.slices(steps),
                    "words": -(-channels // chip.columns),
                }
                result[first.spikes or ""] = shape | {"planes": 0, "channels": channels, "steps": steps}
    return result


def buffers(context: Context) -> dict[str, dict[str, int]]:
    """Where each map lies in the input banks of the cores that read it (mask ``cores``): bank, first row, rows."""
    return {
        name: {"bank": region.bank, "base": region.base, "rows": region.rows, "cores": context.readers(name)}
        for name, region in context.regions.items()
    }


def recordings(context: Context) -> dict[str, dict[str, int]]:
    """Shape of the membranes that a run can record, per layer: positions before the pool, words, time steps."""
    network, chip, steps = context.network, context.chip, context.network.timesteps
    result: dict[str, dict[str, int]] = {}
    for layer in network.layers:
        if isinstance(layer, IntAttention):
            whole = network.maps[layer.q]
            count = -(-whole.channels // chip.columns)
            result[layer.name] = {"positions": 1 if layer.gates else whole.positions, "words": count, "steps": steps}
        elif isinstance(layer, IntSynapse):
            once = layer.planes and layer.source != IMAGE or isinstance(layer, IntGate)
            shape = {"positions": layer.shape.positions, "words": words(chip, layer), "steps": 1 if once else steps}
            result[layer.name] = shape
    return result


def layer(network: IntNetwork, entry: IntLayer) -> dict[str, Any]:
    """Name, kind, dense multiply-adds of all time steps, and operand of a layer."""
    macs, operand = 0, "spikes"
    if isinstance(entry, IntExperts):
        weights = [sum(part.weight.size for part in pair) for pair in entry.experts]
        # Experts may differ: the mean of a choice.
        macs, kind = entry.tokens * entry.choices * sum(weights) // len(weights) * network.timesteps, "experts"
    elif isinstance(entry, IntGate):
        macs, kind = entry.shape.positions * entry.weight.size, "gate"
    elif isinstance(entry, IntSynapse):
        steps = 1 if entry.planes and entry.source != IMAGE else network.timesteps
        macs, operand = entry.shape.positions * entry.weight.size * steps, "planes" if entry.planes else "spikes"
        kind = "classifier" if entry.planes and entry.source != IMAGE else "synapse"
    elif isinstance(entry, IntAttention):
        shape, kind = network.maps[entry.q], "attention"
        head = 0 if entry.gates else shape.channels // entry.heads  # a gate multiplies nothing
        macs = 2 * shape.positions * shape.channels * head * network.timesteps
    else:
        kind, operand = "planes", "planes"
    return {"name": entry.name, "kind": kind, "macs": macs, "operand": operand}
