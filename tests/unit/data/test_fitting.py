"""A message about files that do not fit has lines of configuration that do: they are read back and work."""

import gzip
import random
import textwrap

import pytest
import yaml

from dnatune.data.own_data import fitting
from dnatune.data.sources import download_data
from dnatune.errors import ConfigurationError
from dnatune.settings import experiment

BASE = {"name": "mine", "models": {"tiny": {"source": "tiny"}}, "optimizers": {"adamw": {"learning_rate": 1.0e-3}}}
RNG = random.Random(0)


def dna():
    return "".join(RNG.choices("ACGT", k=50))


def fasta(count=30):
    return "".join(f">s{number}\n{dna()}\n" for number in range(count))


def csv_of(header="sequence,label", words=("0", "1")):
    return f"{header}\n" + "".join(f"{dna()},{word}\n" for word in words for _ in range(30))


def refusal(*tasks):
    with pytest.raises(ConfigurationError) as caught:
        fitting.check({**BASE, "tasks": list(tasks)})
    return caught.value


def shown_tasks(error):
    """The lines of a message below `tasks:`, as a user would copy them."""
    return yaml.safe_load(textwrap.dedent(error.fix[error.fix.index("    tasks:") :]))["tasks"]


def assert_works(error, tmp_path, classes):
    tasks = shown_tasks(error)
    fitting.check({**BASE, "tasks": tasks})
    configuration = experiment.resolve({**BASE, "tasks": tasks})
    assert sorted(configuration.task("mine").labels) == sorted(classes)
    download_data(configuration.data_settings("mine"), tmp_path / "download")
    assert (tmp_path / "download/dev.csv").is_file()


def test_a_folder_of_fasta_files(tmp_path):
    (tmp_path / "enhancers.fa").write_text(fasta())
    (tmp_path / "background.fasta.gz").write_bytes(gzip.compress(fasta().encode()))
    error = refusal({"name": "mine", "path": str(tmp_path)})
    assert "train.csv, dev.csv, test.csv not found" in str(error)
    assert_works(error, tmp_path, ["enhancers", "background"])


def test_a_folder_of_regions(tmp_path):
    (tmp_path / "genome.fa").write_text(f">chr1\n{''.join(dna() for _ in range(80))}\n")
    for place, name in enumerate(("peaks", "background")):
        starts = range(2000 * place, 2000 * place + 1900, 60)
        (tmp_path / f"{name}.bed").write_text("".join(f"chr1\t{start}\t{start + 50}\n" for start in starts))
    assert_works(refusal({"name": "mine", "path": str(tmp_path)}), tmp_path, ["peaks", "background"])


def test_no_dev_csv(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(csv_of())
    error = refusal({"name": "mine", "path": str(tmp_path), "labels": ["no", "yes"]})
    assert error.what == "dev.csv not found"
    assert_works(error, tmp_path, ["0", "1"])


def test_words_in_the_old_layout(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text(csv_of(words=("no", "yes")))
    error = refusal({"name": "mine", "path": str(tmp_path), "labels": ["no", "yes"]})
    assert "the label is the word 'no'" in error.what
    assert_works(error, tmp_path, ["no", "yes"])


def test_other_columns_in_the_old_layout(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text(csv_of("Seq,Activity", ("no", "yes")))
    error = refusal({"name": "mine", "path": str(tmp_path), "labels": ["no", "yes"]})
    assert "its columns are 'Seq', 'Activity'" in error.what
    assert_works(error, tmp_path, ["no", "yes"])


def test_a_file_for_a_folder(tmp_path):
    (tmp_path / "elements.csv").write_text(csv_of("Seq,Activity", ("no", "yes")))
    error = refusal({"name": "mine", "path": str(tmp_path / "elements.csv")})
    assert "'path' names a folder" in error.what
    assert_works(error, tmp_path, ["no", "yes"])


def test_a_table_with_other_columns(tmp_path):
    path = tmp_path / "elements.csv"
    rows = [f"{number},{word},{dna()}" for word in ("weak", "strong") for number in range(30)]
    path.write_text("number,activity,bases\n" + "\n".join(rows) + "\n")
    error = refusal({"name": "mine", "table": {"path": str(path)}})
    assert "no column is called 'sequence', 'label'; there are 'number', 'activity', 'bases'" in error.what
    assert shown_tasks(error)[0]["table"] == {"path": str(path), "sequence": "bases", "label": "activity"}
    assert_works(error, tmp_path, ["weak", "strong"])


def test_a_missing_file_has_a_neighbour(tmp_path):
    (tmp_path / "enhancers.fa").write_text(fasta())
    files = {"yes": str(tmp_path / "enhancer.fa"), "no": str(tmp_path / "enhancers.fa")}
    error = refusal({"name": "mine", "fasta": files})
    assert error.what == "file not found"
    assert f"did you mean {tmp_path / 'enhancers.fa'}?" in error.fix


def test_a_table_given_as_fasta(tmp_path):
    (tmp_path / "some.csv").write_text(csv_of())
    (tmp_path / "some.fa").write_text(fasta())
    files = {"yes": str(tmp_path / "some.fa"), "no": str(tmp_path / "some.csv")}
    assert "FASTA begins with '>'" in refusal({"name": "mine", "fasta": files}).what


def test_what_fits_or_is_not_there_is_passed_over(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text(csv_of())
    tasks = ["prom_core_all", {"name": "mine", "path": str(tmp_path)}, {"name": "far", "path": str(tmp_path / "none")}]
    fitting.check({**BASE, "tasks": tasks})
    fitting.check({**BASE, "tasks": "prom_core_all"})


def test_the_tasks_of_pretraining_are_looked_at_too(tmp_path):
    (tmp_path / "enhancers.fa").write_text(fasta())
    files = {"yes": str(tmp_path / "enhancer.fa"), "no": str(tmp_path / "enhancers.fa")}
    pretrain = {"tasks": ["prom_core_all", {"name": "other", "fasta": files}]}
    models = {"small": {"source": "tiny"}, "mine": {"source": "tiny", "tiny": {"pretrain": pretrain}}}
    with pytest.raises(ConfigurationError, match="file not found") as caught:
        fitting.check({**BASE, "models": models, "tasks": ["prom_core_all"]})
    assert "config key 'models.mine.tiny.pretrain.tasks', entry 'other'" in caught.value.where
    assert f"did you mean {tmp_path / 'enhancers.fa'}?" in caught.value.fix
    (tmp_path / "enhancer.fa").write_text(fasta())
    fitting.check({**BASE, "models": models, "tasks": ["prom_core_all"]})
    # What is no configuration yet is left to the check of the keys.
    for spoilt in (None, [], {"mine": None}, {"mine": {"tiny": "x"}}, {"mine": {"tiny": {"pretrain": {"tasks": 3}}}}):
        fitting.check({**BASE, "models": spoilt})
