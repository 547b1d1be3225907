"""The benchmark times its tasks in turn and summarises the timings; the stage runs from end to end."""

import json
import os
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import pytest
import torch
import yaml

from dnatune import benchmark
from dnatune.benchmark import tables, timing
from dnatune.errors import ConfigurationError, DataError
from dnatune.launch.process_group import Rank
from dnatune.settings import experiment
from samples import ROOT
from small_benchmark import SMALL, configuration


def settings_of(**changes) -> dict:
    return experiment.resolve(configuration(**changes)).benchmark_settings()


def test_tasks_take_turns_and_each_is_told_as_it_ends(caplog):
    order = []
    tasks = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    with caplog.at_level("INFO"):
        assert timing.by_turns(tasks, 3, timing.Neighbours(0)) == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert order == list("ababab")
    assert caplog.messages[3] == "round 2 of 3: b: 4"


class Counted(timing.Neighbours):
    """Other processes that use the given numbers of cores, one number per observation of one second."""

    def __init__(self, patience, cores):
        super().__init__(patience)
        self.cores = iter(cores)

    def _observe(self, task):
        return task(), next(self.cores), 1.0


@pytest.mark.parametrize(
    ("patience", "cores", "times", "repeated"),
    [
        # Two observations of waiting, a disturbed timing, one of waiting, a disturbed timing, then a valid one.
        (100, [1.5, 0.5, 0.0, 0.8, 0.3, 0.0, 0.4, 0.0, 0.05], 3, 2),
        # Patience runs out while waiting, so a disturbed timing is kept.
        (2, [1.5, 1.5, 1.2], 1, 0),
        (0, [0.9], 1, 0),
        (100, [None, None], 1, 0),
    ],
)
def test_disturbed_timings_are_repeated_while_patience_lasts(monkeypatch, patience, cores, times, repeated):
    monkeypatch.setattr(timing.time, "sleep", lambda _: None)
    done = []
    neighbours = Counted(patience, cores)
    assert neighbours.undisturbed(lambda: done.append(1) or "result") == "result"
    assert (len(done), neighbours.repeated) == (times, repeated)
    assert next(neighbours.cores, "all used") == "all used"
    assert neighbours.seen == ([] if cores[-1] is None else [cores[-1]])


def test_own_work_and_waiting_are_no_neighbours(monkeypatch, tmp_path):
    counters = tmp_path / "stat"
    # user 900, nice 10, system 200, idle 5000, iowait 70, irq 3, softirq 4, steal 30, guest 800
    counters.write_text("cpu  900 10 200 5000 70 3 4 30 800 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n")
    monkeypatch.setattr(timing.Neighbours, "_COUNTERS", counters)
    own = SimpleNamespace(ru_utime=2.0, ru_stime=0.5)
    monkeypatch.setattr(timing.resource, "getrusage", lambda _: own)
    ticks = os.sysconf("SC_CLK_TCK")
    assert timing.Neighbours(0).busy() == pytest.approx((900 + 10 + 200 + 3 + 4 + 30) / ticks - 2.5)
    monkeypatch.setattr(timing.Neighbours, "_COUNTERS", tmp_path / "none")
    assert timing.Neighbours(0).busy() is None


def test_speedup_is_a_ratio_of_medians_and_its_range_is_that_of_rounds():
    seconds = {"slow": [8.0, 9.0, 20.0], "fast": [1.0, 3.0, 2.0]}
    assert timing.speedups(seconds, "fast") == {"slow": {"median": 4.5, "least": 3.0, "greatest": 10.0}}


def test_too_few_records_are_refused(tiny_model):
    from dnatune.data.prompts import EncodedExamples
    from dnatune.model.base_models import load_tokenizer

    few = EncodedExamples([5], [[6]] * 6, [0] * 6, [[7, 2], [8, 2]])
    with pytest.raises(DataError, match="6 records for 48 examples"):
        benchmark.Bench(settings_of(), Rank(0, 1, "cpu"), load_tokenizer(tiny_model), few, few)


def test_an_embedding_without_a_row_for_each_token_is_refused(tiny_model):
    from dnatune.data.prompts import EncodedExamples
    from dnatune.model.base_models import load_tokenizer

    enough = EncodedExamples([5], [[6]] * 48, [0] * 48, [[7, 2], [8, 2]])
    tokenizer = load_tokenizer(tiny_model)
    with pytest.raises(ConfigurationError, match="10 rows do not suffice for the 600 tokens"):
        benchmark.Bench(settings_of(vocabulary=10), Rank(0, 1, "cpu"), tokenizer, enough, enough)
    bench = benchmark.Bench(settings_of(vocabulary=700), Rank(0, 1, "cpu"), tokenizer, enough, enough)
    assert bench.base(torch.bfloat16, layers=1).get_output_embeddings().weight.shape == (700, 32)
    assert bench.dimensions().head == 700 * 32


