"""Learning-rate trials: the same number for all, the best by dev score, and what smaller searches would find."""

import itertools

import pytest

from configurations import changed
from dnatune.comparison import learning_rates
from dnatune.errors import ConfigurationError, DataError
from dnatune.report.figures import learning_rates as tuning_figures
from dnatune.report.figures.base import looks_for
from dnatune.report.sections import learning_rates as section
from dnatune.settings import experiment, rate_grid
from dnatune.settings.grid import Run
from dnatune.settings.rate_choice import Choice, TriedRate
from dnatune.settings.training import Budget
from dnatune.settings.tuning import RateGrid
from run_records import run_record
from searches import FLOOR, chosen, searched, trial

RATES = {name: {"from": 1e-3, "to": 1e-1} for name in ("adamw", "rk4", "rk4_single_gradient")}


def tuned(**tuning_changes):
    """The demo with tuning in place of its learning rates."""
    config = changed("tuning", {"trials": 3, "rates": RATES, **tuning_changes})
    for entry in config["optimizers"].values():
        entry["learning_rate"] = None
    return config


def test_a_grid_is_even_on_a_logarithmic_scale_and_a_list_is_itself():
    assert rate_grid.learning_rates(RateGrid(**{"from": 1e-4, "to": 1e-2}), 5) == [1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2]
    assert rate_grid.learning_rates((3, 0.1), 2) == [0.1, 3.0]


def test_a_trial_is_a_run_but_for_rate_seed_budget_and_dev_items():
    found = experiment.resolve(tuned(seed=7, budget={"steps": 9}, dev_examples=11))
    assert found.trials.rates("rk4") == [1e-3, 1e-2, 1e-1]
    run = found.finetune_settings(Run("tiny", "prom_core_all", "rk4", 7))
    trial = found.trials.settings("tiny", "prom_core_all", "rk4", 0.01)
    assert found.trials.settings_at("tiny/prom_core_all/rk4/rate0.01", None) == trial
    assert "learning_rate" not in run.optimizer.hyperparameters
    same = run.with_learning_rate(0.01)
    assert trial == same.model_copy(update={"budget": Budget(steps=9), "training": trial.training})
    assert trial.training.dev_examples == 11 and trial.training.evaluation_steps > 10**6
    different = {key for key, value in trial.training if value != getattr(run.training, key)}
    assert different == {"dev_examples", "evaluation_steps"}
    # Without a budget of its own a trial trains as long as the run.
    assert experiment.resolve(tuned()).trials.settings("tiny", "prom_core_all", "rk4", 0.01).budget == run.budget


def test_what_is_chosen_by_is_the_loss_or_the_task_s_metric():
    for word, key in (("dev_loss", "dev_loss"), ("task", "dev_mcc")):
        found = experiment.resolve(tuned(metric=word))
        assert found.choose_settings("tiny", "prom_core_all", "adamw").metric == key


def test_without_tuning_nothing_is_tried():
    assert not experiment.resolve(changed("tuning", None)).tuned
    assert experiment.resolve(tuned()).tuned
    with pytest.raises(ConfigurationError, match="no trials"):
        experiment.resolve(changed("tuning", None)).trials  # noqa: B018


def test_the_rates_of_a_second_step_are_known_but_for_the_best_of_the_first():
    found = experiment.resolve(tuned(fine=3, seed=7)).trials
    assert found.places("rk4") == ["rate0.001", "rate0.01", "rate0.1"]
    assert found.fine_places("rk4") == [f"fine{index}/seed{seed}" for index in range(3) for seed in (8, 9)]
    # Half a step of the grid, a factor of ten, to either side.
    assert [one.factor for one in found.fine_rates("rk4")] == pytest.approx([10**-0.5, 1, 10**0.5])
    five = experiment.resolve(tuned(fine=5)).trials
    assert [one.factor for one in five.fine_rates("rk4")] == pytest.approx([10 ** (j / 3) for j in range(-2, 3)])
    place = "tiny/prom_core_all/rk4/"
    for index, rate in enumerate((0.00316, 0.01, 0.0316)):
        made = found.settings_at(f"{place}fine{index}/seed9", 0.01)
        assert (made.seed, made.optimizer.hyperparameters["learning_rate"]) == (9, rate)
        coarse = found.settings("tiny", "prom_core_all", "rk4", rate)
        assert made == coarse.model_copy(update={"seed": 9})
    # The middle is the best itself, to all its digits.
    assert found.settings_at(f"{place}fine1/seed8", 0.012345).optimizer.hyperparameters["learning_rate"] == 0.012345
    assert experiment.resolve(tuned()).trials.fine_places("rk4") == []


