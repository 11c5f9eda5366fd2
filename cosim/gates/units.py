"""Which unit a module of the chip belongs to."""

import re

from archsim.contracts.common.errors import ArchsimError
from archsim.energy.term import ATTENTION_NEURON

CHIP = "chip"
"""The chip's own cells: gangs, semaphores' wiring, selection of banks."""

UNITS = {
    "synapse_array": r"core\d+\.array(\..*)?",
    "event_encoder": r"core\d+\.encoder(\..*)?",
    "spike_fetch": r"core\d+\.fetch(\..*)?",
    "neuron": r"core\d+\.neuron(\..*)?",
    "spike_writer": r"core\d+\.writer(\..*)?",
    "planes": r"core\d+\.planes(\..*)?",
    "core": r"core\d+",
    "sequencer": r"((core\d+|attention|experts|normaliser)\.sequencer|(dma|multicast)_queue)(\..*)?",
    ATTENTION_NEURON: r"attention\.unit\.neuron(\..*)?",
    "attention": r"attention(\.unit(\..*)?)?",
    "dma": r"dma(\..*)?",
    "multicast": r"multicast(\..*)?",
    "experts": r"experts(\.unit(\..*)?)?",
    "normaliser": r"normaliser(\.unit(\..*)?)?",
    CHIP: r"(gangs(\..*)?)?",
}
"""Units in the order of the report, and the paths of their modules within the chip. ``planes``: bit planes of sums, in a core."""

MEANING = {
    "planes": "bit planes of sums (PLANES), in a core",
    "core": "what joins the units of a core",
    "sequencer": "all queues, those of DMA and multicast too",
    "attention": "attention unit without its neuron unit",
    CHIP: "gangs, selection of banks and engines",
}
"""Units that are no contract's, in words."""


def unit_of(module: str) -> str:
    """The unit of a module, by its path within the chip. Raises ArchsimError for a path that belongs to none."""
    for unit, pattern in UNITS.items():
        if re.fullmatch(pattern, module):
            return unit
    raise ArchsimError(f"module '{module}' of the chip: required one of a unit in cosim/gates/units.py; add its path there")
