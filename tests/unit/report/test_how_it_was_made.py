"""What the page says of how the runs were made."""

from dnatune.training.record import Run
from report_pages import render, section_of
from run_records import segment
from synthetic_results import PROMOTERS, Results


def test_a_run_that_was_interrupted_shows_each_of_its_starts(tmp_path):
    results = Results(tmp_path / "results", (PROMOTERS,))
    for optimizer in ("adamw", "sgd"):
        for seed in range(2):
            results.add_run(optimizer, seed)
    interrupted, path = Run.read(results.run_records[0]), results.run_records[0]
    segments = [
        segment(reason="killed", to_step=7, job="71", host="node-a"),
        segment(
            from_step=5, checkpoint="c0ffee" + "0" * 58, host="node-b", accepted=["code: aaaa → bbbb"], code="bbbb"
        ),
    ]
    interrupted.model_copy(update={"segments": segments}).write(path)
    text = section_of(render(results), "how_it_was_made")
    place = interrupted.place
    assert text.count(place) == 2 and text.count(Run.read(results.run_records[1]).place) == 1
    assert f"{place} 0–7 killed 2026-11-26 10:00:00 2026-11-26 10:00:05 node-a 71 aaaa" in text
    assert "5–10 completed" in text and "node-b bbbb; accepted: code: aaaa → bbbb c0ffee000000" in text
