"""Predict new sequences with a model that was tuned: a merged one, or base + adapter.

By hand:  python -m dnatune predict --model results/demo/merge/tiny/prom_core_all/adamw/seed0
          --input sequences.fa --output predictions.tsv
"""

import argparse
import contextlib
import dataclasses
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnatune.commands import stage_parser
from dnatune.errors import ConfigurationError, ModelError
from dnatune.settings.prediction import Reading
from dnatune.settings.scoring import Evaluation

if TYPE_CHECKING:
    from dnatune.launch.process_group import Rank
    from dnatune.prediction.calibration import Calibration
    from dnatune.prediction.columns import Columns
    from dnatune.prediction.parts import Parts
    from dnatune.prediction.scorer import Scorer
    from dnatune.prediction.trained import Trained

#: Whole numbers among the options.
_COUNTS = ("width", "stride")


def main() -> None:
    """Parse the command line and predict."""
    options, reading, batch_size = _arguments()

    from dnatune.launch import process_group, run_lock
    from dnatune.prediction import columns, parts, sources
    from dnatune.prediction.trained import Trained

    trained = Trained.find(options.model, options.base)
    trained.refuse_other_task(options.task)
    labels = trained.task.labels
    source = sources.source_of(options.input, options.genome, reading)
    table = columns.Columns(source, labels, reading.strand, 1.0)
    table.refuse_clash()
    # Refused before the input is read, which may take minutes.
    reading.class_of(labels)
    rows = source.check()
    rank = process_group.join_scorers()
    job = Job(options, reading, trained, table, rows, batch_size, rank)
    kept = options.output[0].with_name(f"{options.output[0].name}.parts")
    # One writer at a time: a second start of the same prediction is refused.
    with run_lock.held(kept, patience=0) if rank.first else contextlib.nullcontext():
        job.run(parts.Parts(kept, job.conditions()))


