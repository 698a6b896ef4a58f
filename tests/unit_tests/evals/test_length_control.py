"""The length-controlled win rate, against alpaca_eval 0.6.6 and the published leaderboard."""

from functools import cache

import numpy as np
import pytest

from langchain_moa.evals.statistics.length_control import LengthControl, read_gamed_judgments
from tests.evals_fixtures import needs_fixtures, read_csv, read_json, read_text

# They miss judgments, and alpaca_eval looks the difficulty up by the position in the list, not by the instruction.
INCOMPLETE = ("alpaca-7b_verbose", "gpt35_turbo_instruct", "phi-2")


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


@cache
def made_up(*, better=0.0, longer=0.0, questions=200, seed=0):
    """Return a system that is `better` by logits and `longer` by spreads than a baseline that likes its length."""
    random = np.random.default_rng(seed)
    difficulties = random.normal(size=questions)

    def judgments(logits, lengths):
        return sigmoid(logits - 1.5 * np.tanh(lengths) + random.normal(scale=0.3, size=questions))

    rows = ["index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline,model"]
    for name, mean in (("concise", 1.0), ("verbose", -1.0)):
        lengths = random.normal(mean, 0.3, size=questions)
        for index, share in enumerate(judgments(0, lengths)):
            rows.append(f"{index},{share},{lengths[index]},{difficulties[index]},False,{name}")
    spreads = random.normal(-longer, 1, size=questions)
    return {
        "gamed": read_gamed_judgments("\n".join(rows)),
        "preferences": judgments(better - 0.5 * difficulties, spreads).tolist(),
        "lengths": (400 * spreads).astype(int).tolist(),
        "difficulties": difficulties.tolist(),
    }


def raw(system):
    return 100 * np.mean(system["preferences"])


def test_length_alone_wins_nothing():
    system = made_up(longer=1.0)
    control = LengthControl(**system)
    assert raw(system) > 65
    assert control.win_rate == pytest.approx(50, abs=4)
    assert control.coefficients[0] < 0, "a longer baseline should count against the system"


def test_what_is_better_stays_better_at_the_same_length():
    system = made_up(better=1.0)
    assert LengthControl(**system).win_rate == pytest.approx(raw(system), abs=4)


def test_the_baseline_against_itself_is_a_draw():
    system = made_up() | {"preferences": [0.5] * 200, "lengths": [0] * 200}
    control = LengthControl(**system)
    assert control.win_rate == pytest.approx(50, abs=0.05)
    assert control.refit([0, 0, 3]) == pytest.approx(50, abs=0.5)


def test_a_refit_over_all_questions_is_the_fit_itself():
    control = LengthControl(**made_up(better=0.5, longer=0.5))
    assert control.refit(range(200)) == pytest.approx(control.win_rate, abs=1e-9)


def test_a_refit_over_a_draw_is_a_fit_of_the_questions_drawn():
    system = made_up(better=0.5, longer=0.5)
    control = LengthControl(**system)
    draw = np.random.default_rng(1).integers(200, size=200).tolist()
    drawn = {key: [system[key][place] for place in draw] for key in ("preferences", "lengths", "difficulties")}
    again = LengthControl(system["gamed"], **drawn)
    again.c = control.c
    assert control.refit(draw) == pytest.approx(again.refit(range(200)), abs=0.02)
    assert control.refit(draw) != pytest.approx(control.win_rate, abs=0.02)


def test_random_draws_spread_wider_than_the_standard_error_of_the_leaderboard():
    control = LengthControl(**made_up(better=0.5, longer=0.5))
    draws = np.random.default_rng(0).integers(200, size=(100, 200)).tolist()
    assert np.std([control.refit(draw) for draw in draws]) > control.standard_error > 0


def test_a_gamed_judgment_without_a_preference_is_left_out():
    gamed = read_gamed_judgments(
        "index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline,model\n"
        "0,0.25,1.0,-0.5,False,concise\n"
        "1,,2.0,0.5,False,concise\n"
    )
    assert gamed.design == pytest.approx(np.array([[np.tanh(1.0), -0.5, 0]]))
    assert gamed.preferences.tolist() == [0.25]
    assert gamed.difficulties == {0: -0.5, 1: 0.5}


@cache
def reconstructed():
    """Return the stand-in for `df_gamed.csv`, which was made from published coefficients and lengths."""
    return read_gamed_judgments(read_text("alpaca_eval/RECONSTRUCTED_df_gamed.csv.gz"))


@cache
def published(model):
    gamed = reconstructed()
    rows = [row for row in read_csv("alpaca_eval/annotations_trimmed.csv.gz") if row["model"] == model]
    return LengthControl(
        gamed,
        preferences=[float(row["preference"]) - 1 for row in rows],
        lengths=[int(row["len_output_1"]) - int(row["len_output_2"]) for row in rows],
        difficulties=[gamed.difficulties[int(row["position"])] for row in rows],
    )


@needs_fixtures
@pytest.mark.parametrize("model", [*INCOMPLETE, "FuseChat-Gemma-2-9B-Instruct", "gpt4_gamed", "vicuna-7b-v1.3"])
def test_it_is_what_alpaca_eval_computes(model):
    oracle = read_json("alpaca_eval/oracle_lc.json")["models"][model]["oracle_alpaca_eval_0_6_6_on_reconstructed"]
    control = published(model)
    assert control.win_rate == pytest.approx(oracle["length_controlled_winrate"], abs=1e-6)
    assert control.standard_error == pytest.approx(oracle["lc_standard_error"], abs=1e-6)
    assert control.c == pytest.approx(oracle["C"])
    names = ("coef_tanh_len", "coef_instruction_difficulty", "coef_bias")
    assert control.coefficients == pytest.approx([oracle[name] for name in names], abs=1e-6)


@needs_fixtures
@pytest.mark.parametrize("model", ["FuseChat-Gemma-2-9B-Instruct", "gpt4_gamed"])
def test_a_refit_over_all_published_judgments_is_the_reported_figure(model):
    control = published(model)
    assert control.refit(range(805)) == pytest.approx(control.win_rate, abs=0.02)


@needs_fixtures
def test_published_coefficients_predict_published_win_rates():
    models = read_json("alpaca_eval/oracle_lc.json")["models"]
    difficulties = np.array(list(reconstructed().difficulties.values()))
    for name, model in models.items():
        if name not in INCOMPLETE:
            _, difficulty, bias = model["published_coef"]
            predicted = 100 * sigmoid(difficulty * difficulties + bias).mean()
            assert predicted == pytest.approx(model["published"]["length_controlled_winrate"], abs=1e-4), name
