"""Time the original recipe, common practice, peers and dnatune's own recipe on this machine, in one process.

By hand:  python -m dnatune launch --ranks 1 benchmark --experiment config/benchmark.yaml …
"""

import logging
import os
import sys
import warnings
from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.files import publish_file, write_json
from dnatune.settings import experiment


def main() -> None:
    """Parse the command line, measure, print the tables."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--train", type=Path, required=True, help="records of the training split")
    parser.add_argument("--test", type=Path, required=True, help="records of the test split")
    parser.add_argument("--result", type=Path, required=True, help="benchmark.json to write")
    parser.add_argument("--figure", type=Path, required=True, help="figure to write, SVG")
    options = parser.parse_args()
    settings = experiment.read(options.experiment).benchmark_settings()
    # A peer would report its use to its makers.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

    from dnatune.launch.process_group import join

    rank = join(settings.training.ddp_timeout)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)

    from torch import distributed

    from dnatune import benchmark
    from dnatune.benchmark import tables
    from dnatune.data.prompts import encode_examples
    from dnatune.data.records import read_split
    from dnatune.model import base_models
    from dnatune.provenance import software

    own, task, length = settings.benchmark, settings.task, settings.training.most_tokens
    labels, tokenizer = task.labels, base_models.load_tokenizer(options.tokenizer)
    train, test = (
        encode_examples(tokenizer, read_split(path, labels).first(count), labels, length, str(path))
        for path, count in ((options.train, own.examples), (options.test, own.scoring_examples))
    )
    bench = benchmark.Bench(settings, rank, tokenizer, train, test)
    result = {**benchmark.run(bench), "software": software(Path(__file__).resolve())}
    # Printed first: a measurement whose figure cannot be drawn still leaves its tables.
    print(tables.table(result), flush=True)
    write_json(options.result, result)
    with publish_file(options.figure) as scratch:
        scratch.write_text(tables.figure(result), "utf-8")
    distributed.destroy_process_group()
