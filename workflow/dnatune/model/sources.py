"""Base models from any source: a tiny model is made, other models are checked; each gets a folder with a manifest."""

import functools
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnatune.data.manifests import write_manifest
from dnatune.errors import DataError, ModelError
from dnatune.files import is_lfs_pointer, leads_out, publish_folder
from dnatune.model import store
from dnatune.settings.benchmark import Benchmark
from dnatune.settings.sources import ModelSettings, OtherHead, TaskSettings, TinyModel

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

_START, _END = "<s>", "</s>"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def download_model(settings: ModelSettings, train: Path | None, folder: Path) -> None:
    """Write a base model, its tokenizer and manifest.json into `folder`; after an error nothing is left there.

    Args:
        settings: what decides the model.
        train: training split from which the tokenizer of a `tiny` model is trained.
        folder: download/models/<model>.

    Raises:
        ModelError: the configured folder holds no model that can be loaded safely.
        DownloadError: the hub cannot be reached or does not have the model.
    """
    if settings.hub:
        from dnatune.data.hub import fetch_model
        from dnatune.model.supported import refuse_unsupported

        hub, requested = settings.hub, settings.requested
        before, check = (functools.partial(one, head=settings.head) for one in (refuse_unsupported, check_weights))
        fetch_model(hub.repo, hub.revision, folder, requested=requested, check_before=before, check=check)
        return
    contents = None
    with publish_folder(folder) as scratch:
        if settings.directory:
            origin, made_by = settings.directory.path, {}
            source = Path(origin).expanduser()
            names = checked_files(source, settings.head)
            if settings.directory.link:
                contents, made_by["store"] = store.link(source, names, scratch)
            else:
                for name in names:
                    shutil.copyfile(source / name, scratch / name)
        else:
            made_by = {**settings.tiny.plain(), "task": settings.task.plain()}
            origin = "dnatune.model.sources.make_tiny"
            if train is None:
                raise DataError("a tiny model needs a training split", where="--train", fix="give the CSV file")
            _make_tiny(settings.tiny, settings.task, train, scratch)
        write_manifest(scratch, settings.source, origin, made_by, contents=contents)


def _make_tiny(tiny: TinyModel, task: TaskSettings, train: Path, folder: Path) -> None:
    from dnatune.data.prompts import render
    from dnatune.data.records import read_csv
    from dnatune.settings.tasks import Task

    prompt = render(task.instruction, "")
    sequences = read_csv(train, Task(task.name, task.labels, task.instruction)).sequences
    make_tiny(tiny, sequences, [prompt + label for label in task.labels], folder)


def write_pretrained(
    settings: ModelSettings, candidates: Mapping[str, Sequence[str]], tests: Mapping[str, Sequence[str]], folder: Path
) -> None:
    """Write a tiny model that was trained on DNA, its tokenizer, pretraining.json and manifest.json, or nothing.

    Args:
        settings: what decides the model.
        candidates: training sequences by task.
        tests: test sequences by reported task.
        folder: download/models/<model>.

    Raises:
        DataError: see `pretraining.choose_sequences`.
    """
    from dnatune.launch.process_group import sees_gpu
    from dnatune.model import pretraining

    tiny, reported, similarity = settings.tiny, settings.reported, settings.similarity
    most = tiny.pretrain.sequences
    sequences, left_out = pretraining.choose_sequences(candidates, tests, most, tiny.seed, similarity)
    with publish_folder(folder) as scratch:
        model, tokenizer = _random_model(tiny, sequences, pretraining.forms(reported))
        started = time.perf_counter()
        losses = pretraining.pretrain(model, tokenizer, sequences, reported, tiny, "cuda:0" if sees_gpu() else "cpu")
        record = pretraining.PretrainingRecord(
            tasks=list(candidates),
            sequences=len(sequences),
            left_out=left_out,
            related_test_items=pretraining.related_items(sequences, tests, similarity),
            steps=len(losses),
            loss=pretraining.final_loss(losses),
            seconds=time.perf_counter() - started,
        )
        _save(model, tokenizer, scratch)
        record.write(scratch / "pretraining.json")
        made_by = {**tiny.plain(), "reported": [task.plain() for task in reported]}
        write_manifest(scratch, settings.source, "dnatune.model.pretraining.pretrain", made_by)


def make_tiny(tiny: TinyModel, sequences: Sequence[str], prompts: Iterable[str], folder: Path) -> None:
    """Write a small Llama with random weights and a BPE tokenizer trained on the data.

    Args:
        tiny: its settings.
        sequences: DNA of the training split.
        prompts: texts of the prompt template, so that each of its words becomes one token.
        folder: existing folder to write into.
    """
    _save(*_random_model(tiny, sequences, prompts), folder)


