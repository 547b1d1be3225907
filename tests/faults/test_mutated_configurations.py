"""Spoilt configurations are refused with the key and the remedy, or understood whole. docs/what-is-accepted.md."""

import random
import re

import pytest
import yaml

import mutations
from dnatune.errors import DnatuneError
from dnatune.settings import command_line, experiment
from workflow_runs import ROOT, Workplace

#: Letters that a message may have at most, with its lines `where` and `to do`.
_LONGEST = 2500


def refused(act):
    """Return whether a call ends in one of our errors, which must name place and remedy; any other error is raised."""
    try:
        act()
    except DnatuneError as error:
        if not (error.where and error.fix and len(str(error)) <= _LONGEST):
            raise AssertionError(f"no good message: {str(error)[:300]}") from None
        return True
    return False


@pytest.fixture
def understood(tmp_path, monkeypatch):
    """A function that takes a configuration as a stage does: every run of it, written down and read again."""
    monkeypatch.chdir(tmp_path)

    def understand(config):
        found = experiment.resolve(config)
        assert found.write(tmp_path / "experiment.json")
        assert experiment.read(tmp_path / "experiment.json").settings == found.settings
        for name in found.optimizers if found.tuned else ():
            assert found.trials.places(name) and all(one.factor > 0 for one in found.trials.fine_rates(name))
        for run in found.runs()[:8]:
            assert max(map(len, run.path.split("/"))) <= 120 and run.path.isprintable()
            found.settings_of_run(run.path).compared()
            found.evaluate_settings(run.task).compared()

    yield understand
    assert {path.name for path in tmp_path.iterdir()} <= {"experiment.json", "config.yaml"}


def check(count, understood, tmp_path):
    written = tmp_path / "experiment.json"
    accepted = 0
    for number, (said, config) in enumerate(mutations.configurations(1, count)):
        given = config
        try:
            # Every third comes from the command line, where numbers are text.
            if number % 3 == 0 and refused(lambda given=given: command_line.read_scalars(given, given)):
                continue
            config = command_line.read_scalars(given, given) if number % 3 == 0 else given
            was_refused = refused(lambda config=config: understood(config))
        except Exception as error:
            raise AssertionError(f"{number}: {said}: {type(error).__name__}: {error}"[:500]) from None
        assert written.exists() != was_refused, said
        written.unlink(missing_ok=True)
        accepted += not was_refused
    return accepted


def test_no_spoilt_configuration_ends_in_a_traceback(understood, tmp_path):
    assert 0 < check(500, understood, tmp_path) < 100


@pytest.mark.fault("a spoilt configuration")
@pytest.mark.slow
def test_no_spoilt_configuration_of_5000_ends_in_a_traceback(understood, tmp_path, record_property):
    record_property("cases", 5000)
    assert 0 < check(5000, understood, tmp_path) < 1000


def spoilt_text(text, dice):
    """A file with letters replaced, lines repeated, moved or cut, and what YAML gives a meaning put in."""
    lines = text.split("\n")
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(lines))
        piece = dice.choice(
            ["&a ", "*a", "!!set ", "<<: *a", "\t", "- ", "? ", "|\n", "{", "]", "\x00", "'", "%", "\x85"]
        )
        match dice.randrange(5):
            case 0:
                lines.insert(place, lines[place])
            case 1:
                lines[place] = lines[place][: dice.randint(0, len(lines[place]))]
            case 2:
                lines.insert(dice.randrange(len(lines)), lines.pop(place))
            case 3:
                column = dice.randint(0, len(lines[place]))
                lines[place] = lines[place][:column] + piece + lines[place][column:]
            case 4:
                lines[place] = lines[place].replace(":", ": " + piece, 1)
    return "\n".join(lines)


@pytest.mark.fault("a spoilt configuration")
def test_no_spoilt_file_ends_in_a_traceback(tmp_path, record_property):
    record_property("cases", 300)
    texts = [(ROOT / "config" / name).read_text("utf-8") for name in ("demo.yaml", "config.yaml", "comparison.yaml")]
    path, found = tmp_path / "config.yaml", 0
    for number in range(300):
        dice = random.Random(number)
        path.write_text(spoilt_text(dice.choice(texts), dice), "utf-8", newline="")
        found += refused(lambda: experiment.read(path))
    assert 100 < found < 300


@pytest.mark.fault("a spoilt configuration")
@pytest.mark.slow
def test_snakemake_refuses_spoilt_configurations_in_one_message(tmp_path, monkeypatch, record_property):
    """200 dry runs: what `resolve` refuses is refused with the same message, and what it takes can be planned."""
    workplace, outcomes = Workplace(tmp_path), {True: 0, False: 0}
    for name in ("seen.txt", "regions.bed", "genome.fa"):
        (tmp_path / name).touch()
    (tmp_path / "tokenizer").mkdir()
    monkeypatch.chdir(tmp_path)
    # Half of the dry runs are of accepted ones, which are a twentieth of all.
    wanted = {True: 100, False: 100}
    record_property("cases", sum(wanted.values()))
    for said, config in mutations.configurations(2, 10_000):
        try:
            text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            read = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError, TypeError):
            continue
        was_refused = refused(lambda read=read: experiment.resolve(read).require_files())
        if outcomes[was_refused] == wanted[was_refused]:
            continue
        outcomes[was_refused] += 1
        done = workplace.snakemake(read, "--dry-run", "--quiet", "rules")
        assert "Traceback" not in done.output, f"{said}\n{done.output[-2000:]}"
        messages = re.findall(r"^\w+Error: |\b(?:Configuration|Data)Error: ", done.output, re.MULTILINE)
        assert (done.code != 0) == was_refused, f"{said}\n{done.output[-2000:]}"
        assert bool(messages) == was_refused, f"{said}\n{done.output[-2000:]}"
        assert not (tmp_path / "results").exists() and not (tmp_path / "logs").exists()
        if outcomes == wanted:
            break
    assert outcomes == wanted
