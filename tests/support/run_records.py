"""run.json of runs that never were."""

from configurations import changed
from dnatune.settings import experiment
from dnatune.settings.grid import Run as Place
from dnatune.training.record import Conditions, Inputs, Run, Segment, Software


def run_record(optimizer="adamw", learning_rate=1e-3, **changes) -> Run:
    """Return run.json of a run that completed, some of its values changed."""
    values = {
        "status": "diverged" if changes.get("diverged") else "completed",
        "diverged": None,
        "model": "tiny",
        "task": "prom_core_all",
        "optimizer": optimizer,
        "seed": 0,
        "settings": {
            "optimizer": {
                "name": optimizer,
                "method": optimizer,
                "hyperparameters": {"learning_rate": learning_rate},
            },
        },
        "steps": 10,
        "gradient_evaluations": 10,
        "repeated_evaluations": 0,
        "epochs": 1.0,
        "global_batch_size": 128,
        "micro_batch_size": 16,
        "shared_prefix": True,
        "gradient_checkpointing": False,
        "compiled": False,
        "accumulation": 4,
        "devices": ["n1:0", "n1:1"],
        "ranks": 2,
        "trainable_parameters": 312_832,
        "total_parameters": 1_412_352,
        "precision": "fp32",
        "device": "cpu",
        "cpu": "Processor 9000",
        "matmul_peak": 1.9e11,
        "wall_seconds": 1.0,
        "gpu_seconds": 0.0,
        "final_loss": 0.4,
        "class_share_loss": 0.5,
        "inputs": {"model": "0123456789abcdef", "train": "0" * 64},
        "software": software(),
        "segments": [segment()],
        "outputs": {"files": {}, "large": {}},
    }
    return Run(**values | changes)


def segment(**changes) -> Segment:
    """Return the segment of a run that was not interrupted, some of its values changed."""
    values = {
        "host": "n1",
        "job": None,
        "start": "2026-11-26T10:00:00+00:00",
        "end": "2026-11-26T10:00:05+00:00",
        "reason": "completed",
        "from_step": 0,
        "to_step": 10,
        "checkpoint": None,
        "code": "aaaa",
        "accepted": [],
    }
    return Segment(**values | changes)


def software(code="aaaa") -> dict[str, str | None]:
    """Return what computed a run."""
    known = {"python": "3.11.7", "torch": "2.13.0", "git_commit": "f" * 40, "code": code}
    return {**dict.fromkeys(Software.model_fields), **known}


def conditions(key="name", value="any", code="aaaa", **changes) -> Conditions:
    """Return the conditions of a run of the demo, with one key of the configuration set."""
    settings = experiment.resolve(changed(key, value)).finetune_settings(Place("tiny", "prom_core_all", "adamw", 0))
    values = {
        "settings": settings.plain(),
        "inputs": Inputs(model="0123456789abcdef", train="0" * 64),
        "ranks": 1,
        "precision": "fp32",
        "software": Software(**software(code)),
    }
    return Conditions(**values | changes)
