"""What is published of a run: the model as it was made, its card and its metrics, every file checked."""

import dataclasses
from pathlib import Path
from typing import Self

from dnatune.data.integrity import MANIFEST, Contents, check
from dnatune.data.manifests import Manifest
from dnatune.data.prompt_form import PromptForm
from dnatune.errors import DataError, ModelError
from dnatune.evaluation.agreement import Merge
from dnatune.evaluation.metrics import Metrics
from dnatune.evaluation.scored import FILE, Scored
from dnatune.files import read_json, sha256_of_file, write_json
from dnatune.prediction.trained import Trained, beside
from dnatune.report import licences
from dnatune.report.licences import Licence
from dnatune.report.model_card import Place, model_card

RECORD, CARD, METRICS = "run.json", "README.md", "metrics.json"
_ADAPTER, _ADAPTER_CONFIG, _AGREEMENT = "adapter", "adapter_config.json", "merge.json"
#: The stage whose folder is checked against what was recorded when it was made.
_AGAIN = "delete the folder; the workflow makes it again"


@dataclasses.dataclass(frozen=True)
class Item:
    """A file to publish.

    Attributes:
        name: path in the published folder.
        path: where it is now.
        size: bytes.
        sha256: of its content.
    """

    name: str
    path: Path
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Bundle:
    """All that is published of one run.

    Attributes:
        trained: the model.
        items: its files, by name; the manifest of all others is the last.
        licence: of the base model; None if it is not known.
    """

    trained: Trained
    items: tuple[Item, ...]
    licence: Licence | None

    @property
    def place(self) -> str:
        """Return the run's place in the grid."""
        return self.trained.run.place

    @property
    def adapter(self) -> bool:
        """Return whether it is an adapter, which needs its base model."""
        return self.trained.base is not None

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(item.size for item in self.items)

    @property
    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of every file by its name."""
        return {item.name: item.sha256 for item in self.items}

    @property
    def hosts(self) -> list[str]:
        """Return the names of machines that run.json tells."""
        run = self.trained.run
        return sorted({*(device.rpartition(":")[0] for device in run.devices), *(one.host for one in run.segments)})

    @classmethod
    def of(cls, trained: Trained, name: str, scratch: Path) -> Self:
        """Check a model and its scores, and return what is published of it.

        Args:
            trained: the model, in its results folder.
            name: folder or repository that the program in the card names.
            scratch: empty folder for the files that are made now.

        Raises:
            DataError: a file is missing or has changed since it was made.
            ModelError: the scores are of another run.
        """
        trained.check_files()
        model, known = _model_files(trained)
        scores = _scores(trained, model[RECORD])
        base, manifest = _base(trained)
        licence = Licence.of(base, manifest)
        sources = model | {METRICS: scores / METRICS, CARD: scratch / CARD}
        sources |= {path.name: path for path in licences.files(base)}
        _write_card(trained, scores, manifest, licence, name, scratch / CARD)
        if trained.base is not None:
            sources[_ADAPTER_CONFIG] = scratch / _ADAPTER_CONFIG
            del known[_ADAPTER_CONFIG]
            _write_adapter_config(trained.adapter / _ADAPTER_CONFIG, manifest, scratch / _ADAPTER_CONFIG)
        hashes = {key: known.get(key) or sha256_of_file(path) for key, path in sorted(sources.items())}
        sources[MANIFEST] = scratch / MANIFEST
        # Dates differ between machines, so every reader reads each file whole.
        Contents(files=hashes, large={}).write(scratch / MANIFEST)
        hashes[MANIFEST] = sha256_of_file(scratch / MANIFEST)
        items = [Item(key, sources[key], sources[key].stat().st_size, sha256) for key, sha256 in hashes.items()]
        return cls(trained, tuple(items), licence)


def find(folder: Path, base: Path | None) -> Trained:
    """Return the model in a folder of the results, if it can be published.

    Raises:
        ModelError: it is not there, was not kept, or its training diverged.
    """
    kept = beside(folder, "finetune")
    if not folder.exists() and kept and folder.absolute().is_relative_to(kept.parent / "merge"):
        run = kept / folder.absolute().relative_to(kept.parent / "merge")
        if (run / RECORD).is_file():
            # Of a diverged run there was none.
            Trained.find(run, base)
            raise ModelError(
                "the merged model was not kept",
                where=str(folder),
                fix="set keep_merged: true and type snakemake with --forcerun evaluate, which trains nothing; "
                f"or publish the adapter: --model {run}",
            )
    return Trained.find(folder, base)


def _model_files(trained: Trained) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the files of the model by the name under which they are published, and the SHA-256 of those that have one.

    These were read whole and have the hash that was recorded.
    """
    folder = trained.folder
    if trained.base is None:
        files = Contents.read(folder / MANIFEST).files
        hashes, named = files, {name: folder / name for name in files}
    elif trained.adapter == folder:
        raise ModelError(
            "this adapter was published already, and is no part of results",
            where=str(folder),
            fix="give results/<name>/finetune/<model>/<task>/<optimizer>/seed<k>",
        )
    else:
        recorded = trained.run.outputs.files
        files = {name: made for name, made in recorded.items() if name.startswith(f"{_ADAPTER}/")}
        hashes = {name.removeprefix(f"{_ADAPTER}/"): made for name, made in files.items()}
        named = {name: trained.adapter / name for name in hashes} | {RECORD: folder / RECORD}
    check(folder, Contents(files=files, large={}), _AGAIN)
    return named, dict(hashes)


