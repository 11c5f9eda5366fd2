"""The forms of the laws of energy and area, by the names under which units and parts of units are measured."""

from archsim.contracts import (
    attention,
    attention_softmax,
    core,
    crossbar,
    dma,
    event_encoder,
    experts,
    masker,
    multicast,
    neuron,
    normaliser,
    router,
    sequencer,
    spike_fetch,
    spike_writer,
    synapse_array,
    transposer,
    vector,
)
from archsim.contracts.common.law import Form

FORMS: dict[str, Form] = {
    "event_encoder": event_encoder.LAW, "transposer": transposer.LAW, "synapse_array": synapse_array.LAW, "neuron": neuron.LAW,
    "masker": masker.LAW, "router": router.LAW, "crossbar": crossbar.LAW, "vector": vector.LAW, "spike_fetch": spike_fetch.LAW,
    "spike_writer": spike_writer.LAW, "dma": dma.LAW, "multicast": multicast.LAW,
    "attention_popcount": attention.POPCOUNT_LAW, "attention_counts": attention.COUNTS_LAW, "attention_sums": attention.SUMS_LAW,
    "attention_neurons": attention.NEURONS_LAW, "sequencer": sequencer.LAW, "planes": core.PLANES_LAW,
    "attention_control": attention.CONTROL_LAW, "attention_softmax": attention_softmax.LAW,
    "normaliser_control": normaliser.LAW, "experts_control": experts.LAW,
}  # fmt: skip
"""The form of each unit's laws.

Chosen at 180 nm with what is held out in view: those of encoder, transposer, array, neuron unit, vector unit, DMA engine,
AND-popcount engine, count memory, the attention unit's adders and neurons. Written before a point was measured: those of spike
fetch, spike writer and multicast, and all from the queue's on. Memories made of registers, and those in which the DMA engine puts
a row together, are no part of a fit (`KNOWN_BITS`): what is the same on a whole grid, or there in a part of the chips, is no matter
of proportion.
"""
