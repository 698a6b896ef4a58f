import csv
import io
import json
import random
from dataclasses import dataclass, replace

import pytest
from rich.console import Console
from scipy.stats import binomtest

from langchain_moa.cli.evaluation.report_output import print_report
from langchain_moa.evals.report.comparisons import is_single
from langchain_moa.evals.report.equal_cost import samples_for_calls, samples_for_cost
from langchain_moa.evals.report.html_page import to_html
from langchain_moa.evals.report.make_report import make_report
from langchain_moa.evals.types import Answer, Judgment
from langchain_moa.prices import Price, PriceList
from tests.sample_evaluation import SampleBenchmark, make_run, noisy_scores, usage

PRICES = PriceList(
    prices={"small": Price(input=1, output=4), "big": Price(input=2, output=8), "judge": Price(input=10, output=30)},
    source="prices.json",
)


def report_of(runs, **options):
    options = {"judge": "gpt-4", "prices": PRICES, **options}
    return make_report(SampleBenchmark(), runs, **options)


@pytest.fixture
def report():
    """A weak and a strong single model, and a mixture of both that is better than either."""
    scores = noisy_scores(6)
    return report_of(
        {
            "weak": make_run("weak", [score - 1 for score in scores], seconds=1.0),
            "strong": make_run("strong", scores, models=["big"], seconds=2.0),
            "moa": make_run("moa", [score + 0.5 for score in scores], models=["small", "big"], calls=3, seconds=5.0),
        }
    )


def row_of(report, system):
    return next(row for row in report.systems if row.system == system)


def verdict_of(report, system, single):
    return next(verdict for verdict in report.verdicts if (verdict.system, verdict.other) == (system, single))


def test_the_baseline_is_the_best_of_the_single_models(report):
    assert report.baseline == "strong"
    assert row_of(report, "strong").difference is None
    assert row_of(report, "moa").difference.value == pytest.approx(0.5)
    assert row_of(report, "weak").difference.value == pytest.approx(-0.97, abs=0.05)


def test_the_caller_may_name_another_baseline():
    runs = {name: make_run(name, noisy_scores(mean)) for name, mean in (("a", 5), ("b", 6))}
    assert report_of(runs, baseline="a").baseline == "a"
    with pytest.raises(ValueError, match="'c' is not among the systems: choose from 'a', 'b'"):
        report_of(runs, baseline="c")


def test_costs_are_means_over_the_items(report):
    moa = row_of(report, "moa").spending
    assert (moa.calls, moa.input_tokens, moa.output_tokens) == (3, 200, 100)
    assert moa.usd_per_100 == pytest.approx(100 * (100 * 1 + 50 * 4 + 100 * 2 + 50 * 8) / 1e6)
    assert (moa.latency_p50, moa.latency_p95) == (5, 5)
    judge = row_of(report, "moa").judge_spending
    assert (judge.calls, judge.input_tokens, judge.output_tokens) == (80, 16_000, 800)
    assert judge.usd == pytest.approx(0.184)


def test_each_composed_system_has_a_verdict_against_each_single_model(report):
    assert [(verdict.system, verdict.other) for verdict in report.verdicts] == [("moa", "weak"), ("moa", "strong")]
    verdict = verdict_of(report, "moa", "strong")
    assert verdict.outcome == "better"
    assert verdict.cost_factor == pytest.approx(1.5)
    assert verdict.latency_factor == pytest.approx(2.5)
    assert (
        "moa against strong: better by 0.50 (0.28 to 0.72) for 1.5 times the cost and 2.5 times the latency; "
        "p < 0.001, n = 80."
    ) in report.to_markdown().replace("\\", "")


def test_a_worse_and_an_indistinguishable_system_are_called_so():
    report = report_of(
        {
            "single": make_run("single", noisy_scores(6)),
            "worse": make_run("worse", [score - 2 for score in noisy_scores(6)], calls=3),
            "alike": make_run("alike", noisy_scores(6, seed=2), calls=3),
        }
    )
    assert verdict_of(report, "worse", "single").outcome == "worse"
    assert verdict_of(report, "alike", "single").outcome == "not distinguishable"
    text = report.to_markdown()
    assert "worse against single: worse by 2" in text
    assert "alike against single: not distinguishable," in text


