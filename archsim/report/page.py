"""The page of a run: one self-contained HTML file."""

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from archsim.energy import COMPONENTS
from archsim.report.charts import CAUSE_COLOURS, component_chart, component_label, cycles_chart, timeline_chart
from archsim.report.terminal import between, headline, number
from archsim.results import COUNTERS, RunResult


def page(result: RunResult, summary: Mapping[str, Any]) -> str:
    """The report of ``result`` and its ``summary`` as HTML; nothing in it is loaded from elsewhere."""
    environment = Environment(loader=PackageLoader("archsim.report", "."), autoescape=True, undefined=StrictUndefined)
    charts = {
        "cycles": cycles_chart(summary),
        "timeline": timeline_chart(result),
        "energy": component_chart(summary["energy_uj"], "µJ per image", "energy"),
        "area": component_chart(summary["area_mm2"], "mm²", "area"),
    }
    parameters = {"chip": summary["chip_parameters"], "provenance": result.provenance}
    return environment.get_template("page.html.j2").render(
        s=summary,
        headline=headline(summary),
        number=number,
        between=between,
        labels={name: component_label(name) for name in COMPONENTS},
        charts=charts,
        colours=CAUSE_COLOURS,
        counters=COUNTERS,
        parameters=json.dumps(parameters, indent=2, default=str),
    )
