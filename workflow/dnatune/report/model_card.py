"""A model card for each tuned model, in the format of the Hugging Face hub."""

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from dnatune.data.manifests import Manifest
from dnatune.data.prompt_form import PromptForm
from dnatune.evaluation.agreement import Merge
from dnatune.evaluation.metrics import Metrics
from dnatune.report.licences import Licence
from dnatune.training.record import Run

_WORDS = PromptForm()
#: Older version of transformers with which merged folders are tried: tests/unit/model/test_older_transformers.py.
TRIED_WITH = "4.57"
_EXAMPLE = "TATAAAGCGCGCGATTACAGGCAT"
#: Key in metrics.json → identifier and name of the metric on the hub.
_METRICS = {
    "mcc": ("matthews_correlation", "MCC"),
    "accuracy": ("accuracy", "accuracy"),
    "f1_macro": ("f1", "macro F1"),
    "auroc": ("roc_auc", "AUROC"),
}


#: With what else a merged folder was tried.
_ALONE = "No other version and no other program was tried."
_ELSEWHERE = f"""dnatune's tests read such folders with
transformers {TRIED_WITH} too, which gives the same token ids and logits; no other program was tried.
docs/merged-models.md of dnatune says how to go on to GGUF."""
#: How a model with a classification head is asked.
_HEAD = (
    "The model has a classification head with an output for each label, which its configuration names. It reads the "
    'sequence alone: `pipeline("text-classification", model=folder, top_k=None)("ACGT…")`.'
)
_HEAD_ALONE = (
    "The base model gets a classification head with an output for each label, which the adapter holds and its "
    "configuration names. It reads the sequence alone."
)


@dataclasses.dataclass(frozen=True)
class Place:
    """What lies beside a card, and where.

    Attributes:
        name: folder or repository of the model, for the program in the card.
        adapter: whether it is the adapter alone, and not the merged model.
        data: manifest.json of the task's data; None if it is not known.
    """

    name: str = "."
    adapter: bool = False
    data: Manifest | None = None


_MERGED = Place()


def model_card(
    record: Run,
    metrics: Metrics,
    merge: Merge,
    manifest: Manifest,
    form: PromptForm = _WORDS,
    licence: Licence | None = None,
    place: Place = _MERGED,
) -> str:
    """Return the card: front matter that the hub reads, and what made the model, in words.

    Of a diverged run there is no model, and the card says that.

    Args:
        record: run.json.
        metrics: metrics.json of the test split, of base + adapter.
        merge: merge.json of the merged model.
        manifest: manifest.json of the base model.
        form: of the prompts.
        licence: of the base model; None if it is not known.
        place: what the card is of.
    """
    if end := record.diverged:
        return (
            f"# {record.place}\n\nThere is no model: training diverged at step {end.step}, because {end.reason}. A "
            "lower learning rate may help.\n"
        )
    data = place.data if place.data and place.data.source == "hub" else None
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="DNA sequence classification",
            dataset_type=data.origin if data else record.task,
            dataset_name=record.task,
            dataset_revision=data.revision if data else None,
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(metrics.score(key), 6),
        )
        for key, (kind, name) in _METRICS.items()
        if metrics.score(key) is not None
    ]
    on_hub = {"base_model": manifest.origin, "base_model_relation": "adapter" if place.adapter else "finetune"}
    front = ModelCardData(
        library_name="peft" if place.adapter else "transformers",
        pipeline_tag="text-classification" if record.settings.get("head") else "text-generation",
        datasets=[data.origin] if data else None,
        tags=["dna", "genomics", "lora", "dnatune"],
        model_name=record.place,
        eval_results=results,
        **(licence.front_matter if licence else {}),
        **(on_hub if manifest.source == "hub" else {}),
    )
    text = _text(record, metrics, merge, manifest, form, place)
    return str(ModelCard(f"---\n{front.to_yaml()}\n---\n\n{text}"))


def _text(record: Run, metrics: Metrics, merge: Merge, manifest: Manifest, form: PromptForm, place: Place) -> str:
    settings, optimizer = record.settings, record.settings["optimizer"]
    # A card may be read by strangers, so of a folder only its name stands there.
    origin = PurePath(manifest.origin).name if manifest.source == "directory" else manifest.origin
    base = origin + (f", revision {manifest.revision}" if manifest.revision else "")
    rows = "\n".join(
        f"| {name} | {metrics.score(key):.3f} |"
        for key, (_, name) in _METRICS.items()
        if metrics.score(key) is not None
    )
    hyperparameters = ", ".join(f"{key} {value}" for key, value in optimizer["hyperparameters"].items())
    commit = record.software.git_commit or "not known"
    return f"""# {record.place}

{_kind(record, place)}

| | |
|---|---|
| base model | {base} ({manifest.source}) |
| optimizer | {optimizer["method"]} ({hyperparameters}) |
| seed | {record.seed} |
| steps | {record.steps}, {record.gradient_evaluations} gradient evaluations{_kept(record)} |
| batch | {record.global_batch_size} examples |
| LoRA | rank {settings["lora"]["rank"]}, alpha {settings["lora"]["alpha"]} |
{_stored(merge, place)}| digest of base model | `{record.inputs.model}` |
| digest of training split | `{record.inputs.train}` |
| dnatune | commit {commit}, code `{record.software.code}` |

## Use

{_use(record, manifest, form, place)}

## Evaluation

One seed, {metrics.n} items of the test split, scored with base + adapter in {merge.precision}. What the optimizer owes
to chance stands in the report of all seeds.

| metric | value |
|---|---|
{rows}

## Limits

Not for clinical use. The score holds for sequences like those of the benchmark; items of the test split that resemble
training sequences are listed in the audit of the data.
"""


