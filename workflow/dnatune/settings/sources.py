"""Settings of base models and of the tasks' data: where they come from."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dnatune.settings.base import AsTuple, FilePath, Name, Number, Prose, Settings, Text, refused, setting
from dnatune.settings.own_data import Label, OwnData
from dnatune.settings.prompt import PromptSettings
from dnatune.settings.simulation import SimulationSettings

Repository = Annotated[str, Field(pattern="^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]


class Folder(Settings):
    """A folder of the user's."""

    path: FilePath = setting(unit="folder")
    """Folder. A relative path counts from the folder in which snakemake is
    started, or that of its --directory."""


class ModelFolder(Folder):
    """The folder of a base model."""

    link: bool = setting(False, unit="yes or no", reruns=False)
    """Link the weights and do not copy them. The folder must be one that `python -m dnatune download model` has made,
    whose manifest.json says what was checked then, and must stay as it is while the results are in use;
    docs/facility.md."""


class HubModel(Settings):
    """A model of the hub."""

    repo: Repository = setting(unit="owner/name")
    """Repository of the model."""
    revision: Text = setting("main", unit="branch, tag or commit")
    """Revision. It is resolved once to a commit, which is recorded; give a commit to pin it."""


class HubData(Settings):
    """A data set of the hub."""

    repo: Repository = setting("leannmlindsey/GUE", unit="owner/name")
    """Repository of the data set."""
    revision: Text = setting("main", unit="branch, tag or commit")
    """Revision. It is resolved once to a commit, which is recorded; give a commit to pin it."""


def check_heads(shape: Any) -> None:
    """Check that the width of a Llama divides into its heads.

    Args:
        shape: settings with `hidden_size`, `heads` and `key_value_heads`.
    """
    if shape.hidden_size % (2 * shape.heads):
        raise refused(
            "hidden_size",
            f"hidden_size {shape.hidden_size} does not divide into {shape.heads} heads of even width",
            "choose a multiple of twice the number of heads",
        )
    if shape.heads % shape.key_value_heads:
        raise refused(
            "key_value_heads",
            f"{shape.heads} heads do not share {shape.key_value_heads} key-value heads evenly",
            "choose a divisor of the number of heads",
        )


class _Question(Settings):
    """What a task asks."""

    name: Name = setting(unit="folder name")
    """Name of the task."""
    path: FilePath | None = setting(None, unit="folder")
    """Folder with train.csv, dev.csv and test.csv, which is used instead of `data`."""
    labels: Annotated[tuple[Label, ...], AsTuple] | None = setting(None, min_length=2, unit="list of words")
    """Answer of each class, in the order of the class indices. If absent, files of one's own decide: the classes as
    they are written under `fasta` or `bed`, or the words of a table in alphabetical order."""
    instruction: Prose | None = setting(None, unit="text")
    """Question that the model is asked. If absent, that of GUE, or one made from the task's name and labels."""
    metric: Literal["mcc", "f1_macro"] | None = setting(None, unit="metric")
    """Metric that comparisons use."""


class TaskEntry(OwnData, _Question):
    """An entry of `tasks`."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.path is not None and self.kind is not None:
            raise refused(self.kind, f"'path' and '{self.kind}' are given", "keep one of them")
        if self.classes and self.labels and set(self.classes) != set(self.labels):
            raise refused("labels", f"the labels are not the classes of '{self.kind}'", "name the same, in any order")
        classes = self.labels or self.classes
        if classes and len(classes) < 2:
            raise refused(self.kind or "labels", "there is one class", "give at least two, each with files of its own")
        for key, part in self.parts.items():
            strange = set(part.classes or ()) - set(classes or part.classes or ())
            if strange:
                raise refused(key, f"'{min(strange)}' is no class of the task", f"they are {', '.join(classes)}")
        return self


def _named(entry: Any) -> Any:
    return entry if isinstance(entry, Mapping) else {"name": entry}


#: A task by its name alone, or as a map.
NameOrTask = Annotated[TaskEntry, BeforeValidator(_named, json_schema_input_type=Name | TaskEntry)]


class Pretraining(Settings):
    """Next-token training of a tiny model, before anything is fine-tuned."""

    steps: int = setting(500, ge=1, le=10_000_000, unit="steps")
    """Number of steps of AdamW with a cosine schedule."""
    batch_size: int = setting(64, ge=1, le=100_000, unit="sequences")
    """Number of sequences per step."""
    learning_rate: Number = setting(3.0e-3, gt=0, le=1, unit="learning rate")
    """Highest learning rate."""
    sequences: int = setting(50_000, ge=1, le=10_000_000, unit="sequences")
    """Most sequences; of more, so many are drawn with the model's seed."""
    tasks: Annotated[tuple[NameOrTask, ...], AsTuple] | None = setting(None, min_length=1, unit="list of names or maps")
    """Tasks whose training sequences are used, without their labels; they need not be among `tasks` of the
    configuration, which are taken if this is absent. A sequence that is a relative of a test item of any task of the
    configuration is left out: a copy or near-copy of either strand, a twin, or a shared word of 30 bases."""