def test_a_system_is_single_when_almost_every_turn_took_one_call():
    answer = Answer(question="1", system="a", texts=("x", "y"), calls=2)
    assert is_single([answer]) is True
    assert is_single([answer] * 9 + [replace(answer, calls=3)]) is True
    assert is_single([answer] * 8 + [replace(answer, calls=3)] * 2) is False
    assert is_single([answer, replace(answer, calls=1, error="boom")]) is True
    assert is_single([replace(answer, calls=0)]) is None


def with_failures(run, *failed):
    """Return a run in which the answers to these questions failed."""
    answers, judgments = run
    broken = {str(place) for place in failed}
    return (
        [replace(one, error="boom", texts=(), seconds=99.0) if one.question in broken else one for one in answers],
        [one for one in judgments if one.question not in broken],
    )


def test_failures_and_unreadable_replies_are_counted():
    answers, judgments = with_failures(make_run("a", [5.0] * 40), 0)
    judgments[0] = replace(judgments[0], score=None)
    judgments[1] = replace(judgments[1], score=None, error="timeout", reply="", usage={})
    for failures, scored in (("wrong", 38), ("drop", 37)):
        row = row_of(report_of({"a": (answers, judgments)}, failures=failures), "a")
        assert (row.answers, row.failed, row.scored, row.unparsable, row.judge_failed) == (40, 1, scored, 1, 1)
        assert row.spending.latency_p95 == 1


def test_a_failed_answer_counts_as_wrong_or_not_at_all_and_both_are_shown():
    runs = {"a": with_failures(make_run("a", [5.0] * 40), *range(10))}
    wrong, dropped = (report_of(runs, failures=failures) for failures in ("wrong", "drop"))
    assert (row_of(wrong, "a").score, row_of(wrong, "a").score_otherwise) == (4, 5)
    assert (row_of(dropped, "a").score, row_of(dropped, "a").score_otherwise) == (5, 4)
    assert wrong.warnings == ["a: 10 of 40 answers failed; they count as wrong."]
    assert dropped.warnings == ["a: 10 of 40 answers failed; they are left out."]
    assert "| failures left out |" in wrong.to_markdown()
    assert next(csv.DictReader(io.StringIO(wrong.to_csv())))["score_otherwise"] == "5.0"
    for text in (wrong.to_markdown(), to_html(wrong)):
        assert "10 of 40 answers failed" in text


def test_a_verdict_that_failures_would_turn_round_is_withheld():
    # The mixture fails on 30 questions that the single model gets right, and is better at the others.
    single = make_run("single", [*[10.0] * 30, *[5.0] * 70])
    moa = with_failures(make_run("moa", [*[10.0] * 30, *[6.0] * 70], calls=3), *range(30))
    report = report_of({"single": single, "moa": moa})
    (verdict,) = report.verdicts
    assert verdict.outcome == "withheld"
    assert verdict.difference.value == pytest.approx(-2)
    assert verdict.otherwise.value == pytest.approx(1)
    text = report.to_markdown().replace("\\", "")
    assert "moa against single: withheld, because it depends on how failed answers count: -2.00" in text
    assert '<li class="withheld">' in to_html(report)


def test_a_verdict_that_failures_do_not_change_is_told():
    single = make_run("single", noisy_scores(6))
    moa = with_failures(make_run("moa", [score + 2 for score in noisy_scores(6)], calls=3), 0, 1)
    (verdict,) = report_of({"single": single, "moa": moa}).verdicts
    assert verdict.outcome == "better"


def test_two_mixtures_are_compared_unless_a_baseline_is_named():
    runs = {name: make_run(name, noisy_scores(6, seed=i), calls=3) for i, name in enumerate("ab")}
    (verdict,) = report_of(runs).verdicts
    assert (verdict.system, verdict.other) == ("a", "b")
    assert "Decided at 5 % with Holm's correction for 1 comparison. Intervals" in report_of(runs).to_markdown()
    runs["c"] = make_run("c", noisy_scores(6, seed=3), calls=2)
    pairs = [(verdict.system, verdict.other) for verdict in report_of(runs, baseline="a").verdicts]
    assert pairs == [("b", "a"), ("c", "a")]


