"""Notes of a program: what people, reports, captures and traces read, and no hardware does."""

from typing import Any

from mapping.context import Context
from mapping.expert_steps import ExpertSteps
from mapping.experts import IntExperts, IntGate
from mapping.integer_nodes import IntAttention, IntConcat, IntSum, IntTokenNeuron, IntTranspose
from mapping.layer_norm import IntLayerNorm
from mapping.partition import words
from mapping.place import collected
from mapping.quantise import IntLayer, IntNetwork, IntPlanes, IntSynapse
from mapping.token_norm import IntTokenSynapse
from mapping.turned import mixed
from mapping.window_attention import IntWindowAttention


def tensors(context: Context) -> dict[str, dict[str, int]]:
    """Shape of every map that instructions store, in words."""
    network, chip, steps = context.network, context.chip, context.network.timesteps
    back = {mix.back.name for layer in network.layers if context.streamed and (mix := mixed(network, layer))}
    result: dict[str, dict[str, int]] = {}
    for layer in network.layers:
        if isinstance(layer, IntPlanes | IntTokenNeuron):
            target = context.regions[layer.spikes]
            shape = {"positions": target.positions, "slices": target.slices, "words": target.words}
            result[layer.spikes] = shape | {"planes": 1}
            if parts := context.regions.get(collected(layer)):
                count = len(context.partitions[layer.source].ranges) * (steps if isinstance(layer, IntTokenNeuron) else 1)
                result[collected(layer)] = shape | {"positions": count, "slices": parts.slices, "planes": 1}
        name = layer.spikes or (layer.name if layer.name in back else None)
        if name and not isinstance(layer, IntPlanes):
            whole = network.maps[name]
            count, lanes = -(-whole.channels // chip.columns), chip.lanes_used(steps)
            if isinstance(layer, IntTokenNeuron):
                lanes = 1
            shape = {
                "positions": whole.positions,
                "slices": steps // lanes,
                "words": count,
                "planes": 0,
                "lanes": lanes,
            }
            shape |= {"channels": whole.channels, "steps": steps}
            if isinstance(layer, IntWindowAttention):
                result[layer.by_window] = shape
            if not isinstance(layer, IntWindowAttention) or context.streamed:  # else it goes to the cores as it comes
                result[name] = shape
        if isinstance(layer, IntExperts):
            for (first, _), own in zip(layer.experts, layer.steps, strict=True):
                runs = ExpertSteps(chip, steps, own)
                result[first.spikes or ""] = {
                    "positions": layer.capacity, "slices": runs.hidden_rows, "words": words(chip, first), "planes": 0,
                    "lanes": runs.hidden_lanes, "channels": first.shape.channels, "steps": runs.hidden_rows * runs.hidden_lanes,
                    "computed": 1,
                }  # fmt: skip
                if context.streamed:
                    result[first.source] = {
                        "positions": layer.capacity, "slices": chip.slices(steps), "words": words(chip, layer), "planes": 0,
                        "lanes": chip.lanes_used(steps), "channels": layer.shape.channels, "steps": steps, "computed": 1,
                    }  # fmt: skip
    return result


def membranes(network: IntNetwork) -> dict[str, list[int]]:
    """Numbers of the layers of a stream that experts read, which has no place in recorded spikes; nothing without such experts."""
    read = {layer.stream for layer in network.layers if isinstance(layer, IntExperts) and layer.joins}
    numbers = [
        number for number, layer in enumerate(network.layers)
        if isinstance(layer, IntSynapse) and read & ({layer.stream, layer.into} - {None})
    ]  # fmt: skip
    return {"membranes": numbers} if numbers else {}


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
        if isinstance(layer, IntLayerNorm):
            count = -(-layer.shape.channels // chip.columns)
            result[layer.name] = {"positions": layer.shape.positions, "words": count, "steps": steps}
        elif isinstance(layer, IntAttention | IntWindowAttention | IntTokenNeuron):
            whole = network.maps[layer.spikes]
            count = -(-whole.channels // chip.columns)
            positions = 1 if isinstance(layer, IntAttention) and layer.gates else whole.positions
            result[layer.name] = {"positions": positions, "words": count, "steps": steps}
        elif isinstance(layer, IntSynapse):
            count = 1 if layer.classifies or isinstance(layer, IntGate) else steps
            shape = {"positions": layer.shape.positions, "words": words(chip, layer), "steps": count}
            result[layer.name] = shape
    return result


def layer(network: IntNetwork, entry: IntLayer) -> dict[str, Any]:
    """Name, kind, dense multiply-adds of all time steps, and operand of a layer."""
    macs, operand = 0, "spikes"
    if isinstance(entry, IntExperts):
        weights = [
            sum(part.weight.size for part in pair) * own for pair, own in zip(entry.experts, entry.steps, strict=True)
        ]
        # Experts may differ: the mean of a choice.
        macs, kind = entry.tokens * entry.choices * sum(weights) // len(weights), "experts"
    elif isinstance(entry, IntGate):
        macs, kind = entry.shape.positions * entry.weight.size, "gate"
    elif isinstance(entry, IntSynapse):
        steps = 1 if entry.classifies and entry.planes else network.timesteps
        share = network.share(entry.source) * network.share(entry.spikes)
        count = network.joined[entry.name].weights if entry.name in network.joined else entry.weight.size
        count = entry.weight.shape[1] if entry.diagonal else count
        macs, operand = int((entry.sums or entry.shape).positions * count * steps * share), "planes" if entry.planes else "spikes"
        kind = "classifier" if entry.classifies else "synapse"
        if isinstance(entry, IntTokenSynapse):
            kind = f"synapse by token: {len(entry.kinds)} tokens, weight copies: {len(entry.copies)}"
    elif isinstance(entry, IntAttention):
        shape, kind = network.maps[entry.q], "attention"
        head = 0 if entry.gates else shape.channels // entry.heads  # a gate multiplies nothing
        macs = int(2 * shape.positions * shape.channels * head * network.timesteps * network.share(entry.q) ** 2)
    elif isinstance(entry, IntWindowAttention):
        macs, kind = 2 * entry.shape.positions * entry.tokens * entry.shape.channels * network.timesteps, "attention"
    elif isinstance(entry, IntSum):
        kind = "concat" if isinstance(entry, IntConcat) else "sum"
    elif isinstance(entry, IntTranspose):
        kind = "transpose"
    elif isinstance(entry, IntLayerNorm):
        kind, operand = "layer norm", "membranes"
    elif isinstance(entry, IntTokenNeuron):
        kind, operand = "neuron", "planes"
    else:
        kind, operand = "planes", "planes"
    return {"name": entry.name, "kind": kind, "macs": macs, "operand": operand}
