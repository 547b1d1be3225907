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
from dnatune.settings.rate_choice import Choice, TriedRate
from dnatune.settings.training import Budget
from dnatune.settings.tuning import RateGrid
from run_records import run_record
from searches import chosen, searched, trial

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
    assert found.trial_rates("rk4") == [1e-3, 1e-2, 1e-1]
    run = found.finetune_settings(experiment.Run("tiny", "prom_core_all", "rk4", 7))
    trial = found.trial_settings("tiny", "prom_core_all", "rk4", 0.01)
    assert "learning_rate" not in run.optimizer.hyperparameters
    same = run.with_learning_rate(0.01)
    assert trial == same.model_copy(update={"budget": Budget(steps=9), "training": trial.training})
    assert trial.training.dev_examples == 11 and trial.training.evaluation_steps > 10**6
    different = {key for key, value in trial.training if value != getattr(run.training, key)}
    assert different == {"dev_examples", "evaluation_steps"}
    # Without a budget of its own a trial trains as long as the run.
    assert experiment.resolve(tuned()).trial_settings("tiny", "prom_core_all", "rk4", 0.01).budget == run.budget


def test_what_is_chosen_by_is_the_loss_or_the_task_s_metric():
    for word, key in (("dev_loss", "dev_loss"), ("task", "dev_mcc")):
        found = experiment.resolve(tuned(metric=word))
        assert found.choose_settings("tiny", "prom_core_all", "adamw").metric == key


def test_without_tuning_nothing_is_tried():
    assert not experiment.resolve(changed("tuning", None)).tuned
    assert experiment.resolve(tuned()).tuned


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
        ({"rk4": {"from": -1, "to": 0.1}}, "tuning.rates.rk4.from", "more than 0"),
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
    (sentence,) = section.words(found)
    assert "Every trial diverged (0.1, 1, 10)" in sentence and "took 1," in sentence


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
    assert len(tuning_figures.trials_chart([lost, one], looks_for(["sgd"])).data) == 5
    cells = dict(zip(*(line.split("\t") for line in learning_rates.tuning_text([one]).splitlines()[:2]), strict=True))
    assert (cells["dev_loss"], cells["dev_mcc"]) == ("0.5", "")


def test_a_trial_on_dev_items_of_one_class_is_read(tmp_path):
    record = tmp_path / "run.json"
    run_record().write(record)
    log = tmp_path / "training.jsonl"
    log.write_text('{"step": 1, "dev_loss": 0.5, "dev_accuracy": 0.5, "dev_mcc": null, "dev_f1_macro": 0.5}\n')
    assert learning_rates.read_trial(record, log).scores["dev_mcc"] is None


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
    assert shown.columns.tolist() == ["optimizer", "learning_rate", "dev_loss", "status", "chosen"]
    entries = [entry for choice in choices for entry in choice.trials]
    assert shown["learning_rate"].tolist() == [entry.learning_rate for entry in entries]
    assert shown["status"].tolist() == [entry.status for entry in entries]
    assert shown[shown["chosen"]]["dev_loss"].tolist() == [0.4, 0.3]
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
    assert [line.split("\t")[3:6] for line in lines[1:]] == [["0.1", "completed", "yes"], ["1.0", "diverged", "no"]]


def test_a_choice_that_lacks_a_key_is_refused(tmp_path):
    path = tmp_path / "choice.json"
    path.write_text('{"model": "m"}')
    with pytest.raises(DataError, match="learning_rate"):
        Choice.read(path)
