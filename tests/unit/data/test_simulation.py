"""The simulator against oracles that share no code with it: enumeration, marginals, identities of ratios."""

import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef

from dnatune.data import simulation as simulator
from dnatune.data.simulation import MOTIFS, SimulationSettings, bayes_posterior, log_likelihood_ratio, simulate
from dnatune.errors import ConfigurationError, DataError

#: Places, frequencies and jitters that differ from the defaults and from each other.
SKEWED = {
    "length": 80,
    "tss_column": 38,
    "promoter_fraction": 0.3,
    "promoter_gc": 0.61,
    "background_gc": 0.42,
    "tata_probability": 0.4,
    "inr_probability": 0.7,
    "dpe_probability": 0.6,
    "tata_jitter": 3,
    "inr_jitter": 0,
    "dpe_jitter": 2,
    "seed": 11,
}

SPLITS = ("train", "dev", "test")


def base_probability(base: str, gc: float) -> float:
    return gc / 2 if base in "GC" else (1 - gc) / 2


def motif_probability(motif: simulator.Motif, column: int, base: str) -> float:
    """A quarter of a site added to each of the four counts."""
    counts = motif.counts[column]
    return (counts["ACGT".index(base)] + 0.25) / (sum(counts) + 1)


def enumerate_placements(settings: SimulationSettings):
    """Yield (probability, {motif: start}) of every way to have or not have, and to place, the elements."""
    ways = []
    for motif in MOTIFS:
        present = getattr(settings, f"{motif.name}_probability")
        jitter = getattr(settings, f"{motif.name}_jitter")
        shifts = range(-jitter, jitter + 1)
        ways.append([(1 - present, None)] + [(present / len(shifts), shift) for shift in shifts])
    offsets = (-31, -2, 25)
    for way in itertools.product(*ways):
        starts = {}
        for motif, offset, (_, shift) in zip(MOTIFS, offsets, way, strict=True):
            if shift is not None:
                starts[motif.name] = settings.tss_column + offset + shift
        yield math.prod(weight for weight, _ in way), starts


def enumerated_ratio(sequence: str, settings: SimulationSettings) -> float:
    by_name = {motif.name: motif for motif in MOTIFS}
    promoter = 0.0
    for weight, starts in enumerate_placements(settings):
        probabilities = [base_probability(base, settings.promoter_gc) for base in sequence]
        for name, start in starts.items():
            for column in range(len(by_name[name].counts)):
                probabilities[start + column] = motif_probability(by_name[name], column, sequence[start + column])
        promoter += weight * math.prod(probabilities)
    background = math.prod(base_probability(base, settings.background_gc) for base in sequence)
    return math.log(promoter) - math.log(background)


def mcc(labels, predicted) -> float:
    return float(matthews_corrcoef(labels, predicted))


# --- the matrices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sites", "consensus", "anchor"),
    [
        # Most frequent base of each column of JASPAR MA0108.2, POL002.1 and POL005.1, and where its
        # textbook core stands: first T of TATA at −30, A of the initiator at +1, DPE (RGWYV) at +28.
        ("tata", 389, "GTATAAAAGGCGGGG", ("TATA", -30)),
        ("inr", 303, "TCAGTCTT", ("A", 1)),
        ("dpe", 82, "GAAGATGTT", ("AGATG", 28)),
    ],
)
def test_matrices_have_the_published_sites_consensus_and_place(name, sites, consensus, anchor):
    motif = next(motif for motif in MOTIFS if motif.name == name)
    # Every column counts the same sites: JASPAR's POL012.1, with a slip in one cell, does not.
    assert {sum(column) for column in motif.counts} == {sites}
    assert "".join("ACGT"[np.argmax(column)] for column in motif.counts) == consensus
    core, position = anchor
    column = motif.offset + consensus.index(core)
    assert (column if column < 0 else column + 1) == position


# --- the likelihood -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        SimulationSettings(train_size=1, dev_size=1, test_size=12),
        SimulationSettings(**SKEWED, train_size=1, dev_size=1, test_size=12),
        SimulationSettings(train_size=1, dev_size=1, test_size=8, tata_probability=1, inr_probability=0),
    ],
    ids=["defaults", "skewed", "always and never"],
)
def test_ratio_equals_enumeration(settings):
    examples = simulate(settings)["test"]
    assert {label for _, label in examples} == {0, 1}
    sequences = [sequence for sequence, _ in examples]
    # 70 logarithms of relative error 1e-16 each, of sums of positive terms: 1e-9 leaves orders to spare.
    np.testing.assert_allclose(
        log_likelihood_ratio(sequences, settings),
        [enumerated_ratio(sequence, settings) for sequence in sequences],
        rtol=0,
        atol=1e-9,
    )


