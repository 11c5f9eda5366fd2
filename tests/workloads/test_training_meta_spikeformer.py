"""Does the small Meta-SpikeFormer start where it can learn?"""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training extra is not installed")
pytest.importorskip("sklearn", reason="the training extra is not installed")

from workloads.training import digits, export, models_meta_spikeformer  # noqa: E402 - needs torch


def test_every_layer_fires_at_the_start_and_no_gradient_explodes():
    """Norms behind neurons that never fire divide the gradient by the root of a variance of 0, one after the other."""
    torch.manual_seed(0)
    part = digits.load_split(seed=0).train
    model = models_meta_spikeformer.MetaSpikeformer(models_meta_spikeformer.MetaSpikeformerConfig())
    rates: dict[str, float] = {}
    for name, node in export.lif_nodes(model).items():
        node.register_forward_hook(
            lambda _module, _inputs, spikes, name=name: rates.update({name: spikes.mean().item()})
        )
    labels = torch.from_numpy(part.labels[:32].astype(np.int64))
    torch.nn.functional.cross_entropy(model(digits.normalise(part.images[:32])), labels).backward()
    assert len(rates) == 35
    assert all(0.03 < rate < 0.6 for rate in rates.values()), rates
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters() if parameter.ndim > 1}
    assert all(1e-3 < norm < 10 for norm in norms.values()), norms
