"""An encoder and three decoders, of words, 6-mers and both, in one configuration on real promoters."""

import csv
import re

import pytest

from dna_models import write_hybrid_tokenizer, write_kmer_tokenizer, write_llama
from encoders import make_encoder
from workflow_runs import Workplace, small

HEADS = {"words": "label_words", "kmers": "label_words", "hybrid": "label_words", "encoder": "classification"}


@pytest.mark.slow
def test_each_model_has_its_verdicts_and_the_page_says_what_compares(shared, tmp_path):
    """24 short runs: their scores do not matter, but each pair of optimizers has an interval or the reason why not."""
    write_llama(write_kmer_tokenizer(tmp_path / "kmers"))
    write_llama(write_hybrid_tokenizer(tmp_path / "hybrid"))
    make_encoder(tmp_path / "encoder", max_position_embeddings=128)
    own = {
        name: {"source": "directory", "directory": {"path": str(tmp_path / name)}} for name in HEADS if name != "words"
    }
    own["encoder"]["head"] = "classification"
    configuration = small(
        models={"tiny": None, "words": {"source": "tiny", "tiny": {"hidden_size": 32, "layers": 1}}, **own},
        data={"source": "directory", "simulated": None, "directory": {"path": str(shared / "GUE")}},
        tasks=["prom_core_tata"],
        seeds=[3, 4, 5],
        optimizers={"wild": None, "sgd": {"learning_rate": 0.1}},
        lora={"rank": 4, "dropout": 0.0},
        comparison={"reference": "adamw"},
        evaluation={"baselines": ["majority", "gc"]},
    )
    workplace = Workplace(tmp_path / "run")
    workplace.complete(configuration)
    rows = table(workplace.results / "compare/comparison.tsv")
    assert {row["model"]: row["head"] for row in rows if row["optimizer"] in ("adamw", "sgd")} == HEADS
    pairs = [
        row
        for row in table(workplace.results / "compare/tests.tsv")
        if (row["comparison"], row["metric"], row["role"]) == ("optimizers", "mcc", "primary")
    ]
    assert {row["model"] for row in pairs} >= set(HEADS)
    assert all(row["sentence"] and (row["low"] or row["withheld"]) for row in pairs)
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (workplace.results / "report.html").read_text("utf-8")))
    assert all(name in page for name in HEADS)
    assert "classification" in page and "label words" in page


def table(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))
