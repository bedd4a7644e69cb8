import pytest
import torch

from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.temporal_net import signals, temporal_logits, windows_at
from skeleton_prompt.model.tensor_shapes import TEMPORAL
from tests.support.engine_rows import person, small_engine
from training.baselines.ddnet import DDNet
from training.tuning.stacked_nets import Layer, StackedTemporalNets

WINDOWS = Windows.of(small_engine().frontal([person(seed, depth=True) for seed in range(6)]))


def trained(nets: int) -> StackedTemporalNets:
    """Nets whose norms are not as they began."""
    torch.manual_seed(0)
    net = StackedTemporalNets(nets, 4, 3, dropout=0.2, spatial=0.05)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return net


def inputs(nets: int) -> list[torch.Tensor]:
    points, _ = windows_at(WINDOWS)
    return [x.expand(nets, *x.shape).transpose(1, 2) for x in signals(points)]


def test_folded_each_answers_as_it_does_beside_the_others() -> None:
    nets = trained(3).eval()
    with torch.inference_mode():
        together = nets(*inputs(3))
        for number in range(3):
            p = {name.removeprefix(TEMPORAL): torch.from_numpy(value) for name, value in nets.folded(number).items()}
            torch.testing.assert_close(temporal_logits(p, WINDOWS), together[number], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1])


def test_one_alone_is_the_published_net() -> None:
    net = StackedTemporalNets(1, 16, 27, dropout=0.2, spatial=0.05)
    published = DDNet(17, 3, 27, 16)
    assert sum(v.numel() for v in net.parameters()) == sum(v.numel() for v in published.parameters())


def test_a_net_learns_the_same_whatever_stands_beside_it() -> None:
    def gradient(others: float) -> torch.Tensor:
        net = trained(2)
        net.spatial = 0
        for part in net.parts:
            assert isinstance(part, Layer)
            part.dropout = 0
        scaled = [x * torch.tensor([1.0, others])[:, None, None, None] for x in inputs(2)]
        net(*scaled).square().mean((1, 2)).sum().backward()
        net.bound_gradients(1.0)
        return net.parts[3].weight.grad[0]

    torch.testing.assert_close(gradient(1.0), gradient(9.0))


def test_the_bound_holds_for_the_gradient_of_each() -> None:
    net = trained(2)
    (net(*inputs(2)) * torch.tensor([100.0, 1e-3])[:, None, None]).sum().backward()
    small = net.parts[0].weight.grad[1].clone()
    net.bound_gradients(1.0)
    lengths = torch.cat([v.grad.view(2, -1) for v in net.parameters()], 1).norm(dim=1)
    assert lengths[0] == pytest.approx(1, rel=1e-3)
    assert lengths[1] < 1
    torch.testing.assert_close(net.parts[0].weight.grad[1], small)
