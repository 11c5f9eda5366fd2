"""Published energies, quoted: nothing of this is computed here, and the firing rates behind most of it are not published."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quoted:
    """A published energy of a size: mJ an image, and where it stands."""

    energy_mj: float
    source: str


_README = "README of zhouchenlin2096/Spikingformer"
_TABLES = "tables of TDFormer and Max-Former"
_V1 = "README of BICLab/Spike-Driven-Transformer"

ENERGIES = {
    ("spikingformer", "8-384"): Quoted(4.69, _README),
    ("spikingformer", "8-512"): Quoted(7.46, _README),
    ("spikingformer", "8-768"): Quoted(13.68, _README),
    ("spikformer", "8-384"): Quoted(12.43, f"{_README}: recomputed there"),
    ("spikformer", "8-512"): Quoted(18.82, f"{_README}: recomputed there"),
    ("spikformer", "8-768"): Quoted(32.07, f"{_README}: recomputed there"),
    ("meta_spikeformer", "8-384"): Quoted(32.8, _TABLES),
    ("meta_spikeformer", "8-512-kd"): Quoted(52.4, _TABLES),
    ("spike_driven_transformer", "8-384"): Quoted(3.90, _V1),
    ("spike_driven_transformer", "6-512"): Quoted(3.56, _V1),
    ("spike_driven_transformer", "8-512"): Quoted(4.50, _V1),
    ("spike_driven_transformer", "10-512"): Quoted(5.53, _V1),
    ("spike_driven_transformer", "8-768"): Quoted(6.09, f"{_V1}, at 288 x 288"),
}  # fmt: skip
"""By family and size."""

OWN_ACCOUNTING = {
    "8-512": Quoted(11.58, f"Spikformer's own accounting, from {_TABLES}"),
    "8-768": Quoted(21.48, f"Spikformer's own accounting, from {_TABLES}"),
}
"""Spikformer by its authors' accounting, which counts additions where the recomputed one multiplies."""


def reductions(family: str, size: str | None) -> list[str]:
    """Reductions of a Spikingformer against Spikformer, of quoted energies alone; empty for others."""
    own, baseline = ENERGIES.get(("spikingformer", size or "")), ENERGIES.get(("spikformer", size or ""))
    if family != "spikingformer" or own is None or baseline is None:
        return []
    lines = [_reduction(own, baseline)]
    if size in OWN_ACCOUNTING:
        lines.append(_reduction(own, OWN_ACCOUNTING[size]))
    return lines


def _reduction(own: Quoted, other: Quoted) -> str:
    share = 1 - own.energy_mj / other.energy_mj
    return f"{share:.2%} less than Spikformer's {other.energy_mj:g} mJ ({other.source})"
