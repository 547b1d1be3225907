"""How a model is asked must be known: it follows from the run, or from the base model's name."""

import pytest

from dnatune.commands import evaluate

FILES = ["--model", "m", "--test", "t", "--predictions", "p", "--metrics", "n", "--task", "prom_core_all"]
RUN = ["--record", "run.json", "--merged", "merged", "--agreement", "merge.json"]


@pytest.mark.parametrize("given", [[], ["--name", "tiny", *RUN]])
def test_a_model_without_the_form_of_its_prompts_is_refused(given, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["evaluate", "--experiment", "e.json", *FILES, *given])
    with pytest.raises(SystemExit) as end:
        evaluate.main()
    assert end.value.code == 2
    assert "either --record, of a run, or --name" in capsys.readouterr().err