def test_ratio_of_nothing_is_empty():
    assert log_likelihood_ratio([], SimulationSettings()).shape == (0,)
    assert bayes_posterior([], SimulationSettings()).shape == (0, 2)


def test_ratios_average_to_one_over_the_other_class():
    """E₀[p₁/p₀] = E₁[p₀/p₁] = 1; rare elements keep the first one's variance finite in practice."""
    settings = SimulationSettings(
        train_size=1,
        dev_size=1,
        test_size=40000,
        tata_probability=0.01,
        inr_probability=0.2,
        dpe_probability=0.4,
        promoter_gc=0.5,
        background_gc=0.48,
    )
    sequences, labels = zip(*simulate(settings)["test"], strict=True)
    ratio, labels = log_likelihood_ratio(sequences, settings), np.array(labels)
    for weights in (np.exp(ratio[labels == 0]), np.exp(-ratio[labels == 1])):
        error = weights.std() / math.sqrt(len(weights))
        assert error < 0.03
        assert abs(weights.mean() - 1) < 4 * error


def test_posterior_is_calibrated_and_uses_the_prior():
    settings = SimulationSettings(**SKEWED, train_size=1, dev_size=1, test_size=20000)
    sequences, labels = zip(*simulate(settings)["test"], strict=True)
    posterior, labels = bayes_posterior(sequences, settings), np.array(labels)
    np.testing.assert_allclose(posterior.sum(axis=1), 1, atol=1e-12)
    for rows in np.array_split(np.argsort(posterior[:, 1]), 20):
        expected = posterior[rows, 1]
        deviation = math.sqrt((expected * (1 - expected)).sum())
        # Twenty groups: 4 standard deviations, and one item for the nearly certain, are a chance of 1e-3.
        assert abs(labels[rows].sum() - expected.sum()) < 4 * deviation + 1


def test_posterior_keeps_its_digits_in_the_tails():
    settings = SimulationSettings(promoter_gc=0.9, background_gc=0.1)
    sequences = ["A" * 70, "G" * 70]
    posterior = bayes_posterior(sequences, settings)
    # 1 − p would have made a plain 0 of such a probability.
    assert (posterior.min(axis=1) > 0).all()
    assert (posterior.min(axis=1) < 1e-40).all()
    ratio = log_likelihood_ratio(sequences, settings)
    np.testing.assert_allclose(np.log(posterior[:, 1]) - np.log(posterior[:, 0]), ratio, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("sequences", "words"),
    [
        (["A" * 70, "A" * 69], ["sequence 1", "69 bp", "70 bp"]),
        (["A" * 70, "A" * 30 + "N" + "A" * 39], ["sequence 1", "column 30", "'N'"]),
        (["a" + "A" * 69], ["sequence 0", "column 0", "'a'", "upper case"]),
        (["A" * 69 + "é"], ["column 69", "'é'"]),
    ],
)
def test_ratio_refuses_other_sequences(sequences, words):
    with pytest.raises(DataError) as caught:
        log_likelihood_ratio(sequences, SimulationSettings())
    assert all(word in str(caught.value) for word in words)


