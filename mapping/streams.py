"""Streams that a sum goes into while the one that it comes from keeps its value: where they lie, and what is refused.

The residual bank holds a stream from row 0 on, and behind it the one that its sums go into. The next such stream takes the same
rows, so it may begin only when nothing reads the one before any more.
"""

from archsim.contracts.common.errors import ArchsimError
from mapping.quantise import IntNetwork, IntSynapse


def is_made(network: IntNetwork, name: str | None) -> bool:
    """Whether a stream is one that sums go into while another keeps its value."""
    return any(isinstance(layer, IntSynapse) and layer.into == name for layer in network.layers) if name else False


def is_last(network: IntNetwork, layer: IntSynapse) -> bool:
    """Whether a layer's sums go into a stream that was made of another, and nothing reads it behind them."""
    name = layer.into or layer.stream
    if not is_made(network, name):
        return False
    behind = network.layers[network.layers.index(layer) + 1 :]
    return not any(isinstance(x, IntSynapse) and x.stream == name for x in behind)


def paired(network: IntNetwork) -> frozenset[str]:
    """The streams that need room beside another: those that stay, and those that sums go into meanwhile."""
    pairs = [(layer.stream, layer.into) for layer in network.layers if isinstance(layer, IntSynapse) and layer.into]
    return frozenset(name for pair in pairs for name in pair if name)


def require_rows(network: IntNetwork) -> None:
    """Raise ArchsimError, naming the layer, unless two places are enough for all streams."""
    last = {}
    for number, layer in enumerate(network.layers):
        if isinstance(layer, IntSynapse) and layer.stream:
            last[layer.stream] = number
    second: str | None = None
    for number, layer in enumerate(network.layers):
        if not isinstance(layer, IntSynapse) or not layer.into:
            continue
        reason = f"'{second}' is read later" if second and second != layer.into and last.get(second, -1) > number else None
        if is_made(network, layer.stream) or layer.reduce:
            reason = f"'{layer.stream}' is made so itself" if is_made(network, layer.stream) else "it is reduced"
        if reason:
            raise ArchsimError(
                f"layer '{layer.name}': leaves '{layer.stream}' as it is and its sums go into '{layer.into}', but {reason}; "
                "required one such stream at a time, of a stream that layers join"
            )
        second = layer.into
