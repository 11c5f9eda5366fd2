"""Does the script about chains of convolutions count both of their forms, and say why one is refused?"""

import pytest

from mapping.ir import Map
from mapping.networks.meta_spikeformer import PUBLISHED, MetaSpikeformer
from scripts import chains

TINY = MetaSpikeformer(
    "tiny", (16, 32, 32, 32), (1, 1), heads=2, classes=10, image=Map(8, 8, 3), strides=(1, 2, 1, 1, 1), sep_kernels=(3, 3, 3, 3)
)


def test_weight_rows_of_both_forms():
    """32 channels in words of 16: 2 x 32 x 9 rows merged; 2 x 32 on spikes, then 9 x 32 and 2 x 32 rows for 4 ones of 8 bits."""
    found = {choice.name: choice for choice in chains.choices(TINY, 16, 0.1)}
    assert len(found) == 4 + 2 * 4
    rep = found["block3.0.attn.q_conv"]
    assert (rep.merged, rep.separate, rep.equal) == (pytest.approx(57.6), pytest.approx(6.4 + 352 * 4), None)
    sep = found["ConvBlock2_1.0.Conv.pwconv2"]  # 32 channels, 64 inside: 2 x 64 x 9 rows; 9 x 64 on spikes, then 2 x 64
    assert (sep.merged, sep.separate) == (pytest.approx(115.2), pytest.approx(57.6 + 512))
    assert sep.equal == pytest.approx(512 / 576)


def test_the_table_has_every_chain_measured_and_refused_by_name(monkeypatch):
    monkeypatch.setitem(PUBLISHED, "tiny", TINY)
    found = list(chains.choices(TINY, 16, 0.1))
    lines = list(chains.table(found, chains.run("tiny", "small", 0.1)))
    assert len(lines) == 1 + len(found)
    assert all("merged (separate is refused; fewer rows: merged)" in line for line in lines[1:])
    assert {choice.refused for choice in found} == {"a chain of convolutions without a neuron between them; merge it into one"}