@pytest.mark.parametrize(
    "place", ["rk4/rate0.5", "rk4/fine3/seed8", "rk4/fine0/seed7", "sgd/fine0/seed8", "rk4/seed8", "rk4/fine0/seed10"]
)
def test_a_trial_that_is_not_there_is_refused(place):
    found = experiment.resolve(tuned(fine=3, seed=7)).trials
    with pytest.raises(ConfigurationError, match="has no trial"):
        found.settings_at(f"tiny/prom_core_all/{place}", 0.01)


def test_a_trial_of_the_second_step_needs_the_choice_of_the_first():
    with pytest.raises(ConfigurationError, match="best of the first"):
        experiment.resolve(tuned(fine=3, seed=7)).trials.settings_at("tiny/prom_core_all/rk4/fine0/seed8", None)


@pytest.mark.parametrize("fine", [1, 2, 4])
def test_a_second_step_without_the_best_in_its_middle_is_refused(fine):
    with pytest.raises(ConfigurationError, match="odd number") as caught:
        experiment.resolve(tuned(fine=fine))
    assert "tuning.fine" in caught.value.where


@pytest.mark.parametrize(("seed", "fine"), [(0, 0), (1, 0), (10, 3), (9, 3)])
def test_a_run_with_the_seed_of_a_trial_is_refused(seed, fine):
    """The demo's seeds are 0 and 1; here 11 is one too."""
    config = tuned(seed=seed, fine=fine)
    config["seeds"] = [0, 1, 11]
    with pytest.raises(ConfigurationError, match="is a run's too"):
        experiment.resolve(config)
    experiment.resolve({**config, "tuning": {**config["tuning"], "seed": 8}})


@pytest.mark.parametrize(
    ("rates", "where", "told"),
    [
        ({"rk4": None}, "tuning.rates.rk4", "tuned alike"),
        ({"rk4": [0.1, 0.2]}, "tuning.rates.rk4", "2 different rates, and 'tuning.trials' is 3"),
        ({"rk4": [0.1, 0.2, 0.3, 0.4]}, "tuning.rates.rk4", "4 different rates"),
        ({"rk4": [0.1, 0.1, 0.2]}, "tuning.rates.rk4", "not allowed"),
        ({"rk4": {"from": 0.1, "to": 0.1}}, "tuning.rates.rk4", "above 'from'"),
        ({"rk4": {"from": 0.1, "to": 0.1002}}, "tuning.rates.rk4", "further apart"),
        ({"rk4": {"from": 0.1}}, "tuning.rates.rk4", "'to' is missing"),
        ({"rk4": {"from": -1, "to": 0.1}}, "tuning.rates.rk4.from", "at least 1e-30"),
        ({"sgd": [0.1, 0.2, 0.3]}, "tuning.rates.sgd", "not among the optimizers"),
    ],
)
def test_unequal_or_impossible_rates_are_refused(rates, where, told):
    with pytest.raises(ConfigurationError) as caught:
        experiment.resolve(tuned(rates={**RATES, **rates}))
    assert where in caught.value.where
    assert told in str(caught.value)


def test_a_rate_that_is_given_and_to_be_found_is_refused():
    config = tuned()
    config["optimizers"]["rk4"]["learning_rate"] = 0.1
    with pytest.raises(ConfigurationError, match="to be found by trials"):
        experiment.resolve(config)


def test_what_an_optimizer_lacks_besides_its_rate_is_still_named():
    config = tuned()
    config["optimizers"]["rk4"]["momentum"] = 0.9
    with pytest.raises(ConfigurationError, match="momentum"):
        experiment.resolve(config)


def test_the_lowest_loss_or_the_highest_metric_is_chosen():
    found = trial(0.1, 0.5, 0.3), trial(1.0, 0.4, 0.2), trial(10.0, 0.6, 0.4), trial(100.0, 0.7, 0.1)
    assert (chosen(*found).learning_rate, chosen(*found).score) == (1.0, 0.4)
    by_metric = chosen(*found, metric="dev_mcc")
    assert (by_metric.learning_rate, by_metric.score, by_metric.warnings) == (10.0, 0.4, [])
    assert [entry.chosen for entry in by_metric.trials] == [False, False, True, False]