def test_a_check_takes_as_many_layers_as_fit(tiny_model):
    from dnatune.data.prompts import EncodedExamples
    from dnatune.model.base_models import load_tokenizer

    enough = EncodedExamples([5], [[6]] * 48, [0] * 48, [[7, 2], [8, 2]])
    bench = benchmark.Bench(settings_of(layers=12), Rank(0, 1, "cpu"), load_tokenizer(tiny_model), enough, enough)
    tried = []

    def check(layers):
        tried.append(layers)
        if layers > 3:
            raise torch.OutOfMemoryError("no memory is left")
        return "checked"

    assert bench.with_layers_that_fit(check) == (3, "checked")
    assert tried == [12, 6, 3]


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(ConfigurationError) as refused:
        settings_of(hidden_size=34)
    assert refused.value.where == "config key 'benchmark.hidden_size'"


def run_stage(stage, folder, model, prepared):
    """Return the stage's output for a very small model: (benchmark.json, the tables, the figure)."""
    command = [sys.executable, "-m", "dnatune", "launch", "--ranks", "1", "--cpus", "1", stage]
    options = {
        "experiment": folder / "experiment.yaml",
        "tokenizer": model,
        "train": prepared / "train.jsonl",
        "test": prepared / "test.jsonl",
        "result": folder / "benchmark.json",
        "figure": folder / "speed.svg",
    }
    options["experiment"].write_text(yaml.safe_dump(configuration()), "utf-8")
    arguments = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
    # One thread: such small matrices gain nothing from a second thread, which only waits on a busy machine.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "benchmark.json").read_text()), done.stdout, (folder / "speed.svg").read_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model, prepared):
    return run_stage("benchmark", tmp_path_factory.mktemp("benchmark"), tiny_model, prepared)


@pytest.mark.slow
def test_on_a_gpu_others_have_the_largest_micro_batch_too(tmp_path, tiny_model, prepared):
    result, printed, _ = run_stage(str(ROOT / "tests/support/as_on_gpu.py"), tmp_path, tiny_model, prepared)
    rows = {name: row["micro_batch_size"] for name, row in result["training"]["recipes"].items()}
    assert rows == {"original": 2, "common practice": 48, "label-only logits": 48, "shared prefix": 48}
    assert "| common practice | 48 |" in printed
    assert result["scoring"]["common_practice_rows"] == 12
    divided = {name for name, row in result["training"]["recipes"].items() if row["part_over_whole"] is not None}
    assert divided == {"original"}


def test_the_result_says_what_was_measured_on_what(finished):
    result, _, _ = finished
    assert result["precision"] == "fp32" and result["machine"]["device"] == "cpu"
    assert result["machine"]["cores"] >= 1 and result["machine"]["cpu"] and result["matmul_peak"] > 1e8
    assert result["settings"]["benchmark"] == SMALL
    assert result["software"]["torch"]
    assert result["training"]["agreement"].keys() == result["training"]["recipes"].keys()
    for row in result["training"]["agreement"].values():
        assert row["gradient_error"] < 1e-4
    assert result["training"]["agreement_layers"] == result["scoring"]["score_errors_layers"] == SMALL["layers"]
    divided = {name for name, row in result["training"]["recipes"].items() if row["part_over_whole"] is not None}
    assert divided == {"original", "common practice", "label-only logits"}


def test_figures_follow_from_the_raw_timings(finished):
    result, _, _ = finished
    training = result["training"]
    steps = {}
    for name, row in training["recipes"].items():
        scale = 48 / row["later_rounds_examples"]
        rounds = [(row["first_round"], 1.0), *((times, scale) for times in row["later_rounds"])]
        steps[name] = [times["gradient"] * factor + times["optimizer"] for times, factor in rounds]
        assert row["step_seconds"]["median"] == pytest.approx(statistics.median(steps[name]))
    faster = statistics.median(steps["original"]) / statistics.median(steps["shared prefix"])
    assert training["speedup_step"]["original"]["median"] == pytest.approx(faster)
    shared = training["recipes"]["shared prefix"]
    assert shared["later_rounds_examples"] == 48
    work = shared["executed_flops"] / training["recipes"]["original"]["executed_flops"]
    assert work < 0.5
    use = shared["floor_flops"] / statistics.median(steps["shared prefix"]) / result["matmul_peak"]
    assert shared["model_flop_utilisation"] == pytest.approx(use)
    assert [row["examples"] for row in training["rows"]] == [48, 24, 12]
    assert [row["examples"] for row in result["scoring"]["rows"]] == [6]
    assert len(result["optimizer_steps"]["rk4_step_seconds"]) == 2


def test_tables_and_figure_show_every_recipe(finished):
    result, printed, figure = finished
    names = {*result["training"]["recipes"], *result["scoring"]["recipes"]}
    assert len(names) == 5
    text = "".join(ElementTree.fromstring(figure).itertext())  # noqa: S314
    for name in names:
        assert f"| {name} |" in printed
        assert name in text
    assert "An rk4 step costs" in printed
    # If recipes were timed on a part of the batch, the table says which.
    for examples, told in ((SMALL["slow_examples"], True), (SMALL["examples"], False)):
        row = {**result["training"]["recipes"]["original"], "later_rounds_examples": examples}
        others = {name: each for name, each in result["training"]["recipes"].items() if name == "shared prefix"}
        training = {**result["training"], "recipes": {"original": row, **others}}
        note = tables.partial_note(["original"], SMALL["slow_examples"])
        assert (note in tables.table({**result, "training": training})) is told
