"""What does not suit the input of a prediction is refused with its key, before a model is trained or loaded."""

import pytest

from configurations import changed
from dnatune.commands import predict
from dnatune.errors import ConfigurationError
from dnatune.settings import experiment
from dnatune.settings.prediction import Reading


def with_prediction(**settings):
    return experiment.resolve(changed("predict", settings))


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        ({"input": "s.xyz"}, "input", "says no kind of input"),
        ({"input": "s.csv", "width": 5}, "width", "not cut into windows"),
        ({"input": "s.fa", "genome": "g.fa"}, "genome", "only BED and VCF refer to a genome"),
        ({"input": "s.bed"}, "genome", "regions refer to a genome"),
        ({"input": "s.vcf.gz", "width": 5}, "genome", "variants refer to a genome"),
        ({"input": "s.vcf", "genome": "g.fa"}, "width", "no width"),
        ({"input": "s.vcf", "genome": "g.fa", "width": 5, "stride": 5}, "stride", "one window each"),
        ({"input": "s.csv", "outputs": ["a.tsv", "b.bedgraph.gz"]}, "outputs", "a bedGraph needs places"),
        ({"input": "s.vcf", "genome": "g.fa", "width": 5, "outputs": ["b.bg"]}, "outputs", "a bedGraph needs places"),
        ({"input": "s.fa", "outputs": ["p.xlsx"]}, "outputs", "the ending of p.xlsx names no format"),
        ({"input": "s.fa", "outputs": ["p.parquet.gz"]}, "outputs", "names no format"),
        ({"input": "s.fa", "class": "enhancer"}, "class", "'enhancer' is no label of the model"),
    ],
)
def test_what_does_not_suit_is_refused_with_its_key(settings, key, said, monkeypatch):
    with pytest.raises(ConfigurationError, match=said) as refusal:
        with_prediction(**settings)
    assert f"config key 'predict.{key}'" in refusal.value.where and refusal.value.fix
    if key == "class":
        return
    words = ["predict", "--model", "m", "--output", *settings.pop("outputs", ["p.tsv"])]
    words += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(ConfigurationError, match=said) as refusal:
        predict.main()
    assert refusal.value.where == f"--{key.removesuffix('s')}"


@pytest.mark.parametrize("name", ["s.csv", "s.TXT", "s.fa.gz", "s.ffn"])
def test_each_kind_of_input_may_come_alone(name):
    assert with_prediction(input=name).experiment.predict.input == name


def test_a_stride_needs_a_width():
    with pytest.raises(ConfigurationError, match="there are no windows"):
        Reading.read({"stride": 5})


@pytest.mark.parametrize("key", ["input", "genome"])
def test_a_file_that_is_not_there_is_told_with_its_key(tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    configuration = with_prediction(input="r.bed", genome="g.fa")
    (tmp_path / {"input": "g.fa", "genome": "r.bed"}[key]).touch()
    with pytest.raises(ConfigurationError, match="there is no file") as refusal:
        configuration.require_files()
    assert refusal.value.where == f"config key 'predict.{key}'"
    for name in ("r.bed", "g.fa"):
        (tmp_path / name).touch()
    configuration.require_files()