def test_verdicts_are_corrected_for_being_several_and_the_report_says_so():
    rng = random.Random(1)
    runs = {"single": make_run("single", noisy_scores(6))}
    for i in range(8):
        better = [score + 0.25 + rng.gauss(0, 1) for score in noisy_scores(6)]
        runs[f"moa-{i}"] = make_run(f"moa-{i}", better, calls=2)
    report = report_of(runs)
    assert len(report.verdicts) == 8 + 28
    for verdict in report.verdicts:
        assert verdict.p_value >= min(1, verdict.difference.p_value)
    assert any(verdict.p_value > 0.05 > verdict.difference.p_value for verdict in report.verdicts)
    assert all(verdict.outcome == "not distinguishable" for verdict in report.verdicts if verdict.p_value >= 0.05)
    text = report.to_markdown().replace("\\", "")
    assert "Holm's correction for 36 comparisons, which also allows for choosing the best single model" in text
    named = report_of(runs, baseline="single")
    assert "for 8 comparisons; the baseline single was named." in named.to_markdown().replace("\\", "")


def test_what_nobody_told_is_not_zero():
    answers, judgments = make_run("imported", noisy_scores(6), calls=0, seconds=None)
    answers = [replace(answer, usage={}) for answer in answers]
    report = report_of({"imported": (answers, judgments)})
    spending = row_of(report, "imported").spending
    assert [spending.calls, spending.input_tokens, spending.usd_per_100, spending.latency_p50] == [None] * 4
    (line,) = csv.DictReader(io.StringIO(report.to_csv()))
    assert [line[name] for name in ("calls", "output_tokens", "usd_per_100", "latency_p95")] == ["n/a"] * 4
    assert json.loads(report.to_json())["systems"][0]["spending"]["usd_per_100"] is None
    costs = report.to_markdown().partition("## Costs")[2].partition("##")[0]
    assert costs.count("n/a") == 6


def test_an_unknown_price_makes_the_cost_unknown_and_is_named():
    runs = {
        "single": make_run("single", noisy_scores(6)),
        "moa": make_run("moa", noisy_scores(6, seed=1), models=["small", "new"], calls=3),
    }
    report = report_of(runs)
    assert row_of(report, "moa").spending.usd_per_100 is None
    assert any("'new'" in warning for warning in report.warnings)
    assert "for n/a times the cost" in report.to_markdown()


def test_without_prices_nothing_is_warned_of_and_no_cost_is_known(report):
    runs = {"single": make_run("single", noisy_scores(6))}
    report = report_of(runs, prices=None)
    assert report.warnings == []
    assert row_of(report, "single").spending.usd_per_100 is None


def test_answers_without_usage_are_left_out_of_the_mean_and_told_of():
    answers, judgments = make_run("a", noisy_scores(6))
    answers[:10] = [replace(answer, usage={}) for answer in answers[:10]]
    report = report_of({"a": (answers, judgments)})
    assert row_of(report, "a").spending.input_tokens == 100
    assert "a: 10 of 80 answers told no tokens; tokens and dollars are means over the others." in report.warnings


def test_warnings_of_all_systems_are_told_once():
    runs = {name: make_run(name, noisy_scores(6)) for name in ("a", "b")}
    benchmark = SampleBenchmark(warnings={"a": ["saturated", "all alike"], "b": ["saturated"]})
    report = make_report(benchmark, runs, judge=None, prices=None, warnings=["a subset"])
    assert report.warnings == ["a subset", "saturated", "a: all alike"]


def test_a_judge_that_took_part_is_warned_of():
    runs = {"a": make_run("a", noisy_scores(6), judge="small"), "b": make_run("b", noisy_scores(6), models=["big"])}
    (warning,) = report_of(runs).warnings
    assert warning.startswith("a: The judge 'small' also took part")


def test_a_system_that_failed_at_everything_has_the_lowest_score_or_none(report):
    answers = [Answer(question=str(i), system="broken", error="boom") for i in range(40)]
    runs = {"broken": (answers, []), "good": make_run("good", noisy_scores(6), calls=2)}
    row = row_of(report_of(runs), "broken")
    assert (row.score, row.score_otherwise, row.failed, row.scored) == (1, None, 40, 40)
    report = report_of(runs, failures="drop")
    row = row_of(report, "broken")
    assert (row.score, row.interval, row.failed, row.scored) == (None, None, 40, 0)
    assert report.baseline is None
    assert any("single model" in warning for warning in report.warnings)
    json.loads(report.to_json(), parse_constant=pytest.fail)
    assert "broken" in to_html(report)


def test_nothing_to_report_is_refused():
    with pytest.raises(ValueError, match="at least one system"):
        report_of({})


