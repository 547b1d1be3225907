"""Results that share a base model by links are those of a copy."""

from test_chain import json_of

from workflow_runs import RUN, copied, files_below, small


def test_a_linked_base_gives_the_results_of_its_copy_and_outlives_them(chain, tmp_path):
    store = chain.results / "download/models/tiny"
    before = {name: (store / name).stat().st_mtime_ns for name in files_below(store)}
    workplace = copied(chain.folder, tmp_path / "copy")

    def configuration(link):
        directory = {"path": str(store), "link": link}
        return small(models={"tiny": {"source": "directory", "tiny": None, "directory": directory}})

    # Another source is another download, but the same model to the byte: no run is trained again.
    workplace.complete(configuration(link=True))
    model = workplace.results / "download/models/tiny"
    assert (model / "model.safetensors").is_symlink()
    for file in ("run.json", "training.jsonl"):
        assert (workplace.results / RUN / file).is_file()
    predictions = f"evaluate/{RUN.removeprefix('finetune/')}/predictions.tsv"
    assert (workplace.results / predictions).read_bytes() == (chain.results / predictions).read_bytes()
    assert json_of(model / "manifest.json")["settings"]["store"]["source"] == "tiny"
    # Whether it is linked changes no result.
    assert workplace.plan(configuration(link=False)).counts == {}
    assert {name: (store / name).stat().st_mtime_ns for name in files_below(store)} == before
