"""Does the neuron that is trained without time fire as it was trained, and do the windows of the training code fit together?"""

import pytest

torch = pytest.importorskip("torch", reason="the training extra is not installed")

from workloads.training.models_masked_spiking_transformer import (  # noqa: E402 - needs torch
    MaskedSpikingTransformerConfig,
    Masker,
    WindowAttention,
)
from workloads.training.qcfs import Qcfs  # noqa: E402 - needs torch


@pytest.mark.parametrize("steps", [4, 16])
def test_constant_currents_fire_as_often_as_they_are_quantised(steps):
    """Bu et al. 2022: from half the threshold, T steps of a constant current are a quantisation to T levels."""
    node = Qcfs(steps, 1.5)
    x = torch.linspace(-1.0, 3.0, 41) + 0.013  # no value is a whole multiple of threshold / T
    quantised, fired = node(x[None])[0], node.eval()(x.expand(steps, -1))
    assert set(fired.unique().tolist()) == {0.0, 1.5}
    torch.testing.assert_close(fired.mean(0), quantised.detach(), rtol=0, atol=1e-6)


def test_gradients_pass_between_both_ends_and_move_the_threshold():
    node = Qcfs(4, 2.0)
    x = torch.tensor([-0.5, 0.3, 1.7, 2.6], requires_grad=True)
    node(x).sum().backward()
    assert x.grad.tolist() == pytest.approx([0, 1, 1, 0])
    # d/dup of up * clamp(q): q - x / up inside, where q is the quantised share; 1 above, 0 below.
    assert node.up.grad.item() == pytest.approx((0.25 - 0.15) + (0.75 - 0.85) + 1, abs=1e-6)


def test_current_after_a_spike_is_kept():
    """Soft reset: 1 + 1.2 fires at 2 and leaves 0.2, so 1.9 is enough for the next."""
    node = Qcfs(4, 2.0).eval()
    assert node(torch.tensor([1.2, 1.9, 1.9])[:, None]).ravel().tolist() == [2.0, 2.0, 0.0]


@pytest.mark.parametrize("shift", [0, 1])
def test_windows_are_put_together_again(shift):
    attention = WindowAttention(MaskedSpikingTransformerConfig(), 32, 4, shift, 0)
    maps = torch.arange(3 * 2 * 32 * 16.0).reshape(3, 2, 32, 4, 4)
    windows = attention._windows(maps)
    assert windows.shape == (3, 2, 2, 4, 4, 16)
    assert windows[0, 0, 0, 0, :, 0].tolist() == ([5, 6, 9, 10] if shift else [0, 1, 4, 5])
    assert torch.equal(attention._maps(windows, 4), maps)


def test_masks_are_new_in_training_and_the_same_for_all_images_after_it():
    masker, ones = Masker(MaskedSpikingTransformerConfig(masked=0.75), 5), torch.ones(16, 6, 32, 4, 4)
    trained = masker(ones)
    assert abs(trained.mean().item() - 0.25) < 0.02
    assert not torch.equal(trained[:, 0], trained[:, 1])
    masker.eval()
    masked = masker(ones)
    assert torch.equal(masked, masker(ones))
    assert torch.equal(masked[:, 0], masked[:, 5])
    assert abs(masked.mean().item() - 0.25) < 0.02
