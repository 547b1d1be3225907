"""Reports of synthetic results, to be looked at in a browser: `python tests/browser/pages.py FOLDER` writes them."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "support"), str(TESTS.parent / "workflow")]

from contamination_found import known_base  # noqa: E402
from dnatune.comparison import references  # noqa: E402
from report_pages import base_of, render  # noqa: E402
from searches import searched  # noqa: E402
from synthetic_results import PROMOTERS, SPLICE, Results  # noqa: E402

SKILLS = {"adamw": 1.3, "rk4_adam": 1.28, "sgd": 0.7, "rk4": 0.9, "rkc": 0.95, "rk4_single_gradient": 0.72}
#: Dev loss of each trial, lowest rate first; None where it diverged. One search ends at its edge, one diverged wholly.
LOSSES = {
    "adamw": [0.61, 0.48, 0.42, 0.55, None],
    "rk4_adam": [0.60, 0.47, 0.43, 0.51, 0.66],
    "sgd": [0.69, 0.68, 0.66, 0.61, 0.57],
    "rk4": [0.69, 0.67, 0.62, 0.58, None],
    "rkc": [0.69, 0.66, 0.60, 0.57, 0.59],
    "rk4_single_gradient": [None] * 5,
}
THEIRS = ("CNN", "DNABERT-2")


def one_task(folder: Path) -> str:
    """Return the usual page: one task, six optimizers, five seeds, one run diverged, on GPUs, simulated.

    The base model was asked, others published figures, and the rates were searched for.
    """
    made = Results(folder, items=600, simulated=True)
    for seed in range(5):
        for name, skill in SKILLS.items():
            end = 17 if (name, seed) == ("sgd", 3) else None
            made.add_run(name, seed, skill=skill + 0.02 * seed, steps=200, diverged_at=end, gpu=True)
    for name, skill in {"majority": 0.0, "gc": 0.3, "kmers": 0.8, "bayes": 1.9}.items():
        made.add_baseline(name, skill)
    made.audits = [made.add_audit(leaked=[3, 4, 7])]
    published = [
        references.Published("prom_core_all", name, {"mcc": 0.6, "accuracy": 0.8}, "a preprint") for name in THEIRS
    ]
    choices = [searched(name, losses, stages=4 if name == "rk4" else 1) for name, losses in LOSSES.items()]
    return render(made, known_base(), choices=choices, zero_shots=[base_of(made)], published=published)


def several(folder: Path) -> str:
    """Return a page of two models and two tasks, one of three classes, with long names and two seeds."""
    made = Results(folder, (PROMOTERS, SPLICE))
    for model in ("tiny", "DNA-LLaMA3-8B-instruct"):
        for task in ("prom_core_all", "splice"):
            for seed in (0, 1):
                made.add_run("adamw", seed, task=task, model=model, skill=1.2)
                made.add_run("rk4_single_gradient", seed, task=task, model=model, skill=0.8, steps=61)
    made.add_baseline("kmers", 0.8)
    made.add_baseline("kmers", 0.8, "splice")
    return render(made)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for build in (one_task, several):
        (place / build.__name__).mkdir(parents=True, exist_ok=True)
        (place / f"{build.__name__}.html").write_text(build(place / build.__name__), "utf-8")
