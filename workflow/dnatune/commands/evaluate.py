"""Score what was trained, base + adapter, or a base model as it came, on a task's test split.

Of a run, the merged model is scored as well, and merge.json says how far it agrees with the trained one.

By hand:  python -m dnatune evaluate --experiment config/demo.yaml --task prom_core_all --model base
          --record run.json --merged merged --agreement merge.json --card README.md
          --test test.jsonl --predictions predictions.tsv --metrics metrics.json
"""

import argparse
import dataclasses
import functools
import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnatune.commands import stage_parser
from dnatune.errors import ConfigurationError, ModelError
from dnatune.files import publish_file
from dnatune.settings import experiment
from dnatune.settings.prompt import PromptSettings
from dnatune.settings.scoring import EvaluateSettings
from dnatune.training import record

if TYPE_CHECKING:
    import numpy as np

    from dnatune.data.records import Split
    from dnatune.evaluation.metrics import Metrics

#: Options that are given together, of a run.
_OF_A_RUN = ("record", "merged", "agreement")


def main() -> None:
    """Parse the command line and score; a diverged run has nothing to score."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model, with manifest.json")
    parser.add_argument("--name", help="name of the base model, where it is scored as it came")
    parser.add_argument("--record", type=Path, help="run.json of a run on that model, with the adapter beside it")
    parser.add_argument("--merged", type=Path, help="folder of the run's merged model")
    parser.add_argument("--agreement", type=Path, help="merge.json to write")
    parser.add_argument("--card", type=Path, help="card of the merged model to write, Markdown; goes with --record")
    parser.add_argument("--test", type=Path, required=True, help="records of the test split")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions.tsv to write")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json to write")
    options = parser.parse_args()
    if len({getattr(options, name) is None for name in _OF_A_RUN}) > 1:
        parser.error("--record, --merged and --agreement go together")
    if (options.record is None) == (options.name is None):
        # The name says in what form a model takes its prompts; a run says so itself.
        parser.error("give either --record, of a run, or --name, of a base model in the configuration")
    if options.card and not options.record:
        parser.error("--card needs --record")
    configuration = experiment.read(options.experiment)
    settings = configuration.evaluate_settings(options.task)

    from dnatune.evaluation import agreement, metrics
    from dnatune.evaluation.predictions import write_predictions
    from dnatune.launch import process_group

    first = process_group.is_first()
    run = record.Run.read(options.record) if options.record else None
    if run is None or not run.diverged:
        prompt = configuration.prompt_settings(options.name) if options.name else None
        evaluate(options, settings, run, run.typed_settings.prompt if run else prompt)
    elif first:
        write_predictions(options.predictions, [], [], len(settings.labels))
        metrics.diverged().write_beside(options.predictions, options.metrics)
        agreement.diverged().write(options.agreement)
    if first and options.card:
        write_card(options, run)


def write_card(options: argparse.Namespace, run: record.Run) -> None:
    """Write the card of the merged model from its run.json, its metrics and where its base model came from."""
    from dnatune.data.manifests import Manifest
    from dnatune.data.prompt_form import PromptForm
    from dnatune.evaluation.agreement import Merge
    from dnatune.evaluation.metrics import Metrics
    from dnatune.report.licences import Licence
    from dnatune.report.model_card import model_card

    form = PromptForm()
    if run.diverged is None:
        from dnatune.model.base_models import load_tokenizer

        form = PromptForm.of(load_tokenizer(record.adapter_of(options.record)), run.typed_settings.prompt)
    manifest = Manifest.read(options.model / "manifest.json")
    scores, agreement = Metrics.read(options.metrics), Merge.read(options.agreement)
    card = model_card(run, scores, agreement, manifest, form, Licence.of(options.model, manifest))
    with publish_file(options.card) as scratch:
        scratch.write_text(card, "utf-8")


def evaluate(
    options: argparse.Namespace, settings: EvaluateSettings, run: record.Run | None, prompt: PromptSettings | None
) -> None:
    """Score every test item and write the results; of a run, the merged model is scored too, and compared."""
    from dnatune.data.records import read_split
    from dnatune.evaluation import agreement
    from dnatune.launch import process_group
    from dnatune.model import base_models
    from dnatune.model.storage import Storage
    from dnatune.training import engine

    rank = process_group.join_scorers()
    asked = functools.partial(ask, settings=settings, prompt=prompt, rank=rank)
    test = read_split(options.test, settings.labels)
    precision = engine.scoring_precision(run.precision if run else settings.precision, rank.device)
    dtype = engine.dtype_of(precision)
    folders = [options.model]
    if rank.first:
        check_inputs(options, run)
    if run is None:
        own = [asked(*base_models.load_whole(options.model, dtype, rank.device), test, options.test)]
    else:
        adapter = record.adapter_of(options.record)
        folders = [adapter, options.merged]
        trained = base_models.load_adapter(options.model, adapter, dtype, rank.device)
        own = [asked(*trained, test, options.test)]
        del trained
        # Two models at once may be more than the memory holds, and circles of references keep the first one alive.
        gc.collect()
        own.append(asked(*base_models.load_whole(options.merged, dtype, rank.device), test, options.test))
    indices = [number * len(test) + item for number, (items, *_) in enumerate(own) for item in items]
    gathered = process_group.gather(indices, [result for _, results, _ in own for result in results], rank)
    if gathered is None:
        return
    scored = [
        Answers.of(gathered[number * len(test) :][: len(test)], test, settings, seconds, folder)
        for number, ((*_, seconds), folder) in enumerate(zip(own, folders, strict=True))
    ]
    if run is not None:
        trained, merged = scored
        scores = None if trained.texts else (trained.scores, merged.scores)
        storage = Storage.read(options.merged / "storage.json")
        answers = (trained.predicted, merged.predicted)
        found = agreement.compare(precision, storage, options.merged, *answers, scores, merged.metrics)
        found.write(options.agreement)
    scored[0].write(options, test)


def check_inputs(options: argparse.Namespace, run: record.Run | None) -> None:
    """Check that the models to score are those that were made.

    Raises:
        DataError: a file is missing or has changed.
    """
    from dnatune.data.integrity import check_model

    check_model(options.model)
    if run is not None:
        run.check_outputs(options.record)
        check_model(options.merged)


def ask(
    model: Any,
    tokenizer: Any,
    test: "Split",
    source: Path,
    settings: EvaluateSettings,
    prompt: PromptSettings | None,
    rank: Any,
) -> tuple[list[int], Sequence[Any], float]:
    """Return this rank's items, a result for each (log-probabilities of the labels or a text), and the seconds it took.

    Args:
        model: the model, on the rank's device.
        tokenizer: its tokenizer.
        test: the test split.
        source: file that the split came from.
        settings: how to score.
        prompt: what is configured of the prompts' form.
        rank: this process.

    Raises:
        ConfigurationError: free decoding is asked for, and the answers are tokens and no words.
    """
    from dnatune.data.prompt_form import PromptForm
    from dnatune.data.prompts import encode_examples, encode_sequences
    from dnatune.launch import process_group
    from dnatune.model import base_models, classification, label_likelihood, micro_batch, scoring
    from dnatune.model.shared_prefix import exactness

    causal = base_models.causal_model(model)
    with_prompts = functools.partial(encode_examples, prompt=prompt)
    encode = encode_sequences if classification.classifies(causal) else with_prompts
    generated = settings.max_new_tokens if settings.mode == "generate" else None
    if generated and PromptForm.of(tokenizer, prompt).answers:
        raise ConfigurationError(
            "free decoding looks for the labels' words, and this model answers with tokens that stand for classes",
            where="config key 'evaluation.mode'",
            fix="choose the mode labels",
        )
    examples = encode(tokenizer, test, settings.labels, settings.most_tokens, str(source), rank)
    base_models.refuse_beyond_positions(model, [examples], generated)
    model.eval()
    alone = generated is None and exactness.shared_rows(causal, [examples])
    # One answer for all ranks, for their devices may round differently, and the items of each follow from it.
    shared = all(process_group.exchange(alone, rank))
    tokens = examples.longest_prompt + generated if generated else scoring.scored_tokens(examples, shared)
    size = micro_batch.scoring_batch(settings.batch_size, tokens, -(-len(test) // rank.world), rank.device)
    own = process_group.own_indices(len(test), size, rank)
    started = time.perf_counter()
    with scoring.progress(len(own), shown=rank.first) as bar:
        if generated:
            some = examples.subset(own)
            results = scoring.generate_texts(model, tokenizer, some, size, generated, bar.update)
        else:
            likelihood = label_likelihood.LabelLikelihood(model)
            results = scoring.label_log_probabilities(likelihood, examples, own, size, shared, rank.device, bar.update)
    return own, results, time.perf_counter() - started


@dataclasses.dataclass(frozen=True)
class Answers:
    """One model's answers to all test items.

    Attributes:
        predicted: class of each item; None where a text is no label.
        scores: log-probabilities [items, classes]; None if text was generated.
        texts: generated texts; None otherwise.
        metrics: what the answers are worth.
    """

    predicted: list[int | None]
    scores: "np.ndarray | None"
    texts: Sequence[str] | None
    metrics: "Metrics"

    @classmethod
    def of(
        cls, results: Sequence[Any], test: "Split", settings: EvaluateSettings, seconds: float, folder: Path
    ) -> "Answers":
        """Return the answers behind the results of `ask`, in the order of the items.

        Raises:
            ModelError: the model in the folder gives no number for a label.
        """
        import numpy as np

        from dnatune.evaluation import metrics
        from dnatune.model import scoring

        if settings.mode == "generate":
            parsed = [scoring.parse_label(text, settings.labels) for text in results]
            found = metrics.from_predictions(test.labels, parsed, len(settings.labels), seconds)
            return cls(parsed, None, results, found)
        scores = np.array(results)
        if not np.isfinite(scores).all():
            raise ModelError(
                "the model gives a label a log-probability that is not finite",
                where=str(folder),
                fix="see that its weights are finite; with training.precision fp16, take bf16 or fp32",
            )
        return cls(
            scores.argmax(axis=1).tolist(), scores, None, metrics.from_log_probabilities(test.labels, scores, seconds)
        )

    def write(self, options: argparse.Namespace, test: "Split") -> None:
        """Write predictions.tsv and metrics.json."""
        from dnatune.evaluation.predictions import write_generated, write_predictions

        if self.texts is None:
            write_predictions(options.predictions, test.labels, self.scores, self.scores.shape[1])
        else:
            write_generated(options.predictions, test.labels, self.predicted, self.texts)
        self.metrics.write_beside(options.predictions, options.metrics)
