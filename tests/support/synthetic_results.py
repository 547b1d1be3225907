"""A results folder as the stages before `compare` leave it, made from random numbers in place of models."""

import itertools
import zlib
from pathlib import Path

import numpy as np

from dnatune.comparison import plan
from dnatune.comparison.controls import choose_control
from dnatune.data.leakage import Audit, Relatives
from dnatune.data.manifests import Manifest
from dnatune.evaluation import agreement, metrics
from dnatune.evaluation.predictions import write_generated, write_predictions
from dnatune.files import write_json, write_json_lines
from dnatune.settings.scoring import ComparedTask, CompareSettings, Comparison
from merge_records import merge_record
from run_records import run_record, software

PROMOTERS = {
    "name": "prom_core_all",
    "labels": ["Non-promoter", "promoter"],
    "instruction": "Is it one?",
    "metric": "mcc",
}
SPLICE = {
    "name": "splice",
    "labels": ["Non-Splice Sites", "Acceptor Sites", "Donor Sites"],
    "instruction": "Which is it?",
    "metric": "f1_macro",
}


class Results:
    """Folders of runs and baselines below `root`, added one by one.

    Args:
        root: folder to fill.
        tasks: tasks as in the settings of the script.
        items: test items of every task.
        rare: by task, how many of its test items are of class 1, all others being of class 0; a task that is not named
            has many items of each class.
    """

    def __init__(self, root: Path, tasks=(PROMOTERS,), items: int = 600, simulated: bool = False, rare=None):
        self.root, self.items, self.rare = root, items, rare or {}
        self.settings = CompareSettings(
            name="synthetic",
            tasks=tuple(map(ComparedTask.read, tasks)),
            simulated=simulated,
            comparison=Comparison(),
        )
        self.tasks = self.settings.tasks_by_name
        self.evaluations, self.run_records, self.logs, self.baselines = [], [], [], []
        self.models: list[Path] = []
        self.data = [self.add_origin("data", task["name"], "simulated", "dnatune.data.simulation") for task in tasks]
        self.records = [self._records(task) for task in tasks]
        self.audits = [self.add_audit(task["name"]) for task in tasks]

    def add_run(
        self, optimizer, seed=0, *, task="prom_core_all", model="tiny", skill=1.0, steps=60, stages=1, batch=128,
        code="aaaa", diverged_at=None, generate=False, dev=True, learning_rate=1e-3, constant=False,
        gpu=False, update_kept=1.0, head=None,
    ):  # fmt: skip
        """Write one run; `skill` is how far the right class is lifted, in nats; `constant` answers class 0 always."""
        place = f"{model}/{task}/{optimizer}/seed{seed}"
        evaluation, finetuned = self.root / "evaluate" / place, self.root / "finetune" / place
        self.evaluations.append(evaluation)
        self.run_records.append(finetuned / "run.json")
        self.logs.append(finetuned / "training.jsonl")
        if self.root / "download" / "models" / model not in self.models:
            self.models.append(self.add_origin("models", model, "tiny", "dnatune.model.sources.make_tiny").parent)
        rng = np.random.default_rng([zlib.crc32(place.encode()), seed])
        done = diverged_at or steps
        write_json_lines(self.logs[-1], curve(rng, done, stages, skill, diverged_at is not None, dev))
        end = {"step": done, "loss": None, "gradient_norm": 81234.5, "reason": "the loss is not finite"}
        record = run_record(
            optimizer,
            diverged=end if diverged_at else None,
            model=model,
            task=task,
            seed=seed,
            settings={
                "model": model,
                "task": {
                    key: value
                    for key, value in vars(self.tasks[task]).items()
                    if key in ("name", "labels", "instruction")
                },
                "seed": seed,
                "optimizer": {
                    "name": optimizer,
                    "method": optimizer,
                    "hyperparameters": {"learning_rate": learning_rate},
                },
                "budget": {"epochs": 1},
                "lora": {"rank": 8, "alpha": 32, "target_modules": ["q_proj", "v_proj"]},
                "training": {"global_batch_size": batch, "precision": "auto", "deepspeed": {}, "packing": True},
                **({"head": head} if head else {}),
            },
            steps=done,
            gradient_evaluations=done * stages,
            global_batch_size=batch,
            wall_seconds=0.7 * done * stages + seed,
            gpu_seconds=2 * (0.7 * done * stages + seed) if gpu else 0.0,
            final_loss=None if diverged_at else 0.42 - 0.01 * skill,
            inputs={"model": "0123456789abcdef", "train": f"{zlib.crc32(task.encode()):064x}"},
            software=software(code),
        )
        record.write(self.run_records[-1])
        if diverged_at:
            write_predictions(evaluation / "predictions.tsv", [], [], len(self.tasks[task].labels))
            metrics.diverged().write_beside(evaluation / "predictions.tsv", evaluation / "metrics.json")
            agreement.diverged().write(evaluation / "merge.json")
        else:
            self._score(evaluation, task, rng, skill, generate, constant)
            merge_record(self.items, update_kept).write(evaluation / "merge.json")

    def add_audit(self, task="prom_core_all", leaked=(), twins=(2, 5)):
        """Write a task's audit; `leaked` are test rows that are in train, `twins` those with a twin there."""
        path = self.root / "prepare" / task / "audit.json"
        none = {kind: [] for kind in Relatives.model_fields}
        found = {**none, "copies": list(leaked), "near_copies": list(leaked), "twins": list(twins)}
        report = {
            "rows": {"train": 4800, "dev": self.items, "test": self.items},
            "repeats": {"train": 14, "dev": 0, "test": 0},
            "contradicting": 6,
            "shared": {"dev": {"train": none}, "test": {"train": found, "dev": none}},
            "similarity": 0.5,
            "near_copies_withheld": None,
            "twins": {"pairs": 3, "opposite": 2 / 3},
            "on_leak": "report",
            "relatives": [],
            "dropped": {"train": 0, "dev": 0},
            "resplit": None,
            "related": {"twins": list(twins), "shared_words": []},
            "leaked": {"dev": [], "test": list(leaked)},
            "classes": {split: self._class_counts(task) for split in ("train", "dev", "test")},
        }
        Audit(**report).write(path)
        return path

    def add_origin(self, kind, name, source, origin, requested=None, revision=None, split=None):
        """Write the manifest of a base model or a task's data; `kind` is `models` or `data`."""
        path = self.root / "download" / kind / name / "manifest.json"
        files = {"config.json" if kind == "models" else "train.csv": f"{zlib.crc32(name.encode()):064x}"}
        Manifest(
            source=source,
            origin=origin,
            requested=requested,
            revision=revision,
            settings={},
            split=split,
            files=files,
            large={},
        ).write(path)
        return path

    def configuration(self):
        """Return the configuration that the manifests belong to."""
        models = {folder.name: self._configured(Manifest.read(folder / "manifest.json")) for folder in self.models}
        data = {"directory": {"path": "/data"}}
        for manifest in map(Manifest.read, self.data):
            # Files of a user's own stand in `tasks`.
            data |= self._configured(manifest) if manifest.source != "files" else {}
        data["source"] = "simulated" if self.settings.simulated else "hub" if "hub" in data else "directory"
        # Simulated data have two classes.
        plain = self.settings.plain()
        tasks = [task if len(task["labels"]) == 2 else {**task, "path": "/data/own"} for task in plain["tasks"]]
        optimizers = {record.parent.parent.name: {"method": "sgd", "learning_rate": 0.1} for record in self.run_records}
        own = {"name": plain["name"], "comparison": plain["comparison"]}
        return {**own, "models": models, "data": data, "tasks": tasks, "optimizers": optimizers}

    def _configured(self, manifest):
        source = manifest.source
        own = {"hub": {"repo": manifest.origin}, "directory": {"path": manifest.origin}}
        return {"source": source, source: own.get(source, {})}

    def _class_counts(self, task):
        labels = self.tasks[task].labels
        return dict(zip(labels, np.bincount(self.truth(task), minlength=len(labels)).tolist(), strict=True))

    def add_baseline(self, name, skill, task="prom_core_all"):
        """Write one baseline."""
        folder = self.root / "evaluate" / "baselines" / task / name
        self.baselines.append(folder)
        self._score(folder, task, np.random.default_rng(zlib.crc32(name.encode())), skill, False)
        (folder / "dev.json").write_bytes((folder / "metrics.json").read_bytes())

    def add_baseline_that_does_not_apply(self, name, reason, task="prom_core_all"):
        """Write one baseline that does not suit the data of the task."""
        folder = self.root / "evaluate" / "baselines" / task / name
        self.baselines.append(folder)
        write_predictions(folder / "predictions.tsv", [], [], len(self.tasks[task].labels))
        for file in ("dev.json", "metrics.json"):
            metrics.not_applicable(reason).write(folder / file)

    def _score(self, folder, task, rng, skill, generate, constant=False):
        classes = len(self.tasks[task].labels)
        truth = self.truth(task)
        odds = rng.normal(size=(self.items, classes)) + skill * np.eye(classes)[truth]
        if constant:
            odds[:, 0] = odds.max() + 1
        scores = odds - np.log(np.exp(odds).sum(axis=1, keepdims=True)) - 1e-4
        if generate:
            guesses = [None if i % 7 == 0 else int(row.argmax()) for i, row in enumerate(scores)]
            texts = ['dnon-"promoter\tx' if guess is None else str(guess) for guess in guesses]
            write_generated(folder / "predictions.tsv", truth.tolist(), guesses, texts)
            result = metrics.from_predictions(truth.tolist(), guesses, classes, seconds=1.5)
        else:
            write_predictions(folder / "predictions.tsv", truth.tolist(), scores, classes)
            result = metrics.from_log_probabilities(truth.tolist(), scores, seconds=1.5)
        result.write_beside(folder / "predictions.tsv", folder / "metrics.json")

    def _records(self, task):
        """Write the test split of a task: sequences of 40 bp whose GC content varies."""
        path, rng = self.root / "prepare" / task["name"] / "test.jsonl", np.random.default_rng(1)
        rows = []
        for label in self.truth(task["name"]):
            gc = rng.uniform(0.2, 0.8)
            letters = rng.choice(list("ACGT"), size=40, p=[(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2])
            rows.append(
                {"instruction": task["instruction"], "input": "".join(letters), "output": task["labels"][label]}
            )
        write_json_lines(path, rows)
        return path

    def truth(self, task):
        """Return the class of every test item, the same for all runs and baselines of a task."""
        if task in self.rare:
            return (np.arange(self.items) < self.rare[task]).astype(int)
        classes = len(self.tasks[task].labels)
        return np.random.default_rng(zlib.crc32(task.encode())).integers(classes, size=self.items)

    def plans(self, reference: str | None = None) -> list[Path]:
        """Write the plan of every model and task, as of a time when no test score existed; return the files."""
        files = []
        for model, task in itertools.product((folder.name for folder in self.models), self.tasks.values()):
            own = [folder for folder in self.baselines if folder.parent.name == task.name and folder.name != "bayes"]
            scores = {folder.name: metrics.Metrics.read(folder / "dev.json").score(task.metric) for folder in own}
            content = plan.Content(
                metric=task.metric,
                reference=reference,
                level=0.95,
                equivalence_margin=0.01,
                seeds=[0],
                optimizers={},
                lora={},
                tuning=None,
                dev_scores=scores,
                control=choose_control(scores, task.metric),
            )
            files.append(self.root / "plan" / model / task.name / "plan.json")
            plan.revise(files[-1], model, task.name, content, 0)
        return files

    def arguments(self, out: Path) -> list[str]:
        """Return the script's command line, outputs in `out`."""
        write_json(self.root / "experiment.json", self.configuration())
        return [
            *("--experiment", str(self.root / "experiment.json"), "--results", str(self.root)),
            # Nothing was asked of the base models, and no rate was searched for.
            *("--zero-shots", "--choices"),
            *("--runs", *map(str, self.evaluations)),
            *("--records", *map(str, self.run_records)),
            *("--logs", *map(str, self.logs)),
            *("--audits", *map(str, self.audits)),
            *("--test-records", *map(str, self.records)),
            *("--models", *map(str, self.models)),
            *("--data", *map(str, self.data)),
            *("--baselines", *map(str, self.baselines)),
            *("--plans", *map(str, self.plans())),
            *("--comparison", str(out / "compare" / "comparison.tsv")),
            *("--tests", str(out / "compare" / "tests.tsv")),
            *("--segments", str(out / "compare" / "segments.tsv")),
            *("--configuration-file", str(out / "compare" / "configuration.yaml")),
            *("--figures", str(out / "compare" / "figures")),
            *("--crate", str(self.root.parent / "ro-crate-metadata.json")),
            *("--report", str(out / "report.html")),
        ]


def curve(rng, steps: int, stages: int, skill: float, diverges: bool, dev: bool) -> list[dict]:
    """Return the lines of a training.jsonl: a loss that decays with noise, and ends in a blow-up if it diverges."""
    rows = []
    for step in range(1, steps + 1):
        decay = 1.8 * np.exp(-step * skill / (0.08 * steps)) - 0.1 * skill
        loss = 0.45 + decay + 0.03 * rng.standard_normal()
        if diverges:
            loss = 0.7 + 0.3 * step + np.exp(min(20.0, 0.9 * step))
        row = {
            "step": step,
            "gradient_evaluations": step * stages,
            "epoch": step / steps,
            "loss": None if diverges and step == steps else float(loss),
            "learning_rate": 1e-3,
            "gradient_norm": 0.8,
            "samples_per_second": 900.0 + step,
            "tokens_per_second": 21000.0,
            "gradient_evaluations_per_second": 7.0,
            "executed_flops": 5.0e12,
            "floor_flops": 4.0e12,
            "model_flop_utilisation": 0.32,
            "seconds": 0.7 * step,
        }
        if dev and step % max(1, steps // 8) == 0 and not diverges:
            row |= {"dev_loss": float(0.5 + decay), "dev_accuracy": float(0.75 - 0.1 * decay)}
        rows.append(row)
    return rows
