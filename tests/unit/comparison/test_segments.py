"""Segments of the test split: who is in them, and the scores computed again by hand."""

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from compared_results import read
from dnatune.comparison import results as finished
from dnatune.comparison import segments
from dnatune.data.leakage import Audit
from dnatune.data.sequences import gc_content
from dnatune.errors import ConfigurationError
from dnatune.files import read_json_lines
from samples import split_of
from synthetic_results import PROMOTERS, SPLICE, Results


def rows_of(results: Results) -> list[dict]:
    audits = finished.read_audits(results.audits, results.tasks)
    parts = segments.read_segments(results.records, results.tasks, audits)
    return segments.segment_rows(read(results)[0], results.tasks, parts)


def test_items_of_thirds_classes_and_leaks(tmp_path):
    made = Results(tmp_path)
    task, audit = made.tasks["prom_core_all"], Audit.read(made.add_audit(leaked=[4], twins=[0, 1]))
    sequences = ["AAAA", "AAAG", "AAGG", "AGGG", "GGGG", "GGGG"]
    test = split_of(list(zip(sequences, [1, 0] * 3, strict=True)))
    found = {one.name: one.items.tolist() for one in segments.segments_of(test, audit, task)}
    thirds = [items for name, items in found.items() if name.startswith("GC")]
    assert sorted(item for items in thirds for item in items) == list(range(6))
    assert [max(items) for items in thirds] == sorted(max(items) for items in thirds)
    assert found["class promoter"] == [0, 2, 4]
    assert found["in an earlier split"] == [4]
    assert found["in no earlier split"] == [0, 1, 2, 3, 5]
    assert (found["with a twin in training"], found["without a twin in training"]) == ([0, 1], [2, 3, 4, 5])
    assert "shares no such word" not in found
    related = audit.model_copy(update={"related": {"twins": None, "shared_words": [5]}})
    found = {one.name: one.items.tolist() for one in segments.segments_of(test, related, task)}
    assert found["shares a word of 30 bp with training"] == [5] and "without a twin in training" not in found


def test_without_leaks_there_is_no_such_segment_and_one_gc_content_is_one_segment(tmp_path):
    made = Results(tmp_path)
    task, audit = made.tasks["prom_core_all"], Audit.read(made.add_audit(twins=[]))
    names = [one.name for one in segments.segments_of(split_of([("AG", 1)] * 4), audit, task)]
    assert names == ["GC up to 50%", "class promoter"]


def test_scores_are_those_of_the_items_of_the_segment(tmp_path):
    made = Results(tmp_path / "r")
    for seed in (0, 1):
        made.add_run("adamw", seed)
    made.audits = [made.add_audit(leaked=[3, 4, 7])]
    rows = {row["segment"]: row for row in rows_of(made)}
    share = np.array([gc_content(record["input"]) for record in read_json_lines(made.records[0])])
    low = share <= np.quantile(share, 1 / 3)
    (group,) = read(made)[0]
    tables = [run.predictions for run in group.runs]
    first = next(iter(rows.values()))
    assert first["items"] == low.sum()
    assert first["score"] == pytest.approx(
        np.mean([matthews_corrcoef(t["label"][low], t["predicted"][low]) for t in tables])
    )
    recall = np.mean([(t["predicted"] == 1)[t["label"] == 1].mean() for t in tables])
    assert rows["class promoter"]["accuracy"] == pytest.approx(recall)
    assert rows["class promoter"]["score"] is None
    assert rows["in an earlier split"]["items"] == 3


def test_unparsable_answers_are_wrong_and_diverged_groups_have_empty_cells(tmp_path):
    made = Results(tmp_path / "r", (PROMOTERS, SPLICE))
    made.add_run("adamw", generate=True)
    made.add_run("sgd", task="splice", diverged_at=3)
    rows = rows_of(made)
    (group,) = [group for group in read(made)[0] if group.optimizer == "adamw"]
    table = group.runs[0].predictions
    positive = table["label"] == 1
    found = next(row for row in rows if row["segment"] == "class promoter")
    assert found["accuracy"] == pytest.approx((table["predicted"] == 1)[positive].mean())
    lost = [row for row in rows if row["optimizer"] == "sgd"]
    assert lost
    assert all(row["seeds"] == 0 and row["score"] is None and row["accuracy"] is None for row in lost)


def test_not_one_file_a_task(tmp_path):
    made = Results(tmp_path, (PROMOTERS, SPLICE))
    with pytest.raises(ConfigurationError, match="1 files of 2 tasks"):
        segments.read_segments(made.records[:1], made.tasks, {})
