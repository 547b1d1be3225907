"""A user's own files become three CSV files: every reader, and what each split promises, by brute force."""

import csv
import gzip
import itertools
import logging
import random
from collections import Counter

import pytest

from dnatune.data.manifests import Manifest
from dnatune.data.own_data.examples import chromosome_of
from dnatune.data.records import read_csv
from dnatune.data.sources import download_data
from dnatune.errors import DataError
from dnatune.settings import experiment
from dnatune.settings.tasks import SPLITS
from relatives import related

BASE = {"name": "mine", "models": {"tiny": {"source": "tiny"}}, "optimizers": {"adamw": {"learning_rate": 1.0e-3}}}
RNG = random.Random(5)


def dna(length=60, rng=RNG):
    return "".join(rng.choices("ACGT", k=length))


def fasta(path, sequences, prefix="s"):
    path.write_text("".join(f">{prefix}{number}\n{one}\n" for number, one in enumerate(sequences)), "utf-8")
    return str(path)


def made(folder, **entry):
    """Download a task of one's own and return {split: rows of (sequence, class word)}, and its manifest."""
    configuration = experiment.resolve({**BASE, "tasks": [{"name": "mine", **entry}]})
    download = folder / "download"
    download_data(configuration.data_settings("mine"), download)
    task = configuration.task("mine")
    splits = {}
    for name in SPLITS:
        split = read_csv(download / f"{name}.csv", task)
        splits[name] = [(one, task.labels[label]) for one, label in zip(split.sequences, split.labels, strict=True)]
    return splits, Manifest.read(download / "manifest.json")


def classes_of(splits):
    return {name: dict(Counter(word for _, word in rows)) for name, rows in splits.items()}


