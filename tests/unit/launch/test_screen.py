"""What the terminal shows of failed jobs."""

import logging
import sys
import types
from pathlib import Path

import pytest

from dnatune import outcomes
from dnatune.errors import DataError
from dnatune.launch import screen


def event(name):
    return types.SimpleNamespace(name=name)


@pytest.fixture
def shown():
    """A logger that keeps what it prints, and what watches it."""
    logger, lines = logging.Logger("snakemake"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((getattr(record, "event", None), record.getMessage()))
    logger.addHandler(handler)
    return logger, screen.watch(logger), lines


def fail(logger, log, jobid=3, rule="prepare"):
    told = {
        "rule_name": rule,
        "jobid": jobid,
        "log": [str(log)],
        "shellcmd": "python -m dnatune prepare",
        "aux": {},
        "rule_msg": None,
    }
    logger.error("Error in rule", extra={"event": event("JOB_ERROR"), **told})


def test_a_failed_job_takes_three_lines(shown, tmp_path):
    logger, _, lines = shown
    logger.error("RuleException: …", extra={"event": event("ERROR"), "exception": "RuleException"})
    fail(logger, tmp_path / "a.log")
    logger.error("WorkflowError:\nAt least one job did not complete", extra={"event": event("ERROR"), "exception": "W"})
    ((kind, text),) = lines
    # Relative where it lies below the working directory, and run by the user's shell in any case.
    python = text.splitlines()[1].split()[1]
    assert Path(python).absolute() == Path(sys.executable)
    assert kind is None
    assert text.splitlines() == [
        "Error in rule prepare, jobid: 3",
        f"    command: {python} -m dnatune prepare",
        f"    log: {tmp_path}/a.log",
    ]


def test_a_failure_that_is_told_stands_there_too_for_the_job_may_be_tried_again(shown, tmp_path):
    logger, _, lines = shown
    outcomes.write(outcomes.beside(tmp_path / "a.log"), DataError("it is odd", where="train.csv, line 7"))
    fail(logger, tmp_path / "a.log")
    assert lines[0][1].splitlines()[-1] == "    reason: DataError: it is odd"


def test_the_message_is_found_where_snakemake_has_left_its_folder(shown, tmp_path, monkeypatch):
    logger, watcher, _ = shown
    monkeypatch.chdir(tmp_path)
    outcomes.write(outcomes.beside(tmp_path / "a.log"), DataError("it is odd"))
    fail(logger, "a.log")
    monkeypatch.chdir("/")
    assert watcher.messages() == ["rule prepare: DataError: it is odd"]


def test_other_errors_are_printed_as_they_are(shown):
    logger, _, lines = shown
    logger.error("WorkflowError:\nAt least one job did not complete", extra={"event": event("ERROR"), "exception": "W"})
    logger.error("MissingInputException", extra={"event": event("ERROR"), "exception": "MissingInputException"})
    logger.info("Finished", extra={"event": event("JOB_FINISHED"), "job_id": 5})
    assert [text.split(":")[0] for _, text in lines] == ["WorkflowError", "MissingInputException", "Finished"]


def test_the_message_of_each_failed_job_comes_last_and_equal_ones_once(shown, tmp_path):
    logger, watcher, _ = shown
    for number in range(3):
        log = tmp_path / f"{number}.log"
        outcomes.write(outcomes.beside(log), DataError("it is odd", where="train.csv, line 7", fix="correct it"))
        fail(logger, log, number)
    # One that went well at the second try.
    logger.info("Finished", extra={"event": event("JOB_FINISHED"), "job_id": 2})
    fail(logger, tmp_path / "killed.log", 9, "merge")
    told, silent = watcher.messages()
    assert watcher.messages(told_to_end=True) == [told]
    assert told.splitlines() == [
        "rule prepare and 1 more: DataError: it is odd",
        "  where: train.csv, line 7",
        "  to do: correct it",
    ]
    assert silent.startswith("rule merge: ") and silent.endswith("killed.log")


def test_paths_are_absolute_where_the_terminal_is_in_another_folder(tmp_path, monkeypatch):
    """That is so with --directory."""
    logger, lines = logging.Logger("snakemake"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    place = tmp_path / "my place"
    (place / "results").mkdir(parents=True)
    monkeypatch.chdir(place)
    watcher = screen.watch(logger, place)
    for jobid, where in enumerate(["results, line 3", "config key 'a'", "/etc, line 1"]):
        outcomes.write(place / f"{jobid}.outcome.json", DataError("odd", where=where))
        fail(logger, f"{jobid}.log", jobid)
    assert f"log: {place}/0.log" in lines[0] and f"command: cd '{place}' && " in lines[0]
    told = [message.splitlines()[1] for message in watcher.messages()]
    assert told == [f"  where: {place}/results, line 3", "  where: config key 'a'", "  where: /etc, line 1"]
