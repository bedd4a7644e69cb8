import numpy as np

from training.tuning.cross_validation import plan_folds

LABELS = np.repeat(np.arange(4), 6)


def test_clips_of_one_group_are_never_on_both_sides() -> None:
    groups = [f"person {i % 3}" for i in range(24)]
    plan = plan_folds(LABELS, groups, seed=0)
    assert plan is not None
    assert plan.grouped
    assert len(plan.splits) == 1  # each of three groups held out once: a repeat would be the same
    named = np.array(groups)
    for splits in plan.splits:
        assert sorted(np.concatenate([test for _, test in splits])) == list(range(24))
        for train, test in splits:
            assert not set(named[train]) & set(named[test])


def test_every_clip_is_held_out_once_per_repeat_and_small_lessons_are_repeated() -> None:
    plan = plan_folds(LABELS, [None] * 24, seed=0)
    assert plan is not None
    assert len(plan.splits) == 3
    for splits in plan.splits:
        assert sorted(np.concatenate([test for _, test in splits])) == list(range(24))
        for train, test in splits:
            assert sorted(np.concatenate([train, test])) == list(range(24))
    large = plan_folds(np.repeat(np.arange(4), 60), [None] * 240, seed=0)
    assert large is not None
    assert len(large.splits) == 1


def test_a_label_whose_clips_share_one_group_does_not_make_others_ignore_their_groups() -> None:
    groups = np.array(["a"] * 6 + ["a", "b", "c"] * 6)
    plan = plan_folds(LABELS, groups.tolist(), seed=0)
    assert plan is not None
    assert plan.grouped
    assert plan.held_out.tolist() == [False] * 6 + [True] * 18
    assert "one group" in plan.why
    for train, test in plan.splits[0]:
        assert not set(groups[train]) & set(groups[test])
        assert ("a" in groups[test]) != (0 in train)  # taught wherever their person is not asked about


def test_groups_are_ignored_where_most_labels_have_clips_of_a_single_group() -> None:
    plan = plan_folds(LABELS, ["a"] * 6 + ["b"] * 6 + ["c"] * 6 + ["d", "e"] * 3, seed=0)
    assert plan is not None
    assert not plan.grouped
    assert "single group" in plan.why


def test_a_labels_only_clip_is_always_taught_and_never_held_out() -> None:
    plan = plan_folds(np.array([0, 0, 0, 1]), [None] * 4, seed=0)
    assert plan is not None
    assert plan.held_out.tolist() == [True, True, True, False]
    assert all(3 in train and 3 not in test for train, test in plan.splits[0])


def test_one_clip_per_label_leaves_nothing_to_hold_out() -> None:
    assert plan_folds(np.arange(5), [None] * 5, seed=0) is None
