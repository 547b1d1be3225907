"""The first screen: one test for each kind of sentence, on synthetic results."""

import dataclasses
import re

import pytest

from compared_results import pairs_of, read, verdict_rows
from dnatune.report import answers, cautions, formatting
from dnatune.report.sections import answer
from report_pages import base_of, evidence_of
from searches import searched
from synthetic_results import PROMOTERS, SPLICE, Results


def lines_of(results: Results, **others) -> list[str]:
    """Return the lines of the first model and task, each as one text."""
    return texts(answer.content(evidence_of(results, **others))["blocks"][0]["lines"])


def texts(lines: list[answers.Line]) -> list[str]:
    return [f"{line.lead} {line.rest}".strip() for line in lines]


def runs(results: Results, number: int, **skills: float) -> Results:
    for seed in range(number):
        for name, skill in skills.items():
            results.add_run(name, seed, skill=skill)
    return results


def test_the_best_the_lead_the_control_and_the_ceiling(tmp_path):
    made = runs(Results(tmp_path, items=2000), 3, adamw=2.0, sgd=0.9, rk4=0.5)
    made.add_baseline("gc", 0.2)
    made.add_baseline("positional", 0.8)
    made.add_baseline("bayes", 2.6)
    first, rivals, control = lines_of(made, zero_shots=[base_of(made)])
    groups, rows = read(made)
    values = groups[0].values("mcc")
    spread = f"three seeds, {min(values):.3f} to {max(values):.3f}"
    assert first == (
        f"adamw learnt the task best and beats the best control: MCC {rows[0]['mean']:.3f} ({spread}),"
        f" AUROC {rows[0]['auroc']:.2f}."
    )
    nearest, farther = pairs_of(made)[:2]
    of_each = " and ".join(
        f"of {pair.second} by {pair.difference:.2f} ({pair.low:.2f} to {pair.high:.2f})" for pair in (nearest, farther)
    )
    assert rivals == f"It is ahead {of_each}."
    against = next(row for row in verdict_rows(made) if row.headline and row.comparison == "control")
    assert (against.first, against.second) == ("adamw", "positional")
    size = f"{against.difference:.2f} ({against.low:.2f} to {against.high:.2f})"
    assert control.startswith(
        f"Against the best control, k-mers with place ({against.second_mean:.3f}), it is ahead by {size};"
    )
    assert re.search(
        r"; without fine-tuning the base model scores 0\.\d{3}; a perfect classifier would reach 0\.\d{3}\.$", control
    )


def test_a_control_that_is_better_is_said_in_the_first_line(tmp_path):
    made = runs(Results(tmp_path, items=2000), 3, adamw=1.0, sgd=0.4)
    made.add_baseline("onehot", 2.5)
    first, _, control = lines_of(made)
    assert first.startswith("adamw learnt the task best, but the best control, base at each place, scores higher: MCC")
    assert re.match(r"Against the best control, base at each place \(0\.\d+\), it is behind by 0\.\d+ \(", control)


def test_a_control_within_chance_is_said_not_to_be_beaten(tmp_path):
    made = runs(Results(tmp_path, items=300), 3, adamw=1.0, sgd=0.1)
    made.add_baseline("kmers", 1.0)
    first, _, control = lines_of(made)
    assert "but it is not shown to beat the best control" in first
    assert "may be chance; 0." in control and control.endswith("would have shown.")


def test_few_items_of_a_class_are_said_to_be_the_reason(tmp_path):
    made = runs(Results(tmp_path, rare={"prom_core_all": 12}), 3, adamw=3.0, sgd=0.1)
    made.add_baseline("kmers", 0.5)
    first, rivals, control = lines_of(made)
    assert "is not shown to be better than sgd" in first
    why = "too few test items are of the rarest class"
    assert re.fullmatch(rf"Its difference to sgd \(about [^)]*\([^)]*\)\) is not tested: {why}\.", rivals)
    assert "its difference of about " in control and f"is not tested, because {why}" in control


def test_a_lead_that_may_be_chance_is_no_victory(tmp_path):
    made = runs(Results(tmp_path), 3, adamw=1.0, sgd=1.0)
    first, rivals, control = lines_of(made)
    leader, other = ("adamw", "sgd") if first.startswith("adamw") else ("sgd", "adamw")
    assert first.startswith(f"{leader} scores highest, but is not shown to be better than {other}: MCC")
    (pair,) = pairs_of(made)
    assert re.match(rf"Its lead over {other} \(\S+ \(\S+ to \S+\)\) may be chance; a lead of \S+ would have", rivals)
    assert formatting.amount(pair.detectable) in rivals
    assert control.startswith("No control was scored, so it is not known whether a simple classifier does as well")


def test_two_seeds_say_what_two_seeds_can_say(tmp_path):
    made = runs(Results(tmp_path), 2, adamw=1.5, sgd=0.3)
    first, rivals, _ = lines_of(made)
    assert first.startswith("adamw scores highest, but two seeds cannot show that it is better: MCC 0.")
    assert re.match(
        r"It scores 0\.\d\d above sgd \(with both seeds; these models differ\); two seeds give no interval, three",
        rivals,
    )
    alone = runs(Results(tmp_path / "alone"), 1, adamw=1.5, sgd=1.49)
    assert "one seed cannot show that it is better" in lines_of(alone)[0]
    assert "these models may be equally good); one seed gives no interval" in lines_of(alone)[1]


