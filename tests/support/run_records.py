"""run.json of runs that never were."""

from dnatune.training.record import Run, Software


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
        "outputs": {"files": {}, "large": {}},
    }
    return Run(**values | changes)


def software(code="aaaa") -> dict[str, str | None]:
    """Return what computed a run."""
    known = {"python": "3.11.7", "torch": "2.13.0", "git_commit": "f" * 40, "code": code}
    return {**dict.fromkeys(Software.model_fields), **known}
