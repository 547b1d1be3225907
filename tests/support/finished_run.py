"""The results folder of one finished run of a tiny model, as the workflow leaves it, without its training."""

import shutil
from pathlib import Path

import numpy as np

from adapters import adapter_of
from configurations import changed
from dnatune.data.integrity import MANIFEST, Contents, contents_of
from dnatune.data.manifests import Manifest
from dnatune.data.prompts import render
from dnatune.evaluation import agreement, metrics
from dnatune.evaluation.predictions import write_predictions
from dnatune.evaluation.scored import FILE, Scored
from dnatune.files import sha256_of_file
from dnatune.model import merging
from dnatune.settings import experiment
from dnatune.settings.grid import Run as Place
from dnatune.training.record import Divergence, Run
from run_records import run_record
from samples import TASK

PLACE = "tiny/prom_core_all/adamw/seed0"
BASE_REPOSITORY, BASE_COMMIT = "lab/base", "a" * 40
_SCORES = ("predictions.tsv", "metrics.json", "merge.json", "README.md")
_CARD = "---\nlicense: other\nlicense_name: genes-1\nlicense_link: LICENSE.md\ntags: [dna]\n---\n\n# base\n"


def finished_run(results: Path, model: Path, card: str | None = _CARD) -> Path:
    """Write the folders of a run, its base model from the hub among them, and return the results folder.

    Args:
        results: folder to make.
        model: folder of a tiny base model.
        card: read-me of the base model; None: it has none.
    """
    base = results / "download/models/tiny"
    shutil.copytree(model, base)
    (base / MANIFEST).unlink(missing_ok=True)
    (base / "LICENSE.md").write_text("You may.\n", "utf-8")
    if card is not None:
        (base / "README.md").write_text(card, "utf-8")
    write_origin(base, BASE_REPOSITORY, BASE_COMMIT)
    data = results / "download/data/prom_core_all"
    data.mkdir(parents=True)
    write_origin(data, "lab/GUE", "b" * 40)
    finetuned, merged = results / "finetune" / PLACE, results / "merge" / PLACE
    finetuned.mkdir(parents=True)
    adapter = adapter_of(base, finetuned / "adapter")
    settings = experiment.resolve(changed("name", "any")).finetune_settings(Place("tiny", "prom_core_all", "adamw", 0))
    inputs = {"model": Manifest.read(base / MANIFEST).digest, "train": "0" * 64}
    outputs = contents_of(adapter).below("adapter")
    run_record(settings=settings.plain(), inputs=inputs, outputs=outputs.model_dump()).write(finetuned / "run.json")
    merged.mkdir(parents=True)
    prompts = [render(TASK.instruction, "ACGTTTAGCATTA") + label for label in TASK.labels]
    storage = merging.merge(base, adapter, merged, None, prompts)
    storage.write(merged / "storage.json")
    shutil.copyfile(finetuned / "run.json", merged / "run.json")
    contents_of(merged).write(merged / MANIFEST)
    _write_scores(results / "evaluate" / PLACE, storage, finetuned / "run.json")
    return results


def diverge(results: Path) -> None:
    """Make the run one that diverged."""
    for stage in ("finetune", "merge"):
        folder = results / stage / PLACE
        run = Run.read(folder / "run.json")
        end = Divergence(step=3, loss=None, gradient_norm=None, reason="the loss is not finite")
        changed_run = run.model_copy(update={"status": "diverged", "diverged": end})
        shutil.rmtree(folder)
        folder.mkdir()
        changed_run.write(folder / "run.json")
        contents_of(folder).write(folder / MANIFEST)


def write_origin(folder: Path, origin: str, revision: str | None, source: str = "hub") -> None:
    """Write the manifest of a base model or of data."""
    (folder / MANIFEST).unlink(missing_ok=True)
    requested = "main" if revision else None
    made: Contents = contents_of(folder)
    Manifest(
        source=source, origin=origin, requested=requested, revision=revision, settings={}, **made.model_dump()
    ).write(folder / MANIFEST)


def _write_scores(folder: Path, storage, record: Path) -> None:
    """Write what the evaluate stage writes, for test items that there are none of."""
    folder.mkdir(parents=True)
    rng, truth = np.random.default_rng(0), [0, 1] * 30
    scores = rng.normal(size=(60, 2)) + np.eye(2)[truth]
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True)) + 1e-4
    write_predictions(folder / "predictions.tsv", truth, scores, 2)
    found = metrics.from_log_probabilities(truth, scores, seconds=1.0)
    found.write_beside(folder / "predictions.tsv", folder / "metrics.json")
    answers = scores.argmax(axis=1).tolist()
    agreed = agreement.compare("fp32", storage, folder, answers, answers, (scores, scores), found)
    agreed.write(folder / "merge.json")
    (folder / "README.md").write_text("# the card\n", "utf-8")
    made_from = {"run": sha256_of_file(record)}
    Scored.of(folder, made_from, _SCORES).write(folder / FILE)


def renamed(results: Path, run: Run) -> Path:
    """Give the run another place, and return the folder of its merged model there."""
    for stage in ("finetune", "merge", "evaluate"):
        (results / stage / run.place).parent.mkdir(parents=True, exist_ok=True)
        (results / stage / PLACE).rename(results / stage / run.place)
    merged, scores = results / "merge" / run.place, results / "evaluate" / run.place
    for folder in (merged, results / "finetune" / run.place):
        run.write(folder / "run.json")
    (merged / MANIFEST).unlink()
    contents_of(merged).write(merged / MANIFEST)
    Scored.of(scores, {"run": sha256_of_file(merged / "run.json")}, _SCORES).write(scores / FILE)
    return merged