def test_equal_metrics_are_told_apart_by_the_loss_then_by_the_rate():
    found = chosen(trial(0.1, 0.7), trial(1.0, 0.6), trial(10.0, 0.6), metric="dev_mcc")
    assert found.learning_rate == 1.0
    assert found.warnings == ["tied"]


def test_the_ends_of_the_grid_are_said():
    assert chosen(trial(0.1, 0.3), trial(1.0, 0.4)).warnings == ["lowest_rate"]
    assert chosen(trial(0.1, 0.5), trial(1.0, 0.4)).warnings == ["highest_rate"]


def test_a_diverged_trial_is_a_result():
    found = chosen(trial(0.1, 0.5), trial(1.0, 0.4), trial(10.0))
    assert found.learning_rate == 1.0
    assert found.warnings == ["some_diverged"]
    last = found.trials[-1]
    assert (last.status, last.dev_loss, last.ended) == ("diverged", None, "the loss is not finite")


def test_where_all_diverged_the_one_that_lasted_longest_is_taken_and_said():
    found = chosen(trial(0.1, steps=7), trial(1.0, steps=30), trial(10.0, steps=2))
    assert (found.learning_rate, found.score) == (1.0, None)
    assert found.warnings == ["all_diverged"]
    (sentence,) = learning_rates.remarks(found)
    assert "Every trial diverged (0.1, 1, 10)" in sentence and "took 1," in sentence


def second(rate, *losses):
    """Two trials of the second step at one rate."""
    return [trial(rate, loss, seed=seed) for seed, loss in enumerate(losses, start=1)]


COARSE = [trial(0.1, 0.5), trial(1.0, 0.2), trial(10.0, 0.6)]


def test_the_mean_of_the_second_step_decides():
    found = chosen(*COARSE, *second(0.3, 0.4, 0.3), *second(1.0, 0.5, 0.3), *second(3.0, 0.6, 0.1))
    # Though 3.0 has the best single trial, and 1.0 the best of the first step.
    assert (found.learning_rate, found.score, found.warnings) == (0.3, pytest.approx(0.35), ["tied"])
    assert [(one.learning_rate, one.search, one.seed) for one in found.trials if one.chosen] == [
        (0.3, "fine", 1),
        (0.3, "fine", 2),
    ]
    assert (len(found.coarse), len(found.fine)) == (3, 6)
    assert dict(learning_rates.fine_scores(found)) == pytest.approx({0.3: 0.35, 1.0: 0.4, 3.0: 0.35})


def test_a_rate_that_diverges_with_one_seed_of_the_second_step_is_not_chosen():
    found = chosen(*COARSE, *second(0.3, 0.4, 0.4), *second(1.0, 0.4, 0.3), *second(3.0, 0.1, None))
    assert (found.learning_rate, found.warnings) == (1.0, ["some_diverged"])
    assert learning_rates.fine_scores(found)[-1] == (3.0, None)
    lost = chosen(*COARSE, *second(0.3, None, 0.4), *second(1.0, 0.1, None), *second(3.0, None, None))
    assert (lost.score, lost.warnings) == (None, ["all_diverged"])
    (sentence,) = learning_rates.remarks(lost)
    assert "Every rate of the second step diverged with a seed (0.3, 1, 3)" in sentence


def test_the_edge_is_that_of_all_that_was_tried():
    inside = chosen(*COARSE, *second(0.3, 0.5, 0.5), *second(1.0, 0.5, 0.5), *second(3.0, 0.1, 0.1))
    assert inside.warnings == []
    low = [trial(0.1, 0.2), trial(1.0, 0.4)]
    assert chosen(*low, *second(0.03, 0.1, 0.1), *second(0.1, 0.2, 0.2), *second(0.3, 0.2, 0.3)).warnings == [
        "lowest_rate"
    ]
    # With worse rates on both sides it is bracketed, although the first step ended there.
    assert chosen(*low, *second(0.03, 0.3, 0.3), *second(0.1, 0.2, 0.2), *second(0.3, 0.2, 0.3)).warnings == []