def _kind(record: Run, place: Place) -> str:
    """Return what the model is, in one sentence."""
    if place.adapter:
        return (
            f"A LoRA adapter of a DNA language model, trained on `{record.task}` by dnatune. It needs its base model."
        )
    return f"A DNA language model, fine-tuned with LoRA on `{record.task}` by dnatune and merged into its base model."


def _use(record: Run, manifest: Manifest, form: PromptForm, place: Place) -> str:
    """Return how the model is used, and what it was tried with."""
    settings, versions = record.settings, record.software
    if settings.get("head"):
        how = _HEAD_ALONE if place.adapter else _HEAD
    else:
        how = _prompt(settings["task"], form, _loading(manifest, place))
    options = " --base BASE" if place.adapter else ""
    tried = f"Trained and written with transformers {versions.transformers}"
    if place.adapter:
        tried += f" and peft {versions.peft}. {_ALONE}"
    else:
        tried += f". {_ALONE if settings.get('head') else _ELSEWHERE}"
    return (
        f"{how}\n\n`python -m dnatune predict{options}` does it for files of sequences, regions and variants, and "
        f"calibrates the probabilities.\n\n{tried}"
    )


def _prompt(task: Mapping[str, Any], form: PromptForm, loading: str) -> str:
    """Return what the model is asked and how it answers, in words, and a program that does it."""
    asked = "The prompt is the sequence alone."
    if form.template == "instruction":
        asked = (
            "The model answers this instruction with one of its labels; the sequence stands below it:\n\n"
            f"> {task['instruction']}"
        )
    if any(form.wrapper):
        asked += f"\n\nRight before and behind the sequence stand `{form.wrapper[0]}` and `{form.wrapper[1]}`."
    if form.remainder != "keep":
        done = "filled up with A" if form.remainder.startswith("pad") else "trimmed"
        side = form.remainder.rpartition("_")[2]
        asked += f"\n\nThe sequence is {done} on the {side} to a multiple of {form.word_length} bases."
    if form.answers:
        pairs = zip(form.words(task["labels"]), task["labels"], strict=True)
        asked += "\n\nThe answers are tokens: " + ", ".join(f"`{token}` for {label}" for token, label in pairs) + "."
    return (
        f"{asked}\n\nScore each label's log-probability rather than parse generated text:\n\n"
        f"```python\n{_snippet(task, form, loading)}\n```"
    )


def _loading(manifest: Manifest, place: Place) -> str:
    """Return the lines of a program that load model and tokenizer."""
    if not place.adapter:
        return f'''import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "{place.name}"  # the merged model's
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder).eval()'''
    on_hub = manifest.source == "hub"
    base = f'"{manifest.origin}"' if on_hub else '"base"  # folder of the base model'
    revision = f', revision="{manifest.revision}"' if on_hub else ""
    return f'''import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "{place.name}"  # the adapter's
base = {base}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(base{revision})
if len(tokenizer) > model.get_input_embeddings().num_embeddings:
    model.resize_token_embeddings(len(tokenizer))
model = PeftModel.from_pretrained(model, folder).eval()'''


def _snippet(task: Mapping[str, Any], form: PromptForm, loading: str) -> str:
    """Return a program that scores the labels of one sequence with the libraries that it names alone."""
    example = _EXAMPLE[: len(_EXAMPLE) // (form.word_length or 1) * (form.word_length or 1)]
    before, behind = form.text(task["instruction"], example).split(example)
    answers = dict(zip(task["labels"], form.words(task["labels"]), strict=True))
    return f'''{loading}
sequence = "{example}"{"" if form.remainder == "keep" else f"  # its length: a multiple of {form.word_length}"}
prompt = tokenizer({before!r} + sequence + {behind!r}).input_ids
if prompt[-1] == tokenizer.eos_token_id:
    prompt = prompt[:-1]
for label, word in {answers!r}.items():
    answer = [*tokenizer(word, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
    print(label, logits.log_softmax(-1)[range(len(answer)), answer].sum().item())'''


def _kept(run: Run) -> str:
    return f"; the weights are those of step {run.kept_step}, the best on the dev split" if run.keeps_best else ""


def _stored(merge: Merge, place: Place) -> str:
    """Return a row on the merged weights' format and how they differ from what was trained; of an adapter none."""
    storage = merge.storage
    if place.adapter:
        return ""
    return (
        f"| merged weights | {storage.dtype}, which keeps {storage.update_kept:.3f} of the update with an error of "
        f"{storage.update_error:.3f}; {merge.sentence} |\n"
    )