def origins(folder):
    with (folder / "download/rows.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


# Splits


@pytest.fixture
def families(tmp_path):
    """Two classes of families of relatives: a founder, and copies of it with a few bases changed."""
    rng = random.Random(7)

    def family():
        founder = dna(60, rng)
        sizes = rng.choice([1, 1, 1, 2, 3, 6])
        return ["".join(rng.choice("ACGT") if rng.random() < 0.03 else base for base in founder) for _ in range(sizes)]

    sequences = {word: [one for _ in range(40) for one in family()] for word in ("enhancer", "background")}
    files = {word: fasta(tmp_path / f"{word}.fa", found, word) for word, found in sequences.items()}
    return {"fasta": files}, [(one, word) for word, found in sequences.items() for one in found]


def test_no_relatives_lie_on_both_sides_by_default(families, tmp_path):
    entry, rows = families
    splits, manifest = made(tmp_path, **entry)
    for one, other in itertools.combinations(splits.values(), 2):
        assert [pair for pair in itertools.product(one, other) if related(pair[0][0], pair[1][0])] == []
    assert sorted(row for split in splits.values() for row in split) == sorted(rows)
    assert manifest.split.by == "clusters"
    assert manifest.split.classes == classes_of(splits)
    assert manifest.split.largest > 1
    # The founders are enough to come close to a tenth of each class, whatever the sizes of the families.
    totals = Counter(word for _, word in rows)
    for name in ("dev", "test"):
        assert manifest.split.classes[name] == {word: round(0.1 * count) for word, count in totals.items()}
    clusters = {(row["cluster"], row["split"]) for row in origins(tmp_path)}
    assert len(clusters) == len({cluster for cluster, _ in clusters}) == manifest.split.groups


@pytest.mark.parametrize("by", ["random", "clusters"])
@pytest.mark.parametrize(("dev", "test"), [(0.1, 0.1), (0.25, 0.05), (0.013, 0.4)])
def test_class_shares_are_kept_within_rounding(by, dev, test, tmp_path):
    sizes = {"a": 97, "b": 31, "c": 240}
    files = {word: fasta(tmp_path / f"{word}.fa", [dna() for _ in range(size)]) for word, size in sizes.items()}
    splits, manifest = made(tmp_path, fasta=files, split={"by": by, "dev": dev, "test": test})
    for name, share in (("dev", dev), ("test", test)):
        assert manifest.split.classes[name] == {word: max(1, round(share * size)) for word, size in sizes.items()}
    assert sum(map(len, splits.values())) == sum(sizes.values())


def test_the_same_seed_gives_the_same_split_and_another_another(families, tmp_path):
    entry, _ = families
    for by in ("clusters", "random"):
        first, again, other = (made(tmp_path, **entry, split={"by": by, "seed": seed})[0] for seed in (0, 0, 1))
        assert first == again
        assert set(first["test"]) != set(other["test"])


def test_each_chromosome_goes_to_one_split(tmp_path):
    rng = random.Random(3)
    names = [f"chr{number}" for number in range(1, 21)]
    files = {}
    for word in ("yes", "no"):
        path = tmp_path / f"{word}.fa"
        records = [(rng.choice(names), rng.randrange(10**6)) for _ in range(400)]
        path.write_text("".join(f">{name}:{start}-{start + 60}(+)\n{dna()}\n" for name, start in records), "utf-8")
        files[word] = str(path)
    _, manifest = made(tmp_path, fasta=files, split={"by": "chromosomes", "dev": ["chr8"], "test": ["chr9", "chr1"]})
    assert manifest.split.chromosomes["dev"] == ["chr8"]
    assert manifest.split.chromosomes["test"] == ["chr1", "chr9"]
    assert manifest.split.seed is None
    found = {(row["chromosome"], row["split"]) for row in origins(tmp_path)}
    assert found == {(name, {"chr8": "dev", "chr9": "test", "chr1": "test"}.get(name, "train")) for name in names}
    # Without names they are drawn, and none is in two splits.
    splits, manifest = made(tmp_path, fasta=files, split={"by": "chromosomes", "test": 0.2})
    found = {(row["chromosome"], row["split"]) for row in origins(tmp_path)}
    assert len(found) == 20 == manifest.split.groups
    assert 0.1 <= len(splits["test"]) / 800 <= 0.2


def test_a_split_that_is_there_stays_and_the_other_is_made(tmp_path):
    files = {word: fasta(tmp_path / f"{word}.fa", [dna() for _ in range(50)], word) for word in ("no", "yes")}
    there = {
        word: fasta(tmp_path / f"test-{word}.fa", [dna() for _ in range(20)], f"t{word}") for word in ("no", "yes")
    }
    _, manifest = made(tmp_path, fasta=files, test={"fasta": there})
    assert manifest.split.made == ["dev"]
    assert manifest.split.classes == {
        "train": {"no": 45, "yes": 45},
        "dev": {"no": 5, "yes": 5},
        "test": {"no": 20, "yes": 20},
    }
    assert {row["file"] for row in origins(tmp_path) if row["split"] == "test"} == set(there.values())


# Readers


def test_regions_of_a_genome(tmp_path):
    chromosomes = {f"chr{number}": dna(4000) for number in range(1, 6)}
    genome = tmp_path / "genome.fa.gz"
    genome.write_bytes(gzip.compress("".join(f">{name}\n{one}\n" for name, one in chromosomes.items()).encode()))
    files, expected = {}, []
    for word, offset in (("peak", 0), ("background", 50)):
        lines = []
        for name, start in itertools.product(chromosomes, range(offset, 3900, 100)):
            strand = RNG.choice("+-")
            lines.append(f"{name}\t{start}\t{start + 40}\t.\t0\t{strand}\n")
            bases = chromosomes[name][start : start + 40]
            bases = bases if strand == "+" else bases.translate(str.maketrans("ACGT", "TGCA"))[::-1]
            expected.append((bases, word))
        (tmp_path / f"{word}.bed").write_text("".join(lines), "utf-8")
        files[word] = str(tmp_path / f"{word}.bed")
    splits, manifest = made(
        tmp_path, bed=files, genome=str(genome), split={"by": "chromosomes", "dev": ["chr2"], "test": ["chr5"]}
    )
    assert sorted(row for split in splits.values() for row in split) == sorted(expected)
    assert set(manifest.settings["files"]) == {*files.values(), str(genome)}
    narrow, _ = made(tmp_path, bed=files, genome=str(genome), width=20)
    assert {one[10:30] for one, _ in expected} == {one for split in narrow.values() for one, _ in split}


def test_a_table_with_columns_of_any_name(tmp_path):
    path = tmp_path / "elements.tsv"
    rows = [(dna().lower(), word, f"gene {n}") for word in ("weak", "none", "strong") for n in range(30)]
    path.write_text("Seq\tActivity\tgene\n" + "".join("\t".join(row) + "\n" for row in rows), "utf-8")
    splits, _ = made(tmp_path, table={"path": str(path), "sequence": "Seq", "label": "Activity"})
    assert sorted(row for split in splits.values() for row in split) == sorted(
        (sequence.upper(), word) for sequence, word, _ in rows
    )
    # The other columns are carried along, row by row.
    genes = {(sequence.upper(), word): gene for sequence, word, gene in rows}
    for row in origins(tmp_path):
        sequence, word = splits[row["split"]][int(row["id"])]
        assert row["gene"] == genes[sequence, word]
        assert rows[int(row["line"]) - 2][0].upper() == sequence


def test_the_words_of_a_table_are_the_labels(tmp_path):
    path = tmp_path / "elements.csv"
    path.write_text("sequence,label\n" + "".join(f"{dna()},{word}\n" for word in "bca" * 20), "utf-8")
    configuration = experiment.resolve({**BASE, "tasks": [{"name": "my_elements", "table": {"path": str(path)}}]})
    assert configuration.task("my_elements").labels == ("a", "b", "c")
    assert configuration.task("my_elements").instruction == (
        "Determine the my elements class of following dna sequence, The result will be one of the following: a, b, c."
    )
    # They are written down, so that no stage reads the table again for them.
    path.unlink()
    assert experiment.resolve(configuration.settings).settings == configuration.settings


def test_class_indices_of_a_table_may_have_words(tmp_path):
    path = tmp_path / "elements.csv"
    rows = [(dna(), index) for index in (0, 1) for _ in range(20)]
    path.write_text("sequence,label\n" + "".join(f"{one},{index}\n" for one, index in rows), "utf-8")
    splits, _ = made(tmp_path, table={"path": str(path)}, labels=["no", "yes"])
    assert sorted(row for split in splits.values() for row in split) == sorted(
        (one, ("no", "yes")[index]) for one, index in rows
    )


@pytest.mark.parametrize(("names", "missing"), [("train,test", ["dev"]), ("training,validation,test", [])])
def test_a_column_of_splits_is_kept(tmp_path, names, missing):
    path, names = tmp_path / "elements.csv", names.split(",")
    rows = [(dna(), word, name) for word in ("no", "yes") for name in names for _ in range(20)]
    path.write_text("seq,label,part\n" + "".join(",".join(row) + "\n" for row in rows), "utf-8")
    splits, manifest = made(tmp_path, table={"path": str(path), "sequence": "seq", "split": "part"})
    assert manifest.split.made == missing
    assert {one for one, _ in splits["test"]} == {one for one, _, name in rows if name == "test"}
    assert manifest.split.by == ("clusters" if missing else None)


@pytest.mark.parametrize(
    ("name", "chromosome"),
    [
        ("chr1:100-200", "chr1"),
        ("chrX:5-7(-)", "chrX"),
        ("peak 1::NC_000001.11:1-20(+)".replace(" ", "_"), "NC_000001.11"),
        ("gene", None),
        ("chr1:gene", None),
    ],
)
def test_a_record_may_name_its_chromosome(name, chromosome):
    assert chromosome_of(name) == chromosome


def test_names_that_repeat_are_told_and_do_no_harm(tmp_path, caplog):
    files = {}
    for word in ("no", "yes"):
        files[word] = fasta(tmp_path / f"{word}.fa", [dna() for _ in range(20)])
    path = tmp_path / "yes.fa"
    path.write_text(path.read_text().replace(">s1\n", ">s0\n"), "utf-8")
    with caplog.at_level(logging.WARNING):
        splits, _ = made(tmp_path, fasta=files)
    assert "the name s0 stands there more than once" in caplog.text
    assert sum(map(len, splits.values())) == 40


# Bad data

GOOD = "".join(f">g{number}\n{dna()}\n" for number in range(20))


@pytest.mark.parametrize(
    ("content", "split", "phrases"),
    [
        ("", {}, ["no record", "bad.fa"]),
        (GOOD.replace("ACG", "ACU", 1), {}, ["base 'U'", "bad.fa, line", "(g"]),
        (">a\nACGT\n", {}, ["'bad' has too few sequences to split: 1", "train, dev, test"]),
        (GOOD, {"by": "chromosomes"}, ["chromosome of an example is not known", "chr1:100-200"]),
        ("".join(f">g{n}\n{'ACGTTGCA' * 6}{dna(9)}\n" for n in range(30)), {}, ["clusters of relatives", "by: random"]),
    ],
)
def test_bad_data_is_one_message_and_leaves_nothing(tmp_path, content, split, phrases):
    (tmp_path / "bad.fa").write_text(content, "utf-8")
    files = {"good": fasta(tmp_path / "good.fa", [dna() for _ in range(20)]), "bad": str(tmp_path / "bad.fa")}
    with pytest.raises(DataError) as caught:
        made(tmp_path, fasta=files, split=split)
    for phrase in [*phrases, "where: ", "to do: "]:
        assert phrase in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.fa", "good.fa"]


def test_a_sequence_in_two_classes_is_named_in_both(tmp_path):
    sequences = [dna() for _ in range(20)]
    files = {
        "no": fasta(tmp_path / "no.fa", sequences, "n"),
        "yes": fasta(tmp_path / "yes.fa", [*(dna() for _ in range(20)), sequences[4]], "y"),
    }
    with pytest.raises(DataError, match="1 sequence is in two classes") as caught:
        made(tmp_path, fasta=files)
    assert "yes.fa, line 41 (y20) and " in caught.value.where
    assert "no.fa, line 9 (n4)" in caught.value.where


def test_a_class_that_is_not_the_task_s_is_named(tmp_path):
    path = tmp_path / "elements.csv"
    path.write_text("sequence,label\n" + f"{dna()},no\n{dna()},yes\n{dna()},maybe\n" * 9, "utf-8")
    with pytest.raises(DataError, match="the class 'maybe' is not one of the task's") as caught:
        made(tmp_path, table={"path": str(path)}, labels=["no", "yes"])
    assert caught.value.where == f"{path}, line 4, column label"