@pytest.mark.parametrize("loss", [FLOOR, FLOOR + 0.1])
def test_a_rate_that_knows_only_the_class_shares_is_said(loss):
    found = chosen(trial(0.1, loss + 1), trial(1.0, loss), trial(10.0, loss + 1))
    assert found.warnings == ["class_shares_only"]
    (sentence,) = learning_rates.remarks(found)
    assert "knows nothing beyond class shares" in sentence and f"below {FLOOR:g}" in sentence
    assert learning_rates.flags([found]) == {("m", "t", "sgd"): ["class_shares_only"]}
    assert learning_rates.flags([chosen(*COARSE)]) == {("m", "t", "sgd"): []}
    # The mean over the second step counts, not the luck of the first.
    lucky = chosen(trial(0.1, 6.0), trial(1.0, 4.9), trial(10.0, 6.0), *second(1.0, 4.8, 5.4), *second(3.0, 5.2, 5.2))
    assert lucky.warnings == ["class_shares_only"]
    # Where all diverged there is no loss to compare.
    assert chosen(trial(0.1), trial(1.0)).warnings == ["all_diverged"]


def test_searches_with_unequal_numbers_of_trials_are_flagged():
    one, other = searched("sgd", [0.5, 0.4, 0.6]), searched("adamw", [0.5, 0.4])
    assert set(map(tuple, learning_rates.flags([one, other]).values())) == {("unequal_search",)}
    elsewhere = searched("adamw", [0.5, 0.4], task="prom_core_tata")
    assert set(map(tuple, learning_rates.flags([one, elsewhere]).values())) == {()}


def test_few_dev_items_and_a_class_without_any_are_said():
    found = chosen(trial(0.1, 0.5), trial(1.0, 0.4), trial(2.0, 0.6), truth=(1,) * 199)
    assert found.warnings == ["few_dev_items", "missing_dev_classes"]
    assert found.dev_items == 199


def test_dev_items_of_one_class_have_no_mcc_and_the_loss_decides(tmp_path):
    found = [trial(0.1, 0.5, None), trial(1.0, 0.4, None), trial(10.0, 0.6, None)]
    one = chosen(*found, metric="dev_mcc", truth=(1,) * 400)
    assert (one.metric, one.learning_rate, one.score) == ("dev_loss", 1.0, 0.4)
    assert one.warnings == ["missing_dev_classes", "undefined_metric"]
    assert [entry.dev_mcc for entry in one.trials] == [None] * 3
    # One whose trials all diverged says the same metric, or the figure of all had none.
    lost = chosen(trial(0.1), trial(1.0), metric="dev_mcc", truth=(1,) * 400)
    assert lost.metric == "dev_loss"
    assert len(tuning_figures.trials_chart([lost, one], looks_for(["sgd"])).data) == 6
    cells = dict(zip(*(line.split("\t") for line in learning_rates.tuning_text([one]).splitlines()[:2]), strict=True))
    assert (cells["dev_loss"], cells["dev_mcc"]) == ("0.5", "")


def test_a_trial_on_dev_items_of_one_class_is_read(tmp_path):
    record = tmp_path / "run.json"
    run_record(steps=1).write(record)
    log = tmp_path / "training.jsonl"
    log.write_text('{"step": 1, "dev_loss": 0.5, "dev_accuracy": 0.5, "dev_mcc": null, "dev_f1_macro": 0.5}\n')
    assert learning_rates.read_trial(record, log).scores["dev_mcc"] is None


def test_a_trial_counts_by_the_step_that_it_keeps(tmp_path):
    record, log = tmp_path / "run.json", tmp_path / "training.jsonl"
    rows = [
        f'{{"step": {n}, "dev_loss": 0.{n}, "dev_accuracy": 0.5, "dev_mcc": 0.1, "dev_f1_macro": 0.5}}' for n in (3, 6)
    ]
    log.write_text("\n".join(rows) + "\n")
    for kept, loss in ((3, 0.3), (6, 0.6), (None, 0.6)):
        run_record(steps=6, kept_step=kept).write(record)
        assert learning_rates.read_trial(record, log).scores["dev_loss"] == loss
    run_record(steps=6, kept_step=5).write(record)
    with pytest.raises(DataError, match="step 5 has no scores on the dev split"):
        learning_rates.read_trial(record, log)


def test_a_trial_of_another_optimizer_is_refused():
    with pytest.raises(DataError, match="m/t/adamw"):
        chosen(trial(0.1, 0.5), trial(0.2, 0.5, optimizer="adamw"))


def test_a_trial_without_dev_scores_is_refused(tmp_path):
    record = tmp_path / "run.json"
    run_record().write(record)
    log = tmp_path / "training.jsonl"
    for text in ("", '{"step": 1, "loss": 0.5}\n'):
        log.write_text(text)
        with pytest.raises(DataError, match="no scores on the dev split"):
            learning_rates.read_trial(record, log)


