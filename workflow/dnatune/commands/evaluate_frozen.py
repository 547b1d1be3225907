"""Score the baseline `frozen` of a base model: on the dev split, which fits it, or with --test on the test split.

By hand:  python -m dnatune evaluate_frozen --experiment config/demo.yaml --task prom_core_all --name tiny --model base
          --train train.jsonl --dev dev.jsonl --folder frozen
"""

import functools
import time
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
    """Parse the command line and score."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--name", required=True, help="name of the base model")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--train", type=Path, help="records of the training split, to fit")
    parser.add_argument("--dev", type=Path, help="records of the dev split; goes with --train")
    parser.add_argument("--test", type=Path, help="records of the test split, to score with what was fitted")
    parser.add_argument("--folder", type=Path, required=True, help="folder of probe.npz, dev.json and the test scores")
    options = parser.parse_args()
    if (options.test is None) == (options.train is None) or (options.train is None) != (options.dev is None):
        parser.error("give either --train and --dev, or --test")
    settings = experiment.read(options.experiment).probe_settings(options.name, options.task)

    from dnatune.data.records import read_split
    from dnatune.evaluation import frozen, metrics
    from dnatune.evaluation.predictions import write_predictions

    labels, folder = settings.labels, options.folder
    states = reader(options.model, settings)
    started = time.perf_counter()
    if options.test:
        test = read_split(options.test, labels)
        scores = frozen.Probe.read(folder / "probe.npz").log_probabilities(states(test, options.test))
        write_predictions(folder / "predictions.tsv", test.labels, scores, len(labels))
        found = metrics.from_log_probabilities(test.labels, scores, time.perf_counter() - started)
        found.write_beside(folder / "predictions.tsv", folder / "metrics.json")
        return
    train, dev = (read_split(path, labels) for path in (options.train, options.dev))
    known = states(dev, options.dev)
    probe = frozen.fit(states(train, options.train), train.labels, known, dev.labels, len(labels))
    probe.write(folder / "probe.npz")
    scores = probe.log_probabilities(known)
    metrics.from_log_probabilities(dev.labels, scores, time.perf_counter() - started).write(folder / "dev.json")


def reader(folder: Path, settings: ProbeSettings) -> Callable[["Split", Path], "np.ndarray"]:
    """Return a function that computes the base model's mean hidden states of a split [examples, hidden size]."""
    from dnatune.data.prompts import encode_examples, encode_sequences
    from dnatune.launch.process_group import sees_gpu
    from dnatune.model import base_models, micro_batch, scoring
    from dnatune.model.classification import Head
    from dnatune.model.hidden_states import mean_hidden_states
    from dnatune.training import engine

    device = "cuda:0" if sees_gpu() else "cpu"
    tokenizer = base_models.load_tokenizer(folder)
    dtype = engine.dtype_of(engine.resolve_precision("auto", device))
    head = Head(settings.labels, 0) if settings.head else None
    model = base_models.load_model(folder, tokenizer, dtype, device, head).eval()

    def states(split: "Split", source: Path) -> "np.ndarray":
        encode = encode_sequences if settings.head else functools.partial(encode_examples, prompt=settings.prompt)
        examples = encode(tokenizer, split, settings.labels, settings.most_tokens, str(source))
        base_models.refuse_beyond_positions(model, [examples])
        size = micro_batch.scoring_batch(settings.batch_size, examples.longest_prompt, len(examples), device)
        with scoring.progress(len(examples)) as bar:
            return mean_hidden_states(model, examples, size, bar.update)

    return states
