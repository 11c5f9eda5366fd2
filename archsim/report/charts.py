"""Charts of a run as SVG text; the same run gives the same bytes."""

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from archsim.accounting import CAUSES
from archsim.contracts import sequencer
from archsim.energy import COMPONENTS
from archsim.results import RunResult

CAUSE_COLOURS = {
    "additions": "#1f5fa8",
    "unused_columns": "#8ab6e0",
    "idle_lanes": "#b9d5ee",
    "empty_words": "#56a3a6",
    "shifts": "#9fd3c7",
    "neurons": "#e08e2b",
    "fill": "#f2c879",
    "weights": "#8e5ea2",
    "gather": "#c9a3d6",
    "attention": "#c8443c",
    "experts": "#9c2f5a",
    "normaliser": "#d98880",
    "other_cores": "#e5a29d",
    "decode": "#6b6b6b",
    "end": "#b8b8b8",
    "unused_cores": "#dedede",
}
"""A colour for each cause: the array's blue and green, then neurons, memory, attention, control."""

STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
}
WIDTH = 9.0
"""Width of a chart, inches."""

GAP_SHARE = 1 / 1500
"""Instructions of one layer that lie closer than this share of the image are drawn as one."""


def cycles_chart(summary: Mapping[str, Any]) -> str:
    """Adder-cycles (adder slots / adders) per image of every layer, stacked by cause."""
    rows = summary["layers"]
    used = [cause for cause in CAUSES if any(row["adder_cycles"][cause] for row in rows)]
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(1.3 + 0.27 * len(rows))
        left = [0.0] * len(rows)
        for cause in used:
            values = [row["adder_cycles"][cause] for row in rows]
            axes.barh(range(len(rows)), values, left=left, height=0.72, color=CAUSE_COLOURS[cause])
            left = [a + b for a, b in zip(left, values, strict=True)]
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("cycles per image (adder slots / adders)")
        handles = [Patch(color=CAUSE_COLOURS[cause], label=CAUSES[cause]) for cause in used]
        _legend(figure, handles)
        return _svg(figure, "cycles")


def component_chart(values: Mapping[str, float], unit: str, name: str) -> str:
    """Bars of components, the greatest first, with value and share; zeros are left out, * is assumed."""
    parts = sorted(((value, key) for key, value in values.items() if key != "total" and value > 0), reverse=True)
    total = sum(value for value, _ in parts) or 1.0
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(0.8 + 0.27 * max(1, len(parts)))
        axes.barh(range(len(parts)), [value for value, _ in parts], height=0.72, color="#1f5fa8")
        for row, (value, _) in enumerate(parts):
            axes.annotate(
                f"{value:.3g} ({value / total:.1%})",
                (value, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(parts)), [component_label(key) for _, key in parts])
        axes.invert_yaxis()
        axes.set_xlim(0, max((value for value, _ in parts), default=1.0) * 1.18)
        axes.set_xlabel(unit)
        return _svg(figure, name)


def component_label(key: str) -> str:
    """A component's label, marked with * where its figure is assumed."""
    label, confidence = COMPONENTS[key]
    return label + ("*" if confidence == "assumed" else "")


def timeline_chart(result: RunResult) -> str:
    """When each engine worked during the first image, coloured by layer."""
    run = result.images[0]
    layers = result.program.notes["layers"]
    colours = _layer_colours(len(layers))
    engines = sequencer.engines(result.chip)
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(1.3 + 0.27 * len(engines))
        for row, engine in enumerate(engines):
            spans = _merged(run.records[run.records["engine"] == engine], run.cycles * GAP_SHARE)
            if spans:
                axes.broken_barh(
                    [(start, end - start) for start, end, _ in spans],
                    (row - 0.4, 0.8),
                    facecolors=[colours[layer] for _, _, layer in spans],
                )
        axes.set_yticks(range(len(engines)), [sequencer.engine_name(engine) for engine in engines])
        axes.invert_yaxis()
        axes.set_xlim(0, run.cycles)
        axes.set_xlabel(f"cycle of the first image ({result.chip.clock_mhz:g} cycles per microsecond)")
        handles = [Patch(color=colours[number], label=entry["name"]) for number, entry in enumerate(layers)]
        _legend(figure, handles if len(handles) <= 24 else handles[:: -(-len(handles) // 24)])
        return _svg(figure, "timeline")


def _merged(records: Any, gap: float) -> list[tuple[int, int, int]]:
    """Spans (start, end, layer) of an engine; neighbours of one layer within ``gap`` are joined."""
    spans: list[tuple[int, int, int]] = []
    for start, end, layer in zip(records["start"], records["end"], records["layer"], strict=True):
        if spans and spans[-1][2] == layer and start - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], int(end), int(layer))
        else:
            spans.append((int(start), int(end), int(layer)))
    return spans


def _layer_colours(count: int) -> list[Any]:
    """Colours of layers: neighbours differ, and the order can be seen."""
    scale = matplotlib.colormaps["turbo"]
    return [scale(0.06 + 0.88 * number / max(1, count - 1)) for number in range(count)]


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _legend(figure: Figure, handles: list[Patch]) -> None:
    """A legend below the chart; a row of it makes the figure taller."""
    rows = -(-len(handles) // 4)
    figure.set_figheight(figure.get_figheight() + 0.21 * rows)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)


def _svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element; ids carry ``name``, so that charts of a page do not share any."""
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
