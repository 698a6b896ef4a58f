"""Intervals, paired differences and their correction for several comparisons."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar

from langchain_moa.evals.statistics.averages import mean, percentile
from langchain_moa.evals.statistics.corrections import corrected, outcome_of
from langchain_moa.evals.statistics.differences import difference_of, tango
from langchain_moa.evals.statistics.intervals import Interval, mean_interval, share_interval
from langchain_moa.evals.statistics.jackknife import Scores
from langchain_moa.evals.statistics.power import detectable, questions_for
from tests.evals_fixtures import needs_fixtures
from tests.sample_evaluation import MeanMetric, noisy_scores
from tests.unit_tests.evals.test_length_control import published

PERCENT = (0.0, 100.0)


def right(count, of):
    return np.array([100.0] * count + [0.0] * (of - count))


def metric(scores, first=0):
    return MeanMetric({str(first + number): score for number, score in enumerate(scores)})


def compared(better, worse, both, neither, bounds=PERCENT):
    """Compare two systems, of which one alone, the other alone, both or neither are right."""
    first = np.repeat([100.0, 0.0, 100.0, 0.0], [better, worse, both, neither])
    second = np.repeat([0.0, 100.0, 100.0, 0.0], [better, worse, both, neither])
    return difference_of(first, second, value=first.mean() - second.mean(), bounds=bounds)


# -- One system -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "of"), [(20, 20), (0, 20), (5, 5), (17, 20), (650, 805)])
def test_right_answers_have_wilsons_interval(count, of):
    interval = mean_interval(right(count, of), PERCENT)
    expected = binomtest(count, of).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-6)


def test_twenty_right_of_twenty_is_not_all_of_them():
    interval = mean_interval(right(20, 20), PERCENT)
    assert (round(interval.low, 1), interval.high) == (83.9, pytest.approx(100))


def test_the_interval_of_a_mean_is_the_one_that_the_normal_distribution_gives():
    scores = np.array(noisy_scores(5, count=400))
    interval = mean_interval(scores, (1, 10))
    error = 1.96 * np.std(scores, ddof=1) / math.sqrt(400)
    assert interval.low == pytest.approx(np.mean(scores) - error, abs=0.02)
    assert interval.high == pytest.approx(np.mean(scores) + error, abs=0.02)


@pytest.mark.parametrize("score", [0.0, 50.0, 100.0])
def test_the_same_score_everywhere_is_no_certainty(score):
    interval = mean_interval(np.full(20, score), PERCENT)
    assert interval.high - interval.low > 5
    assert interval.low >= 0
    assert interval.high <= 100
    assert interval.low <= score + 1e-9
    assert interval.high >= score - 1e-9


def test_scores_of_unknown_bounds_have_students_interval():
    scores = np.array([1.0, 2.0, 3.0, 7.0])
    expected = ttest_1samp(scores, 0).confidence_interval()
    assert mean_interval(scores, None) == Interval(low=expected.low, high=expected.high)
    assert mean_interval(np.ones(4), None) is None


def test_a_share_has_the_exact_interval_also_where_it_is_none_or_all():
    assert share_interval(0, 20) == Interval(low=0, high=pytest.approx(16.843, abs=1e-3))
    assert share_interval(20, 20) == Interval(low=pytest.approx(83.157, abs=1e-3), high=100)
    assert share_interval(0, 0) is None


# -- Two systems ------------------------------------------------------------------------------------------------------


def distance(better, worse, count, difference):
    """Return the score statistic for a difference, with the likelihood maximized by search and not by a formula."""

    def unlikelihood(only_second):
        only_first = only_second + difference
        same = 1 - only_first - only_second
        return -(
            better * math.log(only_first) + worse * math.log(only_second) + (count - better - worse) * math.log(same)
        )

    limits = (max(0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12)
    only_second = minimize_scalar(unlikelihood, bounds=limits, method="bounded", options={"xatol": 1e-12}).x
    variance = count * (2 * only_second + difference - difference**2)
    return (better - worse - count * difference) / math.sqrt(variance)


@pytest.mark.parametrize(("better", "worse", "count"), [(1, 0, 44), (7, 2, 30), (3, 12, 200), (5, 5, 12)])
def test_the_ends_of_the_interval_of_paired_shares_are_two_standard_errors_away(better, worse, count):
    low, high = tango(better, worse, count)
    assert distance(better, worse, count, low) == pytest.approx(1.96, abs=0.01)
    assert distance(better, worse, count, high) == pytest.approx(-1.96, abs=0.01)


def test_paired_shares_that_never_or_always_differ_have_an_interval_too():
    bound = 1.959964**2 / (44 + 1.959964**2)  # Wilson's
    assert tango(0, 0, 44) == pytest.approx((-bound, bound), abs=1e-5)
    low, high = tango(44, 0, 44)
    assert (0.7 < low < 0.99, high) == (True, 1)
    assert tango(0, 44, 44) == pytest.approx((-1, -low))


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (4, 0), (5, 0), (14, 4), (15, 4), (3, 20)])
def test_the_interval_holds_zero_where_mcnemars_test_finds_no_difference(better, worse):
    difference = compared(better, worse, 50, 20)
    expected = mcnemar([[50, better], [worse, 20]], exact=False, correction=False).pvalue if better + worse else 1
    assert difference.p_value == pytest.approx(expected)
    assert (difference.interval.low <= 0 <= difference.interval.high) == (expected >= 0.05)


def test_the_other_way_round_a_difference_is_the_same():
    there, back = compared(10, 3, 40, 7), compared(3, 10, 40, 7)
    assert there.value == -back.value
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert there.p_value == back.p_value


@pytest.mark.parametrize("seed", range(5))
def test_a_difference_of_scores_is_about_the_paired_t_tests(seed):
    rng = np.random.default_rng(seed)
    first = np.clip(rng.normal(6.4, 1.2, 100).round(), 1, 10)
    second = np.clip(first - 0.3 + rng.normal(0, 0.8, 100).round(), 1, 10)
    difference = difference_of(first, second, value=float((first - second).mean()), bounds=(1, 10))
    expected = ttest_1samp(first - second, 0)
    limits = expected.confidence_interval()
    assert (difference.interval.low, difference.interval.high) == pytest.approx((limits.low, limits.high), abs=0.04)
    assert difference.p_value == pytest.approx(expected.pvalue, abs=0.02)
    assert (difference.interval.low <= 0 <= difference.interval.high) == (difference.p_value >= 0.05)


def test_no_difference_anywhere_is_not_distinguishable():
    same = np.full(30, 7.0)
    difference = difference_of(same, same, value=0.0, bounds=(1, 10))
    assert difference.interval.low < -0.5
    assert difference.p_value == 1
    unknown = difference_of(same, same, value=0.0, bounds=None)
    assert (unknown.interval, unknown.p_value) == (Interval(low=0, high=0), 1)


# -- Metrics ----------------------------------------------------------------------------------------------------------


def test_a_metrics_interval_is_that_of_its_questions():
    scores = noisy_scores(6)
    assert Scores({"a": metric(scores)}).interval("a").low == pytest.approx(
        mean_interval(np.array(scores), (1, 10)).low, abs=1e-6
    )


def test_a_difference_is_taken_over_the_questions_that_count_for_both():
    # The first has no score where the second does badly.
    systems = {"a": metric([5.0] * 40), "b": metric([*[5.0] * 40, *[1.0] * 40])}
    difference = Scores(systems).difference("a", "b")
    assert (difference.questions, difference.value, difference.p_value) == (40, 0, 1)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_questions_give_no_interval(count):
    scores = Scores({"a": metric([5.0] * count), "b": metric([4.0] * 10)})
    assert scores.interval("a") is None
    assert scores.difference("a", "b") is None


def test_systems_without_a_question_in_common_are_not_compared():
    scores = Scores({"a": metric([5.0] * 10), "b": metric([4.0] * 10, first=10)})
    assert scores.difference("a", "b") is None


def test_a_system_is_scored_once_for_all_comparisons_over_the_same_questions():
    class Counting(MeanMetric):
        calls = 0

        def score(self, sample=None):
            Counting.calls += sample is not None
            return super().score(sample)

    systems = {name: Counting({str(i): float(i) for i in range(10)}) for name in "abc"}
    scores = Scores(systems)
    for one in systems:
        scores.interval(one)
        for other in systems:
            scores.difference(one, other)
    assert Counting.calls == 3 * 10


@needs_fixtures
def test_the_interval_of_a_published_win_rate_is_the_known_one():
    # Of 400 bootstrap draws, with another implementation of the fit: 70.24, 67.7 to 73.1.
    control = published("FuseChat-Gemma-2-9B-Instruct")
    instructions = MeanMetric({str(number): 0.0 for number in range(805)})
    instructions.bounds = PERCENT
    instructions.score = lambda sample=None: control.win_rate if sample is None else control.refit(sample)
    interval = Scores({"a": instructions}).interval("a")
    assert interval.low == pytest.approx(67.7, abs=0.5)
    assert interval.high == pytest.approx(73.1, abs=0.5)


# -- Several comparisons ----------------------------------------------------------------------------------------------


def test_holms_correction_multiplies_the_smallest_by_all_and_the_next_by_one_less():
    differences = [compared(10, 1, 40, 9), compared(12, 3, 40, 9), compared(5, 5, 40, 9)]
    smallest, next_one, largest = (difference.p_value for difference in differences)
    assert corrected(differences) == pytest.approx([3 * smallest, 2 * next_one, largest])
    assert corrected([]) == []


def test_a_difference_is_decided_at_five_percent():
    difference = compared(10, 1, 40, 9)
    assert outcome_of(difference, 0.049) == "better"
    assert outcome_of(difference, 0.051) == "not distinguishable"
    assert outcome_of(compared(1, 10, 40, 9), 0.01) == "worse"


def test_of_eight_equal_mixtures_hardly_any_run_finds_one_better(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # which statsmodels calls for each correction
    rng, found = np.random.default_rng(0), 0
    for _ in range(200):
        hard = rng.random(200) < 0.5
        answers = [100.0 * np.where(hard, rng.random(200) < 0.5, rng.random(200) < 0.9) for _ in range(9)]
        single, *mixtures = answers
        differences = [
            difference_of(one, single, value=float((one - single).mean()), bounds=PERCENT) for one in mixtures
        ]
        if min(difference.p_value for difference in differences) < 0.05:  # the correction makes none smaller
            found += "better" in map(outcome_of, differences, corrected(differences))
    assert found <= 10


# -- Power ------------------------------------------------------------------------------------------------------------


def test_so_many_questions_show_the_difference_that_takes_so_many():
    smallest = detectable(40.0, 200)
    assert smallest == pytest.approx((1.96 + 0.84) * 40 / math.sqrt(200), rel=0.01)
    assert questions_for(smallest, 40.0) in (200, 201)
    assert questions_for(smallest, 40.0, comparisons=8) > 250
    assert detectable(40.0, 200, comparisons=8) > smallest


def test_the_detectable_difference_is_found_in_four_evaluations_of_five():
    rng, smallest = np.random.default_rng(0), detectable(30.0, 100)
    found = 0
    for _ in range(500):
        differences = rng.normal(smallest, 30.0, 100)
        one = difference_of(differences, np.zeros(100), value=float(differences.mean()), bounds=None)
        found += one.p_value < 0.05
    assert 0.75 < found / 500 < 0.86


def test_nothing_that_varies_has_no_power():
    assert detectable(0.0, 100) is detectable(1.0, 2) is questions_for(1.0, 0.0) is None


# -- Means ------------------------------------------------------------------------------------------------------------


def test_nothing_measured_has_neither_mean_nor_percentile():
    assert mean([]) is None
    assert percentile([], 50) is None
    assert mean([1, 2]) == 1.5
    assert percentile([1.0, 2.0, 3.0], 95) == pytest.approx(2.9)