def _random_model(
    tiny: TinyModel, sequences: Sequence[str], prompts: Iterable[str]
) -> "tuple[LlamaForCausalLM, PreTrainedTokenizerFast]":
    import torch
    from transformers import LlamaForCausalLM

    tokenizer = train_tokenizer(sequences, prompts, tiny.vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tiny.seed)
        return LlamaForCausalLM(llama_configuration(tiny, tokenizer, tiny.tied_embeddings)), tokenizer


def _save(model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    from transformers.utils import logging

    # Progress bars for saving a file are useless in a log file.
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def llama_configuration(
    shape: TinyModel | Benchmark, tokenizer: "PreTrainedTokenizerBase", tied_embeddings: bool = False
) -> "LlamaConfig":
    """Return the configuration of a Llama of one's own size for a tokenizer."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=tied_embeddings,
    )


def train_tokenizer(sequences: Sequence[str], prompts: Iterable[str], vocabulary: int) -> "PreTrainedTokenizerFast":
    """Train a byte-level BPE tokenizer (Sennrich et al. 2016, arXiv 1508.07909) on DNA and the prompt's words.

    Any text can be encoded, because the alphabet is bytes. The prompts are repeated until their words are more frequent
    than any DNA piece, so each word merges into one token before the rest of the vocabulary is learned from DNA.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_START, _END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    letters = sum(map(len, sequences))
    corpus = [*sequences, *(text for text in prompts for _ in range(max(1, letters // 500)))]
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A", special_tokens=[(_START, tokenizer.token_to_id(_START))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=_START, eos_token=_END)


def check_folder(folder: Path) -> None:
    """Check that a folder holds a model that can be loaded safely.

    Raises:
        ModelError: the folder, config.json, the tokenizer or safetensors weights are missing, or a file is a git-lfs
            pointer.
    """
    if not folder.is_dir():
        raise ModelError(
            "the model folder does not exist", where=str(folder.absolute()), fix="check 'models.<name>.directory.path'"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(
            "the folder has no config.json, so it is not a model folder",
            where=str(folder.absolute()),
            fix="give the folder that holds config.json",
        )
    from dnatune.model import dna_tokenizers

    if not (any((folder / name).is_file() for name in _TOKENIZERS) or dna_tokenizers.is_known(folder)):
        raise ModelError(
            "the model folder has no tokenizer",
            where=str(folder.absolute()),
            fix=f"add the model's tokenizer files (one of {', '.join(_TOKENIZERS)} and tokenizer_config.json)",
        )
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise ModelError(
            "the model folder has no safetensors weights",
            where=str(folder.absolute()),
            fix="convert pickled weights (*.bin, *.pt) with transformers' save_pretrained, if you trust them; dnatune "
            "never loads a pickle, because that can run any code",
        )
    pointers = [file.name for file in sorted(folder.iterdir()) if file.is_file() and is_lfs_pointer(file)]
    if pointers:
        raise ModelError(
            f"git-lfs pointers instead of files: {', '.join(pointers)}",
            where=str(folder.absolute()),
            fix="run `git lfs pull` in that repository",
        )


def check_weights(folder: Path, head: OtherHead = None) -> None:
    """Check the headers of a model's weights against its architecture.

    Args:
        folder: of the model.
        head: what it is to have; the number of its classes follows from a task and does not matter here.

    Raises:
        ModelError: tensors are missing or have another shape, or a file that the index names is missing.
    """
    from dnatune.model.architecture import Architecture
    from dnatune.model.classification import Head

    Architecture(folder, Head(("0", "1"), 0) if head else None).check()


def checked_files(source: Path, head: OtherHead = None) -> list[str]:
    """Check a model folder; return the files that are also taken from the hub: no adapter, no second weights.

    Raises:
        ModelError: the folder holds no model that can be loaded safely.
    """
    from dnatune.data.hub.selection import INDEX, model_files, shards_of
    from dnatune.model.dna_tokenizers import is_known
    from dnatune.model.supported import refuse_unsupported

    check_folder(source)
    refuse_unsupported(source, head)
    available = [file.name for file in source.iterdir() if file.is_file()]
    names = model_files(available, vocabulary_needed=not is_known(source))
    shards = shards_of(source / INDEX, available) if INDEX in names else []
    outside = [name for name in [*names, *shards] if leads_out(source / name, source)]
    if outside:
        raise ModelError(
            f"symbolic links lead out of the model folder: {', '.join(outside)}",
            where=str(source.absolute()),
            fix="put the files themselves there; a model may not bring in other files of yours, which merged models "
            "would then hold",
        )
    check_weights(source, head)
    return [*names, *shards]