def _scores(trained: Trained, record: Path) -> Path:
    """Return the folder of the run's scores, which are unchanged and of this run."""
    folder = beside(trained.folder, f"evaluate/{trained.run.place}")
    if folder is None or not (folder / FILE).is_file():
        raise DataError(
            "the run has no scores, which its card tells",
            where=str(folder or trained.folder),
            fix="publish from the results folder, after the workflow has scored the run",
        )
    scored = Scored.read(folder / FILE)
    check(
        folder, Contents(files=scored.files, large={}), "undo the change, or delete the folder; the run is scored again"
    )
    if scored.made_from["run"] != sha256_of_file(record):
        raise ModelError(
            "the scores are of another run than the model",
            where=str(folder),
            fix="start the workflow again, which scores the run",
        )
    return folder


def _base(trained: Trained) -> tuple[Path, Manifest]:
    """Return the folder of the base model and its manifest."""
    folder = trained.base or beside(trained.folder, f"download/models/{trained.run.model}")
    manifest = Manifest.read(folder / MANIFEST)
    known = {name: made for name, made in manifest.files.items() if licences.is_licence(name) or name == CARD}
    check(folder, Contents(files=known, large={}), _AGAIN)
    return folder, manifest


def _write_card(
    trained: Trained, scores: Path, manifest: Manifest, licence: Licence | None, name: str, path: Path
) -> None:
    """Write the card: that of the evaluate stage, which also tells where the model is and where its data came from."""
    from dnatune.model.base_models import load_tokenizer

    run = trained.run
    adapter = trained.base is not None
    found = beside(trained.folder, f"download/data/{run.task}/{MANIFEST}")
    data = Manifest.read(found) if found.is_file() else None
    tokenizer = load_tokenizer(trained.adapter if adapter else trained.folder)
    form = PromptForm.of(tokenizer, trained.prompt)
    merge, place = Merge.read(scores / _AGREEMENT), Place(name, adapter, data)
    text = model_card(run, Metrics.read(scores / METRICS), merge, manifest, form, licence, place)
    path.write_text(text, "utf-8")


def _write_adapter_config(made: Path, manifest: Manifest, path: Path) -> None:
    """Write the adapter's configuration with the name of its base model, if that is on the hub.

    The run's own file names none, because stages get the folder of the base model as an argument.
    """
    config = read_json(made)
    if manifest.source == "hub":
        config |= {"base_model_name_or_path": manifest.origin, "revision": manifest.revision}
    write_json(path, config)