class TinyModel(Settings):
    """A small Llama that is made here, with random weights unless it is pretrained."""

    hidden_size: int = setting(128, ge=8, le=100_000, unit="features")
    """Width of the model."""
    layers: int = setting(2, ge=1, le=1000, unit="layers")
    """Number of layers."""
    heads: int = setting(4, ge=1, le=10_000, unit="heads")
    """Number of attention heads."""
    key_value_heads: int = setting(4, ge=1, le=10_000, unit="heads")
    """Number of key and value heads. With fewer than `heads`, attention is grouped-query attention."""
    intermediate_size: int = setting(384, ge=8, le=1_000_000, unit="features")
    """Width of the feed-forward layers."""
    vocabulary: int = setting(1536, ge=400, le=1_000_000, unit="pieces")
    """Size of the byte-level BPE vocabulary."""
    tied_embeddings: bool = setting(False, unit="yes or no")
    """Use one matrix for the input and output embeddings."""
    seed: int = setting(0, ge=0, unit="seed")
    """Seed of the weights and of pretraining."""
    pretrain: Pretraining | None = setting(None, unit="map")
    """Train the model on DNA first. Each answer is then a random label word: the model learns the form of the tasks and
    nothing of their answers. If absent, the weights stay random."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self)
        return self


class _Chosen(Settings):
    """A map in which the word `source` says which of the other maps is used."""

    @model_validator(mode="after")
    def _source_is_given(self) -> Self:
        if self.chosen is None:
            raise refused(
                self.source,
                f"source is '{self.source}' and the map '{self.source}' is missing",
                f"add the map '{self.source}', see config/README.md",
            )
        return self

    @property
    def chosen(self) -> Any:
        """Return the settings of the source in use."""
        return getattr(self, self.source)


#: Of a causal language model, which answers with label words, the settings of the stages name no head.
OtherHead = Literal["classification"] | None


class ModelEntry(_Chosen):
    """A base model."""

    source: Literal["tiny", "hub", "directory"] = setting(unit="one of three words")
    """Where the base model comes from. The map of the same name has its settings."""
    head: Literal["label_words", "classification"] = setting("label_words", unit="one of two words")
    """How it answers. label_words: a causal language model writes the label behind a prompt. classification: a new
    layer on top of the model, an encoder for example, has an output for each class; docs/models.md."""
    tiny: TinyModel = setting(default_factory=TinyModel, unit="map")
    """A small Llama with a DNA tokenizer, which is made from the first task's training split or, with `pretrain`, from
    the sequences of pretraining."""
    hub: HubModel | None = setting(None, unit="map")
    """A repository of the Hugging Face hub."""
    directory: ModelFolder | None = setting(None, unit="map")
    """A folder that transformers can load, or whose tokenizer dnatune knows; docs/models.md."""
    prompt: PromptSettings | None = setting(None, unit="map")
    """How sequences are put to the model. If absent, this follows from its vocabulary."""

    @property
    def other_head(self) -> OtherHead:
        """Return the head of a model that is no causal language model."""
        return None if self.head == "label_words" else self.head

    @model_validator(mode="after")
    def _a_head_gets_the_sequence_alone(self) -> Self:
        if self.other_head and self.source == "tiny":
            raise refused(
                "head",
                "a tiny model is a Llama that is made to answer with label words",
                "leave 'head' out, or give an encoder as hub or directory",
            )
        if self.other_head and self.prompt:
            raise refused("prompt", "a model with a classification head gets the sequence alone", "leave 'prompt' out")
        return self


class DataEntry(_Chosen):
    """Where the data come from."""

    source: Literal["simulated", "hub", "directory"] = setting(unit="one of three words")
    """Source of every task that has no path of its own."""
    simulated: SimulationSettings = setting(default_factory=SimulationSettings, unit="map")
    """Synthetic core promoters with a known Bayes-optimal classifier; docs/simulated-data.md."""
    hub: HubData = setting(default_factory=HubData, unit="map")
    """A data set of the Hugging Face hub in GUE's layout."""
    directory: Folder | None = setting(None, unit="map")
    """A folder with GUE/<task>/{train,dev,test}.csv or <task>/{train,dev,test}.csv. Instead of the task's name, the
    folder may have that of GUE as its authors released it, such as EMP/H3 or tf/0."""


