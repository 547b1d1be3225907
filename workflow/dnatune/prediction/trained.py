"""A model that dnatune has tuned: base + adapter of a run, or the folder of a merged model."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dnatune.data.integrity import Contents, check, check_model
from dnatune.errors import ModelError, shown
from dnatune.evaluation.agreement import Merge
from dnatune.files import digest
from dnatune.settings.prompt import PromptSettings
from dnatune.settings.sources import TaskSettings
from dnatune.training.record import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_RECORD, _ADAPTER = "run.json", "adapter"
#: What lies beside run.json if the adapter was published: peft looks for it at the top of a repository.
_FLAT = "adapter_config.json"
#: Folders between a results folder and the run.json of a run: stage, model, task, optimizer, seed.
_DEPTH = 4


@dataclasses.dataclass(frozen=True)
class Trained:
    """A tuned model on disk.

    Attributes:
        folder: folder of the merged model, or of run.json and the adapter.
        base: folder of the base model that the adapter belongs to; None if the model is merged.
        run: what made it.
    """

    folder: Path
    base: Path | None
    run: Run

    @classmethod
    def find(cls, folder: Path, base: Path | None) -> Self:
        """Return the model in a folder.

        Args:
            folder: results/<name>/merge/… or results/<name>/finetune/…, a copy of it, or what `publish` made of it.
            base: folder of the base model of an adapter; None to find it where the workflow keeps it.

        Raises:
            ModelError: no model of dnatune's is there, its training diverged, or its base model is not known.
        """
        if not (folder / _RECORD).is_file():
            raise ModelError(
                "this is no model that dnatune has tuned: it has no run.json, which says what the model is asked",
                where=str(folder),
                fix="give results/<name>/merge/<model>/<task>/<optimizer>/seed<k>, or finetune in place of merge",
            )
        run = Run.read(folder / _RECORD)
        if run.diverged:
            raise ModelError(
                "there is no model: its training diverged", where=str(folder), fix="choose another optimizer or seed"
            )
        flat = (folder / _FLAT).is_file()
        if (folder / "config.json").is_file() and not flat:
            if base is not None:
                raise ModelError("the model is merged and needs no base", where=str(folder), fix="leave --base out")
            return cls(folder, None, run)
        if not flat and not (folder / _ADAPTER).is_dir():
            raise ModelError(
                "there is neither a merged model nor an adapter beside run.json",
                where=str(folder),
                fix="give the folder of a finished run; trials keep no adapter",
            )
        base = base or beside(folder, f"download/models/{run.model}")
        if base is None or not base.is_dir():
            raise ModelError(
                "the base model that the adapter belongs to is not there",
                where=str(base or folder),
                fix="give its folder by --base: results/<name>/download/models/<model>",
            )
        return cls(folder, base, run)

    @property
    def adapter(self) -> Path:
        """Return the folder of the adapter, if the model is not merged."""
        return self.folder if (self.folder / _FLAT).is_file() else self.folder / _ADAPTER

    @property
    def task(self) -> TaskSettings:
        """Return the task that the model answers: its instruction and labels."""
        return self.run.typed_settings.task

    @property
    def prompt(self) -> PromptSettings | None:
        """Return what was configured of the prompts' form."""
        return self.run.typed_settings.prompt

    @property
    def most_tokens(self) -> int | None:
        """Return the most tokens of a prompt and its longest label that training would take; None without a limit."""
        return self.run.typed_settings.training.most_tokens

    @property
    def dev(self) -> Path | None:
        """Return the dev split that the workflow made for the run, if it is still there."""
        found = beside(self.folder, f"prepare/{self.run.task}/dev.jsonl")
        return found if found and found.is_file() else None

    @property
    def agreement(self) -> Merge | None:
        """Return how far a merged model agrees with base + adapter, as the evaluate stage has measured it."""
        found = beside(self.folder, f"evaluate/{self.run.place}/merge.json") if self.base is None else None
        return Merge.read(found) if found and found.is_file() else None

    def check_files(self) -> str:
        """Check that the files are those that were made, and return a digest of them.

        Raises:
            DataError: a file is missing or has changed.
            ModelError: the base model is not the one that the adapter was trained on.
        """
        if self.base is None:
            return check_model(self.folder)
        if self.adapter == self.folder:
            adapter: object = check_model(self.folder)
        else:
            adapter = {name: made for name, made in self.run.outputs.files.items() if name.startswith(f"{_ADAPTER}/")}
            made = Contents(files=adapter, large=self.run.outputs.large)
            check(self.folder, made, "copy the adapter again, or train again")
        if (found := check_model(self.base)) != self.run.inputs.model:
            raise ModelError(
                f"this is not the base model that the adapter was trained on: its files have the digest {found}, and "
                f"run.json names {self.run.inputs.model}",
                where=str(self.base),
                fix="give by --base the folder of the model that was trained",
            )
        return digest([adapter, found])

    def refuse_other_task(self, name: str | None) -> None:
        """Check that the model answers the task that is asked for; None asks for none.

        Raises:
            ModelError: it answers another.
        """
        if name is not None and name != self.task.name:
            raise ModelError(
                f"the model answers the task {shown(self.task.name)}, and not {shown(name)}",
                where=str(self.folder),
                fix="choose a model of that task, or leave --task out",
            )

    def load(self, precision: str, device: str) -> "tuple[Any, PreTrainedTokenizerBase]":
        """Load model and tokenizer onto a device in a resolved precision."""
        from dnatune.model import base_models
        from dnatune.training import engine

        dtype = engine.dtype_of(precision)
        if self.base is None:
            return base_models.load_whole(self.folder, dtype, device)
        return base_models.load_adapter(self.base, self.adapter, dtype, device)


def beside(folder: Path, relative: str) -> Path | None:
    """Return a path in the results folder that holds the folder of a run; None if the folder lies elsewhere."""
    parents = folder.absolute().parents
    return parents[_DEPTH] / relative if len(parents) > _DEPTH else None