def _arguments() -> tuple[argparse.Namespace, Reading, Any]:
    """Return the paths, how sequences are read, and the number of sequences per forward pass."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a merged model, or of a run with adapter/")
    parser.add_argument("--base", type=Path, help="base model of an adapter; default: that of the results folder")
    parser.add_argument("--task", help="task that the model must have been trained for")
    parser.add_argument("--dev", type=Path, help="records to fit the temperature to; default: those of the run's task")
    parser.add_argument("--input", type=Path, required=True, help="CSV, TSV, FASTA, BED or VCF, plain or gzip")
    parser.add_argument("--genome", type=Path, help="FASTA file that BED and VCF refer to, plain or bgzip")
    parser.add_argument("--output", type=Path, required=True, nargs="+", help=".tsv, .parquet or .bedgraph to write")
    for name, field in Reading.model_fields.items():
        key, kind = field.alias or name, int if name in _COUNTS else str
        said = " ".join(field.description.split())
        parser.add_argument(f"--{key}", dest=key, type=kind, help=said)
    parser.add_argument("--batch-size", default="auto", help="sequences per forward pass; default: auto")
    options = parser.parse_args()
    given = {field.alias or name: getattr(options, field.alias or name) for name, field in Reading.model_fields.items()}
    size = int(options.batch_size) if options.batch_size.isdecimal() else options.batch_size
    scoring = Evaluation.read({"batch_size": size}, noun="command line")
    reading = Reading.read(given, noun="command line")
    genome = options.genome and str(options.genome)
    if said := reading.misfit(str(options.input), genome, list(map(str, options.output))):
        key, what, fix = said
        raise ConfigurationError(what, where=f"--{key.removesuffix('s')}", fix=fix)
    return options, reading, scoring.batch_size


@dataclasses.dataclass(frozen=True)
class Job:
    """One call of the stage, checked.

    Attributes:
        options: the paths.
        reading: how sequences are read.
        trained: the model.
        columns: what to write, still without a temperature.
        rows: number of rows of the input.
        batch_size: sequences per forward pass.
        rank: this process.
    """

    options: argparse.Namespace
    reading: Reading
    trained: "Trained"
    columns: "Columns"
    rows: int
    batch_size: Any
    rank: "Rank"

    @property
    def dev(self) -> Path | None:
        """Return the dev split that the temperature is fitted to."""
        return self.options.dev or self.trained.dev

    def conditions(self) -> dict[str, Any]:
        """Return all that decides the predictions, for which parts of an earlier start may stand."""
        from dnatune.provenance import software
        from dnatune.training import engine

        files = {name: _stamp(getattr(self.options, name)) for name in ("input", "genome")}
        versions = software(Path(__file__).resolve())
        return {
            "model": self.trained.check_files(),
            "precision": engine.scoring_precision(self.trained.run.precision, self.rank.device),
            "dev": _stamp(self.dev),
            **files,
            "reading": self.reading.compared(),
            "software": {name: versions[name] for name in ("torch", "transformers", "code")},
        }

    def run(self, parts: "Parts") -> None:
        """Score what is not scored yet, and write the outputs."""
        from dnatune.launch import process_group
        from dnatune.model import scoring
        from dnatune.prediction import rows, run
        from dnatune.prediction.scorer import Scorer
        from dnatune.training import engine

        started, rank = time.perf_counter(), self.rank
        if rank.first:
            parts.begin()
            if agreement := self.trained.agreement:
                stored = f"the merged model, in {agreement.storage.dtype}, was compared on the test split"
                logging.warning(f"dnatune: {stored}: {agreement.sentence}")
        process_group.exchange(None, rank)
        precision = engine.scoring_precision(self.trained.run.precision, rank.device)
        loaded = self.trained.load(precision, rank.device)
        asked = (self.trained.task, self.trained.prompt, self.trained.most_tokens)
        scorer = Scorer(*loaded, *asked, self.batch_size, rank.device)
        calibration = self.calibrate(scorer, parts)
        columns = dataclasses.replace(self.columns, temperature=calibration.divisor)
        with scoring.progress(rows.rows_of_rank(self.rows, rank.index, rank.world), shown=rank.first) as bar:
            run.score(columns, scorer, parts, rank, bar.update)
        process_group.part(rank)
        if rank.first:
            self.write(columns, parts, calibration, precision, time.perf_counter() - started)

    def calibrate(self, scorer: "Scorer", parts: "Parts") -> "Calibration":
        """Return the temperature, which the first rank fits where no earlier start has; all ranks call this together.

        Raises:
            DataError: the dev split is missing or damaged.
            ModelError: it is one of another task.
        """
        from dnatune.launch import process_group
        from dnatune.prediction import calibration

        if self.rank.first and parts.calibration is None:
            parts.keep_calibration(
                self.fit(scorer, self.dev) if self.dev else calibration.without("there is no dev split")
            )
        process_group.exchange(None, self.rank)
        return parts.calibration

    def fit(self, scorer: "Scorer", path: Path) -> "Calibration":
        """Fit the temperature to a dev split."""
        import numpy as np

        from dnatune.data.records import read_split
        from dnatune.prediction import calibration

        task = self.trained.task
        dev = read_split(path, task.labels)
        if dev.instruction != task.instruction:
            raise ModelError(
                f"the dev split asks another question than the model of task {task.name!r} answers",
                where=str(path),
                fix="give by --dev results/<name>/prepare/<task>/dev.jsonl of the model's own task",
            )
        scores = scorer.log_probabilities(scorer.encode(dev.sequences))
        known = np.isfinite(scores).all(axis=1)
        return calibration.fit(scores[known], np.array(dev.labels)[known])

    def write(
        self, columns: "Columns", parts: "Parts", calibration: "Calibration", precision: str, seconds: float
    ) -> None:
        """Write the outputs, and beside each how it was made; then delete the parts."""
        from dnatune.prediction import outputs, record, sources
        from dnatune.provenance import software
        from dnatune.training.record import Software

        windows, task, run = sources.windows_of(self.reading), self.trained.task, self.trained.run
        reasons, agreement = parts.reasons(), self.trained.agreement
        for path in self.options.output:
            outputs.write(path, parts.read(), columns, windows, self.reading.class_of(task.labels))
            record.Prediction(
                model=run.place,
                merged=self.trained.base is None,
                largest_difference=agreement.largest_difference if agreement else None,
                digest_of_model=self.trained.check_files(),
                task=task.name,
                labels=list(task.labels),
                instruction=task.instruction,
                precision=precision,
                calibration=calibration,
                input=self.options.input.name,
                width=windows.width if windows else None,
                stride=windows.stride if windows else None,
                strand=self.reading.strand,
                rows=self.rows,
                not_scored=dict(reasons),
                seconds=seconds,
                software=Software(**software(Path(__file__).resolve())),
            ).write(path.with_name(f"{path.name}.json"))
        parts.remove()


def _stamp(path: Path | None) -> list[Any] | None:
    """Return where a file is, its size and its date, by which a change of it is seen; None without one."""
    if path is None:
        return None
    status = path.stat()
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]
