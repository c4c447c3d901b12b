"""The parts of the benchmarks that decide what is told: measures, ratios, targets, the page."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.case import (
    Bar,
    Case,
    Condition,
    Outcome,
    Result,
    Target,
    outcome_of_rates,
    outcome_of_times,
    rate,
    times,
)
from benchmarks.measure import Contestant, Measured, measure
from benchmarks.metrics import jaccard, ndcg, overlap, recall, reciprocal_rank
from benchmarks.plots import plot, target_position
from benchmarks.report import markdown, number, shown

GRADES = {"a": 4, "b": 2, "c": 0}


def case(target: Target | None = None, if_missed: str = "") -> Case:
    return Case("one", "One | case", "a peer", target, lambda _: outcome(1.0), if_missed)


def outcome(figure: float, conditions: Sequence[Condition] = ()) -> Outcome:
    return Outcome(figure, [Bar("ours", 3.0), Bar("peer", 2.0)], "ms", conditions=conditions)


def page(*results: Result) -> str:
    return markdown({"text": results}, {"cores": "2"}, quick=False, rounds=5, plots="plots")


def test_ndcg_is_that_of_trec_eval() -> None:
    ideal = 4 + 2 / math.log2(3)
    assert ndcg(["b", "x", "a"], GRADES) == pytest.approx((2 + 4 / math.log2(4)) / ideal)
    assert ndcg(["a", "b"], GRADES) == 1
    assert ndcg(["x"] * 10 + ["a"], GRADES) == 0


def test_the_ideal_of_ndcg_knows_the_documents_that_were_not_found() -> None:
    assert ndcg(["a"], GRADES) == pytest.approx(4 / (4 + 2 / math.log2(3)))


def test_recall_counts_relevant_documents_within_the_depth() -> None:
    assert recall(["c", "b"], GRADES) == 0.5
    assert recall(["x", "a", "b"], GRADES, depth=2) == 0.5


def test_the_reciprocal_rank_is_that_of_the_first_relevant_document() -> None:
    assert reciprocal_rank(["c", "x", "b", "a"], GRADES) == pytest.approx(1 / 3)
    assert reciprocal_rank(["x"] * 10 + ["a"], GRADES) == 0


@given(st.sets(st.integers()), st.sets(st.integers()))
def test_overlap_and_jaccard_lie_between_none_and_all(one: set[int], other: set[int]) -> None:
    assert 0 <= overlap(one, other) <= 1
    assert jaccard(one, other) == jaccard(other, one)
    assert (jaccard(one, other) == 1) == (one == other)


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    events: list[str] = []

    def contestant(name: str) -> Contestant:
        return Contestant(
            name, lambda _: events.append(f"{name} runs"), lambda: events.append(f"{name} prepares")
        )

    measured = measure([contestant("x"), contestant("y")], [1, 2], rounds=2)
    assert [len(seconds) for seconds in measured.rounds.values()] == [2, 2]
    x, y = (["x prepares", "x runs", "x runs"], ["y prepares", "y runs", "y runs"])
    assert events == [*x, *y, *y, *x, *x, *y]


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    measured = Measured({"ours": (1.0, 8.0, 3.0), "peer": (2.0, 2.0, 1.0)})
    ratio = measured.ratio("ours", "peer")
    assert (ratio.middle, ratio.least, ratio.greatest) == (3.0, 0.5, 4.0)
    assert measured.seconds("ours") == 3.0


def test_a_time_is_judged_by_how_long_and_a_rate_by_how_many() -> None:
    measured = Measured({"ours": (2.0,), "peer": (1.0,)})
    assert outcome_of_times(measured).figure == 2.0
    rates = outcome_of_rates(measured, rows=100)
    assert rates.figure == 0.5
    assert [bar.value for bar in rates.bars] == [50.0, 100.0]


def test_a_target_is_reached_together_with_its_conditions() -> None:
    missed = Condition("recall@10", 0.98, Target("≥", 0.99))
    assert Result(case(times(2)), outcome(2.0)).is_reached is True
    assert Result(case(times(2)), outcome(2.001)).is_reached is False
    assert Result(case(times(2)), outcome(1.0, [missed])).is_reached is False
    assert Result(case(), outcome(1.0)).is_reached is None
    assert Result(case(times(2)), None, skipped="no model").is_reached is None


@given(st.floats(1e-3, 1e4), st.floats(1e-3, 1e4), st.sampled_from(["≤", "≥"]))
def test_a_figure_is_never_rounded_over_its_target(figure: float, bound: float, sign: str) -> None:
    target = Target("≤" if sign == "≤" else "≥", float(f"{bound:.2g}"))
    if not target.is_reached(figure):
        assert not target.is_reached(float(shown(figure, target)))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.12345, "0.1234"), (1.0, "1.00"), (12.34, "12.3"), (123456.7, "123,457")],
)
def test_numbers_have_three_digits_or_four_below_one(value: float, text: str) -> None:
    assert number(value) == text


def test_the_page_tells_a_missed_target_with_its_figure_and_reason() -> None:
    text = page(
        Result(case(times(2), "it waits"), outcome(2.001)), Result(case(rate(0.9)), outcome(1.0))
    )
    assert "1 of 2 targets are reached" in text
    assert "| One &#124; case | ≤ 2 × the time | 2.01 | it waits |" in text
    assert "| 3.00 ms | a peer | 2.00 ms | 2.01 | ≤ 2 × the time | **no** |" in text


def test_the_page_tells_why_a_case_was_skipped_or_failed() -> None:
    text = page(
        Result(case(times(2)), None, skipped="skipped: no model"),
        Result(case(times(2)), None, failed="failed: ValueError"),
    )
    assert "skipped: no model" in text
    assert "failed: ValueError" in text
    assert "0 of 0 targets" in text


def test_a_plot_is_xml_with_a_bar_for_each_contestant_and_a_line_at_the_target() -> None:
    drawn = ET.fromstring(plot([Result(case(times(2)), outcome(1.0))]))
    names = [element.tag.rpartition("}")[2] for element in drawn]
    assert (names.count("rect"), names.count("line")) == (2, 1)


def test_the_target_stands_where_our_bar_would_reach_it() -> None:
    assert target_position(case(times(2)), outcome(1.0)) == 4.0
    assert target_position(case(Target("≤", 50, "ms")), outcome(1.0)) == 50
    assert target_position(case(Target("≥", 1.0)), outcome(1.0)) is None


def test_a_subject_without_a_title_is_told_by_its_name() -> None:
    results = {"weather": [Result(case(), outcome(1.0))]}
    assert "## Weather" in markdown(results, {}, quick=False, rounds=5, plots="plots")