# --- the draws ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [{}, SKEWED], ids=["defaults", "skewed"])
def test_base_frequencies_equal_the_marginals(overrides):
    """Each column's base frequencies are the mixture over presence and placement, class by class."""
    settings = SimulationSettings(**overrides, train_size=20000, dev_size=1, test_size=1)
    sequences, labels = zip(*simulate(settings)["train"], strict=True)
    labels = np.array(labels)
    bases = np.frombuffer("".join(sequences).encode(), dtype="S1").reshape(len(sequences), settings.length)

    expected = np.zeros((2, settings.length, 4))
    expected[0] = [base_probability(base, settings.background_gc) for base in "ACGT"]
    by_name = {motif.name: motif for motif in MOTIFS}
    plain = [base_probability(base, settings.promoter_gc) for base in "ACGT"]
    for weight, starts in enumerate_placements(settings):
        columns = np.tile(plain, (settings.length, 1))
        for name, start in starts.items():
            for column in range(len(by_name[name].counts)):
                columns[start + column] = [motif_probability(by_name[name], column, base) for base in "ACGT"]
        expected[1] += weight * columns

    # 2 × 70 × 4 binomial counts: a largest |z| beyond 5 has a chance of 3e-4.
    for label in (0, 1):
        rows = bases[labels == label]
        observed = np.stack([(rows == base.encode()).mean(axis=0) for base in "ACGT"], axis=1)
        deviation = np.sqrt(expected[label] * (1 - expected[label]) / len(rows))
        assert (np.abs(observed - expected[label]) / deviation).max() < 5
    deviation = math.sqrt(settings.promoter_fraction * (1 - settings.promoter_fraction) / len(labels))
    assert abs(labels.mean() - settings.promoter_fraction) < 4 * deviation


def test_seed_decides_everything():
    small = {"train_size": 50, "dev_size": 20, "test_size": 30}
    first = simulate(SimulationSettings(**small))
    assert first == simulate(SimulationSettings(**small))
    other = simulate(SimulationSettings(**small, seed=1))
    assert all(not {s for s, _ in first[split]} & {s for s, _ in other[split]} for split in first)
    assert {split: len(rows) for split, rows in first.items()} == {"train": 50, "dev": 20, "test": 30}


def test_draws_do_not_change_between_processes():
    """String hashing differs from process to process; sets of sequences must not leak its order."""
    code = (
        "from dnatune.data.simulation import *;"
        "print(simulate(SimulationSettings(train_size=40, dev_size=20, test_size=20)))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_splits_grow_by_appending():
    # Sizes on both sides of a block of draws.
    small = simulate(SimulationSettings(train_size=100, dev_size=30, test_size=40))
    large = simulate(SimulationSettings(train_size=3000, dev_size=30, test_size=40))
    assert large["test"] == small["test"]
    assert large["dev"] == small["dev"]
    assert large["train"][:100] == small["train"]
    more = simulate(SimulationSettings(train_size=1, dev_size=500, test_size=1500))
    assert more["test"][:40] == small["test"]
    assert more["dev"][:30] == small["dev"]


def test_no_sequence_occurs_twice(monkeypatch):
    """At 70 bp a repeat never comes by chance, so the draws are cut to 4 bases, 256 sequences."""
    draw_block = simulator._draw_block
    monkeypatch.setattr(
        simulator,
        "_draw_block",
        lambda *arguments: [(sequence[:4], label) for sequence, label in draw_block(*arguments)],
    )
    splits = simulate(SimulationSettings(train_size=90, dev_size=50, test_size=60))
    sequences = [sequence for rows in splits.values() for sequence, _ in rows]
    assert len(sequences) == len(set(sequences)) == 200


# --- what classifiers reach with the defaults ---------------------------------------------------------------


@pytest.fixture(scope="module")
def ceiling():
    """Default data with a test split large enough for MCC to ± 0.01 and, of it, the Bayes rule's MCC."""
    settings = SimulationSettings(train_size=8000, dev_size=1, test_size=10000)
    splits = simulate(settings)
    train, test = (tuple(zip(*splits[split], strict=True)) for split in ("train", "test"))
    return train, test, mcc(test[1], bayes_posterior(test[0], settings).argmax(axis=1))


def test_bayes_rule_leaves_room(ceiling):
    assert 0.75 < ceiling[2] < 0.85


def test_gc_content_is_weak(ceiling):
    (train, labels), (test, truth), bayes = ceiling

    def gc(sequences):
        # Per cent, so that the penalty of the regression hardly matters.
        return [[100 * (s.count("G") + s.count("C")) / len(s)] for s in sequences]

    reached = mcc(truth, LogisticRegression().fit(gc(train), labels).predict(gc(test)))
    assert 0.1 * bayes < reached <= 0.45 * bayes


def test_k_mers_learn_much_and_stay_below_bayes(ceiling):
    (train, labels), (test, truth), bayes = ceiling
    counter = CountVectorizer(analyzer="char", ngram_range=(1, 5), lowercase=False)
    features = counter.fit_transform(train).astype(float)
    model = LogisticRegression(C=0.003, max_iter=200).fit(features, labels)
    reached = mcc(truth, model.predict(counter.transform(test)))
    # 0.01 is the standard error of an MCC of .8 on 10,000 items; the two are compared on the same items.
    assert 0.6 * bayes < reached < bayes - 0.05


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[(f"{split}_size", value) for split in SPLITS for value in (0, -5, 1.5, "10", True)],
        ("seed", -1),
        ("seed", 0.5),
        ("length", 67),
        ("length", "70"),
        ("length", -70),
        ("tss_column", 32),
        ("tss_column", 3.0),
        *[
            (key, value)
            for key in ("promoter_fraction", "promoter_gc", "background_gc")
            for value in (0, 1, -0.1, 1.1, float("nan"), "0.5", False)
        ],
        *[
            (f"{name}_probability", value)
            for name in ("tata", "inr", "dpe")
            for value in (-0.01, 1.01, float("nan"), float("inf"), "1", True)
        ],
        *[(f"{name}_jitter", value) for name in ("tata", "inr", "dpe") for value in (-1, 0.5, "1", True)],
    ],
)
def test_bad_values_are_refused_by_key(key, value):
    with pytest.raises(ConfigurationError) as caught:
        SimulationSettings.read({key: value}, prefix="data.simulated")
    assert caught.value.where == f"config key 'data.simulated.{key}'"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("values", "key"),
    [
        # TATA ends 14 bases after −31 and the initiator begins at −2: 14 bp apart, and one more touches.
        ({"tata_jitter": 14, "inr_jitter": 1, "tss_column": 60, "length": 200}, "tata_jitter"),
        ({"inr_jitter": 15, "tata_jitter": 0, "dpe_jitter": 0}, "inr_jitter"),
        # The initiator ends at +6 and the DPE begins at +26: 19 bp between them.
        ({"dpe_jitter": 20, "inr_jitter": 0, "length": 200}, "dpe_jitter"),
        # The DPE ends at +34, column 66 where +1 is column 33, and goes as far beyond as its jitter.
        ({"dpe_jitter": 4}, "length"),
        ({"tss_column": 36}, "length"),
        ({"tata_jitter": 3}, "tss_column"),
    ],
)
def test_elements_that_do_not_fit_are_refused(values, key):
    with pytest.raises(ConfigurationError) as caught:
        SimulationSettings.read(values, prefix="data.simulated")
    assert caught.value.where == f"config key 'data.simulated.{key}'"