def test_how_the_judge_was_read_is_told():
    answers, judgments = make_run("a", noisy_scores(6))
    read = [replace(judgment, fields={"logprobs": {"m": -0.1}}) for judgment in judgments]
    assert report_of({"a": (answers, judgments)}).judge_mode == "text"
    assert report_of({"a": (answers, read)}).judge_mode == "logprobs"
    unjudged = [Judgment(question=answer.question, system="a", score=1.0) for answer in answers]
    assert report_of({"a": (answers, unjudged)}, judge=None).judge_mode is None


def test_a_report_says_what_its_questions_can_show_and_how_many_a_difference_takes():
    runs = {name: make_run(name, noisy_scores(6, seed=i), calls=1 + i) for i, name in enumerate(("single", "moa"))}
    report = report_of(runs, detect=0.1)
    (verdict,) = report.verdicts
    assert 0.3 < verdict.detectable < 0.8
    assert verdict.needed == pytest.approx(80 * (verdict.detectable / 0.1) ** 2, rel=0.05)
    assert "| questions for 0.1 |" in report.to_markdown()
    assert "What the questions can show" in to_html(report)
    with pytest.raises(ValueError, match="must be above 0, not -1"):
        report_of(runs, detect=-1)


@dataclass
class RightOrWrong(SampleBenchmark):
    """Questions whose answers are right (100) or wrong (0)."""

    def metric(self, answers, judgments):
        metric = super().metric(answers, judgments)
        metric.bounds = (0.0, 100.0)
        return metric


def test_the_ceiling_is_where_any_single_model_is_right():
    scores = {"a": [100.0, 0.0, 0.0, 100.0] * 5, "b": [100.0, 100.0, 0.0, 0.0] * 5, "moa": [100.0] * 20}
    runs = {name: make_run(name, one, calls=3 if name == "moa" else 1) for name, one in scores.items()}
    report = make_report(RightOrWrong(), runs, judge=None, prices=None)
    assert (report.ceiling.members, report.ceiling.oracle, report.ceiling.beta) == (("a", "b"), 75, 25)
    expected = binomtest(5, 20).proportion_ci(method="exact")
    assert report.ceiling.beta_interval.low == pytest.approx(100 * expected.low)
    assert report.ceiling.beta_interval.high == pytest.approx(100 * expected.high)
    for text in (report.to_markdown(), to_html(report)):
        assert "oracle: any of a, b is right" in text
        assert "beta: all of a, b fail" in text
    assert json.loads(report.to_json())["ceiling"]["beta"] == 25


def test_there_is_no_ceiling_for_ratings_or_for_one_model():
    runs = {name: make_run(name, noisy_scores(6)) for name in "ab"}
    assert report_of(runs).ceiling is None
    runs = {"a": make_run("a", [100.0, 0.0] * 10)}
    assert make_report(RightOrWrong(), runs, judge=None, prices=None).ceiling is None


def test_a_system_of_equal_cost_is_compared_with_its_mixture_only():
    names = ("single", "moa", "other", "moa.equal-cost.single-x3")
    runs = {name: make_run(name, noisy_scores(6, seed=i), calls=1 + i) for i, name in enumerate(names)}
    report = report_of(runs, equal={"moa": [names[-1]]})
    assert [(verdict.system, verdict.other) for verdict in report.verdicts] == [
        ("moa", "single"),
        ("other", "single"),
        ("moa", "other"),
        ("moa", "moa.equal-cost.single-x3"),
    ]


def test_the_money_of_a_mixture_buys_so_many_samples():
    single, _ = make_run("single", [5.0] * 4)  # 100 tokens in at 1, 50 out at 4: 300 a question
    mixture, _ = make_run("moa", [5.0] * 4, models=["small", "big"], calls=3)  # 900 a question
    assert samples_for_cost(mixture, single, PRICES, voted=True) == 3
    # Two samples and the call that reads them: 3 x 300, and 2 x 50 tokens more to read, which is 100 too many.
    assert samples_for_cost(mixture, single, PRICES, voted=False) == 1
    assert samples_for_calls(mixture, single, voted=True) == 3
    assert samples_for_calls(mixture, single, voted=False) == 2
    unpriced, _ = make_run("new", [5.0] * 4, models=["new"])
    assert samples_for_cost(mixture, unpriced, PRICES, voted=True) is None


def test_the_json_holds_everything(report):
    content = json.loads(report.to_json())
    assert [row["system"] for row in content["systems"]] == ["weak", "strong", "moa"]
    assert (content["judge"], content["failures"], content["is_named"]) == ("gpt-4", "wrong", False)
    assert content["verdicts"][1]["text"].startswith("moa against strong: better by 0.50")
    assert len(content["systems"][0]["breakdowns"]["category"]) == 8


