"""Does the fused LIF of the training code follow its law, and is its gradient that of the unrolled loop?"""

import pytest

torch = pytest.importorskip("torch", reason="the training extra is not installed")

from workloads.training.lif import Lif  # noqa: E402 - needs torch


class Spike(torch.autograd.Function):
    """One step's threshold with the surrogate slope, for PyTorch to differentiate step by step."""

    @staticmethod
    def forward(ctx, excess, alpha):
        ctx.save_for_backward(excess)
        ctx.alpha = alpha
        return (excess >= 0).to(excess.dtype)

    @staticmethod
    def backward(ctx, grad):
        y = torch.sigmoid(ctx.alpha * ctx.saved_tensors[0])
        return grad * ctx.alpha * y * (1 - y), None


def unrolled(x, lif):
    """The law as published, one operation at a time: the reset is not differentiated."""
    v, spikes = torch.zeros_like(x[0]), []
    for current in x:
        h = v + (current - v) / lif.tau
        spikes.append(Spike.apply(h - lif.threshold, lif.alpha))
        v = h * (1 - spikes[-1].detach())
    return torch.stack(spikes)


@pytest.mark.parametrize("tau", [2.0, 1.5])
@pytest.mark.parametrize("threshold", [1.0, 0.5])
def test_fused_lif_equals_the_unrolled_loop(tau, threshold):
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(6, 50, 3, dtype=torch.float64, generator=generator)
    weight = torch.randn(x.shape, dtype=torch.float64, generator=generator)
    lif, results = Lif(threshold=threshold, tau=tau), []
    for run in (lif, lambda value: unrolled(value, lif)):
        value = x.clone().requires_grad_()
        spikes = run(value)
        (spikes * weight).sum().backward()
        results.append((spikes.detach(), value.grad))
    (fused, fused_grad), (looped, looped_grad) = results
    assert 0.1 < fused.mean() < 0.6  # both outcomes are exercised
    assert torch.equal(fused, looped)
    torch.testing.assert_close(fused_grad, looped_grad, rtol=1e-10, atol=1e-12)


def test_membrane_at_the_threshold_fires_and_resets_to_zero():
    x = torch.tensor([2.0, 1.0, 1.0, 1.25])[:, None]  # h: 1.0 (fires), 0.5, 0.75, 1.0 (fires)
    assert Lif()(x).ravel().tolist() == [1, 0, 0, 1]


def test_no_state_survives_a_call():
    x = torch.full((2, 4), 1.0)
    lif = Lif()
    assert torch.equal(lif(x), lif(x))
    assert not lif.state_dict()