def test_identical_and_equivalent_optimizers_share_the_first_place(tmp_path):
    made = runs(Results(tmp_path), 3, adamw=1.0)
    for seed in range(3):
        made.add_run("copy", seed)
        for name in ("predictions.tsv", "metrics.json"):
            (made.evaluations[-1] / name).write_bytes((made.evaluations[seed] / name).read_bytes())
    first, rivals, _ = lines_of(made)
    assert first.startswith("adamw and copy both did best, and alike: MCC")
    assert rivals == "adamw and copy are identical: every prediction is the same."
    evidence = evidence_of(made)
    row = dataclasses.replace(evidence.pairs(evidence.groups, "mcc")[0], verdict="equivalent", low=-0.004, high=0.003)
    lines = texts(answer.content(dataclasses.replace(evidence, tests=[row]))["blocks"][0]["lines"])
    assert lines[1] == "adamw and copy are equivalent: they differ by less than 0.01."
    leader = lines[0].split()[0]
    row = dataclasses.replace(row, verdict="worse" if row.first == leader else "better")
    lines = texts(answer.content(dataclasses.replace(evidence, tests=[row]))["blocks"][0]["lines"])
    assert "is not shown to be better than copy" in lines[0]
    assert lines[1] == "On the seeds that both completed it is behind copy."


def test_what_did_not_learn_is_named_as_what_it_is(tmp_path):
    made = Results(tmp_path)
    for seed in range(5):
        made.add_run("adamw", seed, skill=1.5)
        made.add_run("sgd", seed, skill=1.5, constant=True, steps=40)
        made.add_run("rk4", seed, skill=0.9, constant=seed in (1, 3))
        made.add_run("rkc", seed, diverged_at=7)
    told = lines_of(made)[-1]
    assert "sgd gives one answer to every item after 40 gradients: train longer or search other rates" in told
    assert "rk4 gives one answer to every item in 2 of 5 runs." in told
    assert "rkc diverged in every run: lower the rate." in told


def test_where_nothing_learnt_nobody_is_best(tmp_path):
    made = Results(tmp_path)
    for seed in range(3):
        made.add_run("adamw", seed, skill=1.5, constant=True)
        made.add_run("sgd", seed, skill=1.5, constant=True)
    first, rivals, *_, told = lines_of(made)
    assert first.startswith("No optimizer learnt the task.")
    assert rivals.startswith("No difference to") and "all give one answer" in rivals
    assert "adamw and sgd give one answer to every item after 60 gradients" in told


def test_over_several_tasks_there_is_one_line_and_a_block_each(tmp_path):
    other = {**PROMOTERS, "name": "prom_core_tata"}
    made = Results(tmp_path, (PROMOTERS, other))
    for task in made.tasks:
        for seed in range(3):
            made.add_run("adamw", seed, task=task, skill=2.0)
            made.add_run("sgd", seed, task=task, skill=0.4)
    found = answer.content(evidence_of(made))
    assert [block["title"] for block in found["blocks"]] == list(made.tasks)
    (line,) = texts(found["overall"])
    assert re.match(r"Over two tasks, adamw is best: mean 0\.\d+\. It is ahead of sgd by 0\.\d\d \(", line)


def test_tasks_of_different_metrics_are_counted(tmp_path):
    made = Results(tmp_path, (PROMOTERS, SPLICE), items=200)
    for task in made.tasks:
        made.add_run("adamw", task=task, skill=2.0)
        made.add_run("sgd", task=task, skill=0.2)
    found = answer.content(evidence_of(made))
    assert texts(found["overall"]) == ["adamw scores highest on every task."]
    assert len(found["metrics"]) == 2


def test_cautions_are_one_list_and_three_are_shown(tmp_path):
    made = runs(Results(tmp_path, simulated=True), 2, adamw=1.0)
    made.add_run("sgd", 0, diverged_at=9)
    found = answer.content(evidence_of(made))
    assert found["brief"] == [cautions.first_sentence(one) for one in found["cautions"][:3]]
    assert found["more"] == len(found["cautions"]) - 3 > 0
    assert found["brief"][0] == "sgd diverged on prom_core_all with 1 of 1 seed, which no mean counts"
    assert found["cautions"][-1].startswith("The data are simulated and say nothing about real genomes.")


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([0.6, 0.4, 0.5], "Learning rates were searched for alike, in three trials each."),
        ([0.4, 0.5, 0.6], "The best rate of adamw is the last tried. A better one may lie beyond."),
        ([None, None, None], "Every trial of adamw diverged. Lower rates were not tried."),
    ],
)
def test_how_the_rates_were_found_is_said(tmp_path, losses, said):
    made = runs(Results(tmp_path), 1, adamw=1.0)
    assert said in cautions.all_cautions(evidence_of(made, choices=[searched("adamw", losses)]))
    assert cautions.all_cautions(evidence_of(made))[0].startswith("Learning rates were given, not searched for.")


def test_amounts_have_two_digits_and_small_ones_three():
    assert formatting.amount(0.214, 0.17, 0.249) == "0.21 (0.17 to 0.25)"
    assert formatting.amount(0.0123, -0.02, 0.04) == "0.012 (\N{MINUS SIGN}0.020 to 0.040)"
    assert [formatting.in_word(number) for number in (3, 30)] == ["three", "30"]
