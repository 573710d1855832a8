"""Splits: who trains, who tests, and that the two never meet."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cashup.errors import UsageError
from cashup.research.validating.splits import Span, Split, combinatorial, expanding, groups_of, kfold, paths, rolling


def bars_of(spans) -> set[int]:
    return {bar for span in spans for bar in range(span.start, span.stop)}


def test_rolling_windows_move_by_the_test() -> None:
    assert rolling(10, 4, 2) == [
        Split((Span(0, 4),), (Span(4, 6),)),
        Split((Span(2, 6),), (Span(6, 8),)),
        Split((Span(4, 8),), (Span(8, 10),)),
    ]


def test_expanding_windows_begin_at_the_first_bar_and_the_last_test_may_be_short() -> None:
    assert expanding(9, 4, 2, purge=1) == [
        Split((Span(0, 4),), (Span(5, 7),)),
        Split((Span(0, 6),), (Span(7, 9),)),
    ]
    assert expanding(8, 4, 3)[-1].test == (Span(7, 8),)


def test_folds_are_purged_on_both_sides_and_the_embargo_follows_the_test() -> None:
    made = kfold(12, 3, purge=1, embargo=1)
    assert made[0] == Split((Span(6, 12),), (Span(0, 4),))
    assert made[1] == Split((Span(0, 3), Span(10, 12)), (Span(4, 8),))
    assert made[2] == Split((Span(0, 7),), (Span(8, 12),))


# López de Prado 2018, chapter 12: six groups of which two test make 15 splits and 5 paths.
@pytest.mark.parametrize(("groups", "tests", "splits", "whole"), [(6, 2, 15, 5), (10, 2, 45, 9), (5, 1, 5, 1)])
def test_the_books_numbers(groups: int, tests: int, splits: int, whole: int) -> None:
    assert len(combinatorial(600, groups, tests)) == splits == comb(groups, tests)
    assert len(paths(groups, tests)) == whole


def test_every_path_goes_once_through_every_group_and_uses_no_test_twice() -> None:
    made = combinatorial(60, 6, 2)
    used = set()
    for path in paths(6, 2):
        for group, number in enumerate(path):
            assert groups_of(60, 6)[group] in made[number].test
            used.add((group, number))
    assert len(used) == 30


# The path table of the book for six groups: group 1 is tested in splits 1 to 5, group 6 in 5, 9, 12, 14 and 15.
def test_the_paths_are_the_books() -> None:
    table = list(zip(*paths(6, 2), strict=True))
    assert [number + 1 for number in table[0]] == [1, 2, 3, 4, 5]
    assert [number + 1 for number in table[1]] == [1, 6, 7, 8, 9]
    assert [number + 1 for number in table[5]] == [5, 9, 12, 14, 15]


@settings(max_examples=60, deadline=None)
@given(
    bars=st.integers(40, 300),
    groups=st.integers(2, 7),
    tests=st.integers(1, 3),
    purge=st.integers(0, 4),
    embargo=st.integers(0, 4),
)
def test_no_training_bar_is_near_a_test(bars: int, groups: int, tests: int, purge: int, embargo: int) -> None:
    if tests >= groups:
        return
    try:
        made = combinatorial(bars, groups, tests, purge=purge, embargo=embargo)
    except UsageError:
        return
    for split in made:
        train, test = bars_of(split.train), bars_of(split.test)
        forbidden = {bar for span in split.test for bar in range(span.start - purge, span.stop + purge + embargo)}
        assert train == set(range(bars)) - forbidden
        assert not train & test
    assert bars_of(span for split in made for span in split.test) == set(range(bars))


@settings(max_examples=60, deadline=None)
@given(bars=st.integers(2, 200), train=st.integers(1, 60), test=st.integers(1, 60), gap=st.integers(0, 5))
def test_walking_tests_follow_each_other_without_a_hole(bars: int, train: int, test: int, gap: int) -> None:
    if train + gap >= bars:
        return
    for scheme in (rolling, expanding):
        made = scheme(bars, train, test, embargo=gap)
        walked = [bar for split in made for span in split.test for bar in range(span.start, span.stop)]
        assert walked == list(range(train + gap, bars))
        for split in made:
            assert split.train[0].stop + gap == split.test[0].start
            assert len(split.train[0]) == train or scheme is expanding


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rolling(10, 10, 1), "too few"),
        (lambda: rolling(10, 0, 1), "at least one bar"),
        (lambda: rolling(10, 3, 1, embargo=-1), "0 or more"),
        (lambda: kfold(10, 1), "between 1 and 0"),
        (lambda: kfold(3, 4), "between 2 and 3 groups"),
        (lambda: combinatorial(10, 4, 4), "between 1 and 3"),
        (lambda: kfold(10, 2, purge=9), "leave nothing"),
    ],
)
def test_what_cannot_be_split(call, message) -> None:
    with pytest.raises(UsageError, match=message):
        call()