@pytest.mark.parametrize(
    "values",
    [
        {"length": 68},
        {"tss_column": 35},
        {"dpe_jitter": 3},
        {"tata_jitter": 3, "tss_column": 34},
        {"tata_jitter": 13, "inr_jitter": 1, "tss_column": 60, "length": 200},
        {"inr_jitter": 14, "tata_jitter": 0, "dpe_jitter": 0},
        {"dpe_jitter": 19, "inr_jitter": 0, "length": 200},
        {"tata_probability": 0, "inr_probability": 1, "dpe_probability": 0.0},
        {"train_size": 1, "dev_size": 1, "test_size": 1},
        {},
    ],
)
def test_values_at_the_edge_are_accepted(values):
    settings = SimulationSettings.read(values, prefix="data.simulated")
    assert all(getattr(settings, key) == value for key, value in values.items())
    sequences = [sequence for sequence, _ in simulate(settings)["dev"]]
    assert {len(sequence) for sequence in sequences} == {settings.length}
    assert np.isfinite(log_likelihood_ratio(sequences, settings)).all()


def test_unknown_keys_are_refused_with_the_nearest():
    with pytest.raises(ConfigurationError) as caught:
        SimulationSettings.read({"train_sise": 10}, prefix="data.simulated")
    assert caught.value.where == "config key 'data.simulated.train_sise'"
    assert "'train_size'" in caught.value.fix
    with pytest.raises(ConfigurationError, match="unknown key 'zzz'") as caught:
        SimulationSettings.read({"zzz": 1}, prefix="data.simulated")
    assert "background_gc" in caught.value.fix


def test_import_is_light():
    """The configuration imports this module on every start of Snakemake."""
    code = "import sys, dnatune.data.simulation; print({'torch', 'sklearn', 'pandas', 'scipy'} & set(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert output.strip() == "set()"
