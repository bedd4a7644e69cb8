import torch

from skeleton_prompt.model.features import Windows, complete, completed_features, descriptor_features, streams
from skeleton_prompt.model.shared_projection import KINDS, SharedProjection
from tests.support.engine_rows import person


def windows_of(*, depth: bool = False) -> Windows:
    return Windows.of([person(0, depth=depth), person(1, depth=depth)])


def hide(windows: Windows, joint: int) -> Windows:
    pose, depth = windows.pose.clone(), windows.depth.clone()
    pose[:, :, joint] = 0
    depth[:, :, joint] = 0
    return Windows(pose, depth, windows.has_depth, windows.log_seconds, windows.counts)


def positions(windows: Windows) -> torch.Tensor:
    return torch.cat((windows.pose[..., :2], windows.depth[..., None]), -1)


def show_all(windows: Windows) -> Windows:
    pose = windows.pose.clone()
    pose[..., 2] = 1
    return Windows(pose, windows.depth, windows.has_depth, windows.log_seconds, windows.counts)


def test_a_whole_clip_is_completed_as_it_is() -> None:
    whole = show_all(windows_of(depth=True))
    lifted = torch.randn(len(whole.pose), 64, 17, 3)
    assert torch.equal(complete(whole, lifted), positions(whole))
    tokens, _ = streams(whole, None)
    assert torch.allclose(completed_features(whole, lifted), descriptor_features(tokens, whole.log_seconds))


def test_a_missing_joint_comes_back_where_a_perfect_lift_has_it_even_if_it_is_the_root() -> None:
    whole = show_all(windows_of(depth=True))
    truth = positions(whole)
    lifted = truth - truth[:, :, :1]  # relative to the root, as the lift head is taught
    for joint in (0, 13):
        assert torch.allclose(complete(hide(whole, joint), lifted), truth, atol=1e-5)


def test_a_frame_that_shows_nothing_takes_the_place_of_the_rest_of_the_clip() -> None:
    whole = show_all(windows_of(depth=True))
    pose, depth = whole.pose.clone(), whole.depth.clone()
    pose[:, 10] = 0
    depth[:, 10] = 0
    gone = Windows(pose, depth, whole.has_depth, whole.log_seconds, whole.counts)
    lifted = positions(whole) - 3.0
    assert torch.allclose(complete(gone, lifted), positions(whole), atol=1e-4)


def test_two_dimensional_input_is_completed_flat() -> None:
    whole = show_all(windows_of())
    assert bool((complete(hide(whole, 5), torch.randn(len(whole.pose), 64, 17, 3))[..., 2] == 0).all())


def test_house_weights_give_the_same_whether_or_not_the_rows_are_asked_for_their_depth() -> None:
    rng = torch.Generator().manual_seed(0)
    mean = {kind: torch.randn(30, generator=rng) for kind in KINDS}
    projection = {kind: torch.randn(30, 8, generator=rng) for kind in KINDS}
    house, features = SharedProjection(mean, projection), torch.randn(5, 30, generator=rng)
    for depth in ([0, 1, 0, 1, 1], [0] * 5, [1] * 5):
        deep = torch.tensor(depth) > 0
        torch.testing.assert_close(house.apply_both(features, deep), house.apply(features, deep))
