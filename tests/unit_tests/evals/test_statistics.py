import math

import numpy as np
import pytest

from langchain_moa.evals.statistics.bootstrap import Bootstrap, mean, percentile
from tests.evals_fixtures import needs_fixtures
from tests.sample_evaluation import MeanMetric, noisy_scores
from tests.unit_tests.evals.test_length_control import published


def metric(scores, first=0):
    return MeanMetric({str(first + number): score for number, score in enumerate(scores)})


def test_the_interval_of_a_mean_is_the_one_that_the_normal_distribution_gives():
    scores = noisy_scores(5, count=400)
    interval = Bootstrap({"a": metric(scores)}).interval("a")
    error = 1.96 * np.std(scores, ddof=1) / math.sqrt(400)
    assert interval.low == pytest.approx(np.mean(scores) - error, abs=0.02)
    assert interval.high == pytest.approx(np.mean(scores) + error, abs=0.02)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = 0
    for seed in range(200):
        scores = np.random.default_rng(seed).normal(5, 1, 60)
        interval = Bootstrap({"a": metric(scores)}, draws=300).interval("a")
        covered += interval.low <= 5 <= interval.high
    assert 0.9 <= covered / 200 <= 0.98


def test_the_same_seed_draws_the_same_and_another_draws_otherwise():
    first, again, other = (Bootstrap({"a": metric(noisy_scores(5))}, seed=seed).interval("a") for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_two_systems_are_compared_in_the_same_draws():
    scores = noisy_scores(5)
    paired = Bootstrap({"a": metric([score + 0.1 for score in scores]), "b": metric(scores)}).difference("a", "b")
    assert paired.value == pytest.approx(0.1)
    assert paired.interval.low == pytest.approx(0.1)
    assert paired.interval.high == pytest.approx(0.1)
    assert (paired.outcome, paired.probability_better, paired.questions) == ("better", 1, 80)


def test_a_difference_is_taken_over_the_questions_that_count_for_both():
    # The first has no score where the second does badly.
    systems = {"a": metric([5.0] * 40), "b": metric([*[5.0] * 40, *[1.0] * 40])}
    difference = Bootstrap(systems).difference("a", "b")
    assert difference.questions == 40
    assert difference.value == 0
    assert (difference.outcome, difference.probability_better) == ("not distinguishable", 0.5)


def test_the_other_way_round_better_is_worse():
    systems = {"a": metric(noisy_scores(5)), "b": metric(noisy_scores(7, seed=1))}
    bootstrap = Bootstrap(systems)
    there, back = bootstrap.difference("a", "b"), bootstrap.difference("b", "a")
    assert (there.outcome, back.outcome) == ("worse", "better")
    assert there.value == -back.value
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert there.probability_better == 1 - back.probability_better


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_questions_give_no_interval(count):
    bootstrap = Bootstrap({"a": metric([5.0] * count), "b": metric([4.0] * 10)})
    assert bootstrap.interval("a") is None
    assert bootstrap.difference("a", "b") is None


def test_systems_without_a_question_in_common_are_not_compared():
    bootstrap = Bootstrap({"a": metric([5.0] * 10), "b": metric([4.0] * 10, first=10)})
    assert bootstrap.difference("a", "b") is None


def test_a_draw_without_a_score_is_left_out():
    class Sparse(MeanMetric):
        def score(self, sample=None):
            return float("nan") if sample is not None and 0 not in sample else super().score(sample)

    bootstrap = Bootstrap({"a": Sparse({"0": 1.0, "1": 2.0}), "b": Sparse({"0": 0.0, "1": 0.0})})
    assert bootstrap.interval("a").high == 1.5
    assert bootstrap.difference("a", "b").probability_better == 1


def test_a_system_is_scored_once_for_all_comparisons_over_the_same_questions():
    class Counting(MeanMetric):
        calls = 0

        def score(self, sample=None):
            Counting.calls += sample is not None
            return super().score(sample)

    systems = {name: Counting({str(i): float(i) for i in range(10)}) for name in "abc"}
    bootstrap = Bootstrap(systems, draws=50)
    for one in systems:
        bootstrap.interval(one)
        for other in systems:
            bootstrap.difference(one, other)
    assert Counting.calls == 3 * 50


def test_nothing_measured_has_neither_mean_nor_percentile():
    assert mean([]) is None
    assert percentile([], 50) is None
    assert mean([1, 2]) == 1.5
    assert percentile([1.0, 2.0, 3.0], 95) == pytest.approx(2.9)


@needs_fixtures
def test_the_interval_of_a_published_win_rate_is_the_known_one():
    # Of 400 draws, with another implementation of the fit: 70.24, 67.7 to 73.1.
    control = published("FuseChat-Gemma-2-9B-Instruct")
    instructions = MeanMetric({str(number): 0.0 for number in range(805)})
    instructions.score = lambda sample=None: control.win_rate if sample is None else control.refit(sample)
    interval = Bootstrap({"a": instructions}, draws=300).interval("a")
    assert interval.low == pytest.approx(67.7, abs=0.5)
    assert interval.high == pytest.approx(73.1, abs=0.5)