class TaskSettings(Settings):
    """A task as a stage needs it."""

    name: str = setting(unit="folder name")
    """Name of the task."""
    labels: Annotated[tuple[str, ...], AsTuple] = setting(unit="list of words")
    """Answer of each class, in the order of the class indices."""
    instruction: str = setting(unit="text")
    """Question that the model is asked."""


class Download(_Chosen):
    """What a download is made from."""

    requested: str | None = setting(None, unit="branch, tag or commit", reruns=False)
    """Of the hub, the name under which the revision was first asked for."""

    def asked_as(self, requested: str | None) -> Self:
        """Return the settings with the name under which the revision was first asked for, if it is known."""
        return self.model_copy(update={"requested": requested})

    def at_revision(self, name: str) -> Self:
        """Return the settings with another revision of the hub."""
        return self.model_copy(update={"hub": self.hub.model_copy(update={"revision": name})})


class DataSettings(Download):
    """What decides the CSV files of a task."""

    source: Literal["simulated", "hub", "directory", "files"] = setting(unit="one of three words")
    """Where they come from."""
    task: str = setting(unit="name")
    """Name of the task."""
    own: bool = setting(False, unit="yes or no")
    """Whether the folder is the task's own, without a folder for each task in it."""
    simulated: SimulationSettings | None = setting(None, unit="map")
    """Settings of the simulator."""
    hub: HubData | None = setting(None, unit="map")
    """Repository."""
    directory: Folder | None = setting(None, unit="map")
    """Folder."""
    files: OwnData | None = setting(None, unit="map")
    """Files of the user's, and how they are split."""
    labels: Annotated[tuple[str, ...], AsTuple] | None = setting(None, unit="list of words")
    """Of the user's files, the answer of each class."""
    similarity: float | None = setting(None, unit="Jaccard index")
    """Of a split by clusters, `audit.similarity`."""


class ModelSettings(Download):
    """What decides a base model."""

    source: Literal["tiny", "hub", "directory"] = setting(unit="one of three words")
    """Where it comes from."""
    tiny: TinyModel | None = setting(None, unit="map")
    """Shape of the small Llama."""
    task: TaskSettings | None = setting(None, unit="map")
    """Of a small Llama with random weights, the task that its tokenizer is made for."""
    reported: Annotated[tuple[TaskSettings, ...], AsTuple] | None = setting(None, unit="list of maps")
    """Of a pretrained one, the tasks whose form it learns and whose test items it must not have seen."""
    similarity: float | None = setting(None, unit="Jaccard index")
    """Of a pretrained one, `audit.similarity`."""
    head: OtherHead = setting(None, unit="word")
    """Head of the model, if it is no causal language model, see `ModelEntry`."""
    hub: HubModel | None = setting(None, unit="map")
    """Repository."""
    directory: ModelFolder | None = setting(None, unit="map")
    """Folder."""
