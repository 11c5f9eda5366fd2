"""Is the small network in the published form what its experts say: weighed by the softmax, short, with the input in the sums?"""

import pytest

torch = pytest.importorskip("torch", reason="the training extra is not installed")

from workloads.training.models_spiking_moe import SpikingExperts, SpikingMlp, SpikingMoeConfig, WeighedConfig  # noqa: E402

SIZES = {"dim": 8, "heads": 2, "mlp_ratio": 1, "experts": 3}


def stream(seed=0):
    """Membranes float32 [T, B, D, H, W] that fire now and then."""
    return torch.randn((4, 2, 8, 2, 2), generator=torch.Generator().manual_seed(seed)) * 2


def test_the_last_result_of_a_short_expert_stands_for_the_others():
    torch.manual_seed(0)
    whole = SpikingMlp(8, 8, 4).eval()
    whole.fc1_conv.weight.data *= 10  # so that hidden neurons fire now and then
    short = SpikingMlp(8, 8, 2).eval()
    short.load_state_dict(whole.state_dict())
    given, results = whole(stream()), short(stream())
    assert torch.equal(results[:2], given[:2])
    assert torch.equal(results[2], results[1]) and torch.equal(results[3], results[1])
    assert not torch.equal(given[2], given[1])


def test_the_input_joins_the_sums_of_the_first_layer():
    """With first weights and biases of 0 its neuron sees the input alone."""
    torch.manual_seed(0)
    expert = SpikingMlp(8, 8, 4, joins=True).eval()
    for parameter in expert.fc1_conv.parameters():
        torch.nn.init.zeros_(parameter)
    fired = []
    expert.fc2_lif.register_forward_hook(lambda *given: fired.append(given[2]))
    expert(stream())
    assert torch.equal(fired[0], expert.fc2_lif(stream()))


@pytest.mark.parametrize("weighed", [False, True])
def test_a_result_is_multiplied_with_its_probability(weighed):
    torch.manual_seed(0)
    config = WeighedConfig(**SIZES, expert_steps=(4, 1, 1)) if weighed else SpikingMoeConfig(**SIZES, choices=1, capacity=16)
    layer = SpikingExperts(config).eval()
    x = stream()
    accepted, _, probability = layer.gate(x)
    expected = torch.zeros_like(x)
    for number, expert in enumerate(layer.experts):
        factor = accepted[..., number] * (probability[..., number] if weighed else 1)
        expected += expert(x) * factor.reshape(2, 1, 2, 2)
    assert torch.allclose(layer(x), expected, rtol=0, atol=2e-7)
    assert [expert.joins for expert in layer.experts] == [weighed] * 3
    assert (probability * accepted).sum(2).max() < 1


def test_the_manifest_of_the_usual_form_is_what_it_was():
    assert "expert_steps" not in SpikingMoeConfig().as_dict()
    assert WeighedConfig().as_dict() == SpikingMoeConfig(choices=1, capacity=16).as_dict() | {"expert_steps": [4, 1, 1, 1]}
