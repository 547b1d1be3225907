"""What the files of an experiment say of its runs."""

import io
import json

import pytest
from rich.console import Console

from configurations import DEMO, changed
from dnatune import outcomes
from dnatune.errors import DataError, Interrupted
from dnatune.files import write_json, write_json_lines
from dnatune.launch import run_lock
from dnatune.progress import display
from dnatune.progress.runs import as_json, progress_of
from dnatune.settings import experiment
from synthetic_results import Results

RUN = "tiny/prom_core_all/adamw/seed0"


@pytest.fixture
def results(tmp_path):
    """The demo's folder of results: base model and data are there, and nothing else."""
    made = Results(tmp_path / "results" / "demo")
    made.add_origin("models", "tiny", "tiny", "dnatune.model.sources.make_tiny")
    write_json_lines(made.root / "prepare/prom_core_all/train.jsonl", [])
    return made


def found(folder, configuration=DEMO):
    return progress_of(experiment.resolve(configuration), folder)


def one(folder, place=RUN, configuration=DEMO):
    progress = found(folder, configuration)
    return next(run for run in [*progress.runs, *progress.trials] if run.place == place)


def log_steps(results, place=RUN, steps=3, stage="finetune"):
    """Write the step log of a run under way: two gradients a second, and a last line that was cut in two."""
    path = results.root / stage / place / "checkpoints/0123456789abcdef/training.jsonl"
    rows = [
        {"step": step, "gradient_evaluations": 4 * step, "loss": 1 / step, "seconds": 2.0 * step}
        for step in range(1, steps + 1)
    ]
    write_json_lines(path, rows)
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"step": 4, "gradient_ev')


def leave(folder, failure, place=RUN, stage="finetune"):
    path = folder / "logs" / "demo" / stage / f"{place}.outcome.json"
    path.parent.mkdir(parents=True)
    outcomes.write(path, failure)


def test_before_anything_was_made_a_run_waits_for_model_and_data(tmp_path):
    run = one(tmp_path)
    assert (run.state, run.steps, run.note) == ("waiting", None, "model tiny and task prom_core_all")


def test_the_length_of_a_run_follows_from_the_prepared_rows(results, tmp_path):
    rows = sum(results._class_counts("prom_core_all").values())
    batch = DEMO["training"]["global_batch_size"]
    run = one(tmp_path)
    assert (run.state, run.steps, run.note) == ("waiting", -(-rows // batch), "")


def test_a_run_under_way_has_step_speed_and_time_left(results, tmp_path):
    log_steps(results)
    with run_lock.held(results.root / "finetune" / RUN / "checkpoints", patience=1):
        run = one(tmp_path, configuration=changed("budget", {"steps": 23}))
    assert (run.state, run.step, run.steps, run.loss) == ("training", 3, 23, pytest.approx(1 / 3))
    assert run.evaluations_per_second == 2.0
    assert run.seconds_left == 2.0 * 20
    assert run.writer.startswith("process ")


def test_a_run_whose_writer_has_ended_is_stopped(results, tmp_path):
    log_steps(results)
    dead = {**run_lock.this_process(), "started": "1"}
    write_json(results.root / "finetune" / RUN / "checkpoints/run.lock", dead)
    assert one(tmp_path).state == "stopped"


def test_an_interruption_is_no_failure_and_an_error_is_one(results, tmp_path):
    log_steps(results)
    leave(tmp_path, Interrupted("saved", step=3))
    progress = found(tmp_path)
    assert (progress.runs[0].state, progress.failures) == ("stopped", [])
    leave(tmp_path, DataError("row 7 has no label", where="train.csv", fix="give it one"), "a/b/c/seed0", "other")
    outcomes.write(tmp_path / "logs/demo/finetune" / f"{RUN}.outcome.json", DataError("disk full", fix="make room"))
    progress = found(tmp_path)
    assert (progress.runs[0].state, progress.runs[0].note) == ("failed", "disk full")
    assert [(one.log, one.what, one.fix) for one in progress.failures] == [
        (f"finetune/{RUN}", "disk full", "make room"),
        ("other/a/b/c/seed0", "row 7 has no label", "give it one"),
    ]


def test_ended_runs_are_scored_diverged_or_not_scored_yet(results, tmp_path):
    results.add_run("adamw", 0, skill=2.0)
    results.add_run("rk4", 0, diverged_at=12)
    results.add_run("rk4", 1)
    (results.root / "evaluate/tiny/prom_core_all/rk4/seed1/metrics.json").unlink()
    states = {run.place.split("/", 2)[2]: run for run in found(tmp_path).runs}
    assert states["adamw/seed0"].state == "scored"
    metrics = json.loads((results.root / "evaluate" / RUN / "metrics.json").read_text())
    assert states["adamw/seed0"].score == metrics["mcc"] > 0.5
    assert (states["rk4/seed0"].state, states["rk4/seed0"].step) == ("diverged", 12)
    assert (states["rk4/seed1"].state, states["rk4/seed1"].note) == ("trained", "not scored yet")
    assert states["adamw/seed1"].state == "waiting"


SEARCH = changed("tuning", {"trials": 2, "fine": 3, "rates": {name: [0.1, 0.2] for name in DEMO["optimizers"]}})
for entry in SEARCH["optimizers"].values():
    del entry["learning_rate"]


def test_a_run_waits_for_its_trials_and_those_of_the_second_step_for_the_first(results, tmp_path):
    trial = "tiny/prom_core_all/adamw/rate0.1"
    log_steps(results, trial, stage="tuning")
    progress = found(tmp_path, SEARCH)
    assert len(progress.trials) == 3 * (2 + 3 * 2)
    assert one(tmp_path, trial, SEARCH).state == "stopped"
    assert one(tmp_path, "tiny/prom_core_all/adamw/fine0/seed1001", SEARCH).note == "the first step of the search"
    assert progress.runs[0].note == "its learning rate: 0 of 8 trials are done"


def test_the_terminal_and_the_line_say_the_same_as_the_json(results, tmp_path):
    results.add_run("adamw", 0, skill=2.0)
    log_steps(results, "tiny/prom_core_all/rk4/seed0")
    leave(tmp_path, DataError("row 7 has no label", where="train.csv", fix="give it one"), "prom_core_all", "prepare")
    with run_lock.held(results.root / "finetune/tiny/prom_core_all/rk4/seed0/checkpoints", patience=1):
        progress = found(tmp_path)
    assert display.line(progress) == "demo: 6 runs: 4 waiting, 1 training, 1 scored; 1 failed stage"
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(display.tables(progress, every=True))
    shown = console.export_text()
    for words in (RUN, "3 of ", "prepare/prom_core_all", "row 7 has no label (train.csv)", "give it one"):
        assert words in shown
    told = json.loads(as_json(progress))
    assert [run["state"] for run in told["runs"]].count("waiting") == 4
    assert told["failures"][0]["where"] == "train.csv"