@pytest.mark.parametrize("values", [[0.1], [0.5, 0.2, 0.2], [0.3, -0.1, 0.9, 0.4, 0.4]])
def test_the_expected_best_is_the_mean_over_all_draws(values):
    found = learning_rates.expected_best(values)
    assert len(found) == len(values)
    for draws, value in enumerate(found, start=1):
        every = [max(picked) for picked in itertools.product(values, repeat=draws)]
        assert value == pytest.approx(sum(every) / len(every))


def test_expected_curves_count_a_diverged_trial_as_the_worst_of_all():
    first = chosen(trial(0.1, 0.5, steps=10), trial(1.0, 0.9, steps=10))
    second = chosen(trial(0.1, 0.7, steps=40), trial(1.0, steps=20), optimizer="sgd")
    second = second.model_copy(update={"optimizer": "other"})
    rows = learning_rates.expected_curves([first, second])
    # Two draws of two: three in four hold the better one.
    assert [(row["optimizer"], row["trials"], row["gradient_evaluations"]) for row in rows] == [
        ("sgd", 1, 10),
        ("sgd", 2, 20),
        ("other", 1, 30),
        ("other", 2, 60),
    ]
    assert [row["score"] for row in rows] == pytest.approx([0.7, 0.6, 0.8, 0.75])


def test_where_all_of_all_diverged_there_is_no_curve():
    assert learning_rates.expected_curves([chosen(trial(0.1), trial(1.0))]) == []


def test_the_data_of_the_figures_are_what_they_show():
    choices = [searched("sgd", [0.5, 0.4, None]), searched("adamw", [0.6, 0.3, 0.7])]
    looks = looks_for(["sgd", "adamw"])
    shown = tuning_figures.trials_chart(choices, looks).data
    columns = ["optimizer", "learning_rate", "search", "seed", "dev_loss", "status", "chosen"]
    assert shown.columns.tolist() == columns
    assert shown.iloc[-1][["optimizer", "dev_loss"]].tolist() == ["class shares only", FLOOR]
    shown = shown.iloc[:-1]
    entries = [entry for choice in choices for entry in choice.trials]
    assert shown["learning_rate"].tolist() == [entry.learning_rate for entry in entries]
    assert shown["status"].tolist() == [entry.status for entry in entries]
    assert shown[shown["chosen"].astype(bool)]["dev_loss"].tolist() == [0.4, 0.3]
    curve = tuning_figures.expected_chart(choices, looks).data
    assert curve["expected_best_dev_loss"].tolist() == [row["score"] for row in learning_rates.expected_curves(choices)]
    assert tuning_figures.trials_chart([searched("sgd", [None, None])], looks) is None


def test_trials_of_unequal_cost_are_a_caution():
    adamw, sgd = (searched(name, [0.5, 0.4, 0.6]) for name in ("adamw", "sgd"))
    rk4 = searched("rk4", [0.5, 0.4, None], stages=4)
    (caution,) = section.unequal_cost([adamw, rk4, sgd])
    assert "10 with adamw and sgd; 40 with rk4." in caution
    assert section.unequal_cost([adamw, sgd]) == []
    # A diverged trial was cut short, which is no difference of budgets.
    short = searched("sgd", [0.5, 0.4, 0.6])
    last = short.trials[2].model_copy(update={"status": "diverged", "gradient_evaluations": 3})
    short = short.model_copy(update={"trials": [*short.trials[:2], last]})
    assert section.unequal_cost([adamw, short]) == []
    assert section.unequal_cost([searched("sgd", [None, None]), adamw]) == []
    # 42 evaluations are ten steps of four, and a rest that is less than a step.
    assert section.unequal_cost([searched("adamw", [0.5, 0.4], steps=42), rk4]) == []


def test_the_table_has_a_row_a_trial():
    lines = learning_rates.tuning_text([chosen(trial(0.1, 0.5), trial(1.0))]).splitlines()
    assert lines[0].split("\t") == ["model", "task", "optimizer", *TriedRate.model_fields]
    assert [line.split("\t")[3:8] for line in lines[1:]] == [
        ["0.1", "coarse", "0", "completed", "yes"],
        ["1.0", "coarse", "0", "diverged", "no"],
    ]


def test_a_choice_that_lacks_a_key_is_refused(tmp_path):
    path = tmp_path / "choice.json"
    path.write_text('{"model": "m"}')
    with pytest.raises(DataError, match="learning_rate"):
        Choice.read(path)