def test_the_csv_has_a_line_per_system_and_a_column_per_figure(report):
    lines = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [line["system"] for line in lines] == ["weak", "strong", "moa"]
    assert float(lines[2]["difference"]) == pytest.approx(0.5)
    assert lines[1]["difference"] == "n/a"
    assert {"score_low", "figure highest", "category math", "judge_usd"} <= lines[0].keys()


def test_the_markdown_shows_names_as_they_are():
    runs = {"a|b": make_run("a|b", noisy_scores(6)), "*c*": make_run("*c*", noisy_scores(6), calls=2)}
    text = report_of(runs).to_markdown()
    assert "| a\\|b | " in text
    assert "\\*c\\* against a\\|b" in text


def test_on_a_terminal_a_report_fits_its_width(report):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    print_report(console, report)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "▲ moa against strong: better by 0.50" in text
    assert text.index("characters a turn") < text.index("Score by category") < text.index("▲")


def test_elsewhere_a_report_is_tab_separated(report):
    console = Console(file=io.StringIO(), width=20)
    print_report(console, report)
    lines = console.file.getvalue().splitlines()
    assert any(line.startswith("moa\t6.") for line in lines)


def test_a_terminal_obeys_no_name():
    name = "evil\x1b]0;title\x07"
    report = report_of({name: make_run(name, noisy_scores(6))})
    for console in (Console(file=io.StringIO(), force_terminal=True, color_system=None), Console(file=io.StringIO())):
        print_report(console, report)
        assert "\x1b]" not in console.file.getvalue()
        assert "\x07" not in console.file.getvalue()


def test_the_page_holds_no_markup_of_a_name():
    name = "</script><img src=x onerror=alert(1)>"
    page = to_html(report_of({name: make_run(name, noisy_scores(6)), "ok": make_run("ok", noisy_scores(6), calls=2)}))
    assert "<img" not in page.partition("Plotly")[0]
    assert page.count("</script>") == 4


def test_the_page_says_what_it_can_not_draw():
    report = report_of({"a": make_run("a", noisy_scores(6), seconds=None)}, prices=None)
    page = to_html(report)
    assert page.count("Not shown, because it is not known: a.") == 2


def page_figures(report):
    """Return the plots of a report's page, as the page draws them."""
    return json.loads(to_html(report).partition('id="data">')[2].partition("</script>")[0])


def test_systems_of_the_same_cost_are_drawn_side_by_side_with_their_own_figures():
    runs = {name: make_run(name, noisy_scores(6, seed=i), seconds=2.0) for i, name in enumerate("abc")}
    report = report_of(runs)
    places = [trace["x"][0] for trace in page_figures(report)[1]["data"]]
    assert places[0] < places[1] == 2.0 < places[2]
    page = to_html(report)
    assert "Systems of the same latency are drawn side by side." in page
    assert page.count("latency p50 2.00 s") == 6  # at both plots


def test_a_logarithmic_axis_has_whole_numbers_at_its_ticks():
    runs = {
        "a": make_run("a", noisy_scores(6), seconds=0.02),
        "b": make_run("b", noisy_scores(6, seed=1), seconds=3.0, calls=2),
    }
    axis = page_figures(report_of(runs))[1]["layout"]["xaxis"]
    assert (axis["type"], axis["tickformat"]) == ("log", "~g")


RADAR = '<h2>Score by category</h2>\n<div class="plot radar"'


def test_a_radar_shows_what_all_systems_share(report):
    assert RADAR in to_html(report)
    first, *others = report.systems
    parts = {**first.breakdowns["category"], "math": None}
    without_math = replace(report, systems=[replace(first, breakdowns={"category": parts}), *others])
    assert "Not shown, because not all systems have it: math." in to_html(without_math)
    two_parts = replace(first, breakdowns={"category": {"math": 1.0, "stem": 2.0}})
    assert RADAR not in to_html(replace(report, systems=[two_parts, *others]))


def test_tokens_are_added_up_over_models(report):
    answers, judgments = make_run("a", noisy_scores(6))
    answers = [replace(answer, usage={"small": usage(1, 2), "big": usage(10, 20)}) for answer in answers]
    spending = row_of(report_of({"a": (answers, judgments)}), "a").spending
    assert (spending.input_tokens, spending.output_tokens) == (11, 22)
