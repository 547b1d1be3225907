"""Look for signs that a base model has seen a task's test split before.

By hand:  python -m dnatune probe --experiment config/demo.yaml --task prom_core_all --name tiny --model base
          --train train.jsonl --dev dev.jsonl --test test.jsonl --result contamination.json
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dnatune.commands import stage_parser
from dnatune.settings import experiment
from dnatune.settings.scoring import ProbeSettings

if TYPE_CHECKING:
    import numpy as np

    from dnatune.data.records import Split


def main() -> None:
    """Parse the command line and measure."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--name", required=True, help="name of the base model")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--train", type=Path, required=True, help="records of the training split, for the control")
    parser.add_argument("--dev", type=Path, required=True, help="records of the dev split")
    parser.add_argument("--test", type=Path, required=True, help="records of the test split")
    parser.add_argument("--manifest", type=Path, help="SHA-256 of earlier training sequences, one per line")
    parser.add_argument("--result", type=Path, required=True, help="contamination.json to write")
    options = parser.parse_args()
    settings = experiment.read(options.experiment).probe_settings(options.name, options.task)

    from dnatune.data.records import read_split
    from dnatune.evaluation import contamination, earlier_training, questions

    labels = settings.labels
    train, dev, test = (read_split(path, labels) for path in (options.train, options.dev, options.test))
    manifest = earlier_training.read_manifest(options.manifest) if options.manifest else None
    asked = questions.prepare(train, dev, test, len(labels), settings.items)
    found = contamination.measure(
        asked,
        contamination.Answers.to(asked, base_scorer(options.model, settings)),
        model=settings.model,
        task=settings.task,
        manifest_items=None if manifest is None else len(manifest),
        in_manifest=[] if manifest is None else earlier_training.in_manifest(test.sequences, manifest),
    )
    found.write(options.result)


def base_scorer(folder: Path, settings: ProbeSettings) -> Callable[["Split"], "np.ndarray"]:
    """Return a function that computes the log-probability of each label for a split [examples, labels]."""
    from dnatune.data.integrity import check_model
    from dnatune.data.prompts import encode_examples
    from dnatune.launch.process_group import sees_gpu
    from dnatune.model import base_models, label_likelihood, micro_batch, scoring
    from dnatune.model.shared_prefix import exactness
    from dnatune.training import engine

    check_model(folder)
    device = "cuda:0" if sees_gpu() else "cpu"
    tokenizer = base_models.load_tokenizer(folder)
    dtype = engine.dtype_of(engine.resolve_precision("auto", device))
    model = base_models.load_model(folder, tokenizer, dtype, device).eval()

    def score(split: "Split") -> "np.ndarray":
        labels, length = settings.labels, settings.most_tokens
        examples = encode_examples(tokenizer, split, labels, length, "a probe", prompt=settings.prompt)
        base_models.refuse_beyond_positions(model, [examples])
        shared, items = exactness.shared_rows(model, [examples]), range(len(examples))
        tokens = scoring.scored_tokens(examples, shared)
        size = micro_batch.scoring_batch(settings.batch_size, tokens, len(items), device)
        likelihood = label_likelihood.LabelLikelihood(model)
        with scoring.progress(len(items)) as bar:
            return scoring.label_log_probabilities(likelihood, examples, items, size, shared, device, bar.update)

    return score
