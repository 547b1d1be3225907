"""The baseline on hidden states: against scikit-learn's own predictions, and states of one example at a time."""

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dnatune.data.prompts import encode_examples
from dnatune.errors import DataError
from dnatune.evaluation import frozen
from dnatune.evaluation.baselines import linear
from dnatune.model import base_models
from dnatune.model.hidden_states import mean_hidden_states
from samples import TASK, make_tiny_model, split_of


def features(generator, labels):
    """Features that tell the classes apart, one that does not vary, and one of another size."""
    states = generator.normal(size=(len(labels), 6)) + np.eye(6)[np.asarray(labels)]
    return (states * [1, 1, 1, 100, 1, 1] * [1, 1, 1, 1, 1, 0] + 3).astype(np.float32)


@pytest.mark.parametrize("kinds", [[0, 1], [0, 2], [0, 1, 2]])
def test_the_stored_probe_answers_as_scikit_learn(tmp_path, kinds):
    generator = np.random.default_rng(0)
    labels, dev_labels = (generator.choice(kinds, count).tolist() for count in (200, 100))
    train, dev, test = (features(generator, part) for part in (labels, dev_labels, dev_labels))
    frozen.fit(train, labels, dev, dev_labels, 3).write(tmp_path / "probe.npz")
    found = np.exp(frozen.Probe.read(tmp_path / "probe.npz").log_probabilities(test))
    scaler = StandardScaler().fit(train)
    model = linear.fit(scaler.transform(train), labels, scaler.transform(dev), dev_labels)
    # Scaling in single precision moves the optimum by less than the solver's tolerance.
    assert found[:, kinds] == pytest.approx(make_pipeline(scaler, model).predict_proba(test), abs=2e-3)
    assert found.sum(axis=1) == pytest.approx(np.ones(100))
    assert (found.argmax(axis=1) == dev_labels).mean() > 0.5


def test_one_class_is_answered_always():
    states = features(np.random.default_rng(0), [1] * 5)
    found = np.exp(frozen.fit(states, [1] * 5, states, [1] * 5, 2).log_probabilities(states))
    assert found == pytest.approx(np.array([[0, 1]] * 5), abs=1e-11)


def test_a_damaged_probe_is_told(tmp_path):
    (tmp_path / "probe.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="not a probe"):
        frozen.Probe.read(tmp_path / "probe.npz")


def test_states_are_those_of_each_example_alone(tmp_path):
    generator = np.random.default_rng(0)
    rows = [("".join(generator.choice(list("ACGT"), length)), 0) for length in (70, 30, 51, 70, 12)]
    folder = make_tiny_model(tmp_path / "tiny", rows * 20)
    tokenizer = base_models.load_tokenizer(folder)
    model = base_models.load_model(folder, tokenizer, torch.float32).eval()
    examples = encode_examples(tokenizer, split_of(rows), TASK.labels, 512, "rows")
    found = mean_hidden_states(model, examples, 3)
    for number, states in enumerate(found):
        ids = torch.tensor([examples.prompt(number)])
        with torch.no_grad():
            whole = model(ids, output_hidden_states=True).hidden_states[-1][0]
        # Padding changes the order of sums alone.
        assert states == pytest.approx(whole[len(examples.prefix) :].mean(dim=0).numpy(), abs=1e-5)
    assert len(found) == 5 and len(mean_hidden_states(model, examples.subset([]), 3)) == 0
