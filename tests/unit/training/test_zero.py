"""Training a tiny Llama with LoRA and DeepSpeed's ZeRO equals an independent reference in float64.

Errors are measured relative to the displacement ‖θ₂₀ − θ₀‖, because relative to ‖θ‖ even SGD would pass for RK4. The
learning rate and the initial weights are chosen so that methods of the same order can be distinguished, see `ground`.
"""

import dataclasses
import functools
import itertools
import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.integrate import solve_ivp
from torch import Tensor

import float64_reference
import forked_python
from dnatune import optimizers
from dnatune.data.prompts import EncodedExamples, encode_examples
from dnatune.data.records import write_split
from dnatune.errors import ConfigurationError
from dnatune.model import base_models
from dnatune.training import plan as schedules
from dnatune.training.engine import check_pair
from samples import LORA, ROOT, TASK, split_of

SEED = 3
#: 20 steps of 13 examples are two and a half epochs; the last batch of an epoch has 9.
EXAMPLES = 100
#: Measured: at most 5.6e-7, as in plain fp32 training in one process without DeepSpeed, for any order of the examples.
#: This is the rounding of θ itself: 20 additions with errors of up to 2⁻²⁴ of θ add up to at most √(20/3) · 2⁻²⁴ ‖θ‖,
#: which is 1.3e-6 of a displacement of 0.115 ‖θ‖.
FP32_BOUND = 1e-5
#: Measured: 2.1e-3; plain training in bf16 with fp32 master weights, without DeepSpeed: 2.0e-3. Gradients are computed
#: from weights rounded to bf16 and are themselves rounded to bf16, by up to 2⁻⁹ of each number. The bound adds the same
#: for the activations, and doubles the sum to allow for chance.
BF16_BOUND = 2.0**-7


@dataclasses.dataclass(frozen=True)
class Case:
    """A run of the worker.

    Attributes:
        method, ranks, zero, micro: optimizer, number of ranks, ZeRO stage, micro-batch size.
        slow: whether only `make test-long` runs it.
        scaled: whether ZeRO gets the loss scaler of fp16, whose scale grows.
        overflows: attempts at a stage, counted over the run, in which a rank's gradients are infinite.
        tag: distinguishes cases that would have the same name.
    """

    method: str
    ranks: int
    zero: int
    micro: int
    slow: bool = False
    precision: str = "fp32"
    steps: int = 20
    batch: int = 13
    rate: float = 0.3
    schedule: str = "cosine"
    hyperparameters: tuple[tuple[str, Any], ...] = ()
    max_norm: float = 0.0
    clip: str = "step"
    dropout: float = 0.0
    overflows: tuple[int, ...] = ()
    pretend_fp16: bool = False
    save_steps: int = 1000
    scaled: bool = False
    tag: str = ""

    @property
    def name(self) -> str:
        tag = f"-{self.tag}" if self.tag else ""
        return f"{self.method}-ranks{self.ranks}-zero{self.zero}-micro{self.micro}-{self.precision}{tag}"

    @property
    def settings(self) -> dict[str, Any]:
        return optimizers.validate(self.method, {"learning_rate": self.rate, **dict(self.hyperparameters)})

    @property
    def stages(self) -> int:
        return optimizers.stages(self.method, self.settings)

    @property
    def batches(self) -> list[list[int]]:
        order = schedules.BatchOrder(EXAMPLES, self.batch, SEED)
        return [order.indices(step) for step in range(self.steps)]

    @property
    def pieces(self) -> list[int]:
        """Return the number of micro-batches of each step, which is the same on every rank."""
        return [math.ceil(math.ceil(len(batch) / self.ranks) / self.micro) for batch in self.batches]

    def for_worker(self, folder: Path) -> dict[str, Any]:
        return {
            "method": self.method,
            "hyperparameters": {"learning_rate": self.rate, **dict(self.hyperparameters)},
            "precision": self.precision,
            "steps": self.steps,
            "schedule": self.schedule,
            "dropout": self.dropout,
            "overflows": self.overflows,
            "pretend_fp16": self.pretend_fp16,
            "scaled": self.scaled,
            "folder": str(folder),
            "training": {
                "global_batch_size": self.batch,
                "micro_batch_size": self.micro,
                "max_grad_norm": self.max_norm,
                "clip": self.clip,
                "zero_stage": self.zero,
                "deepspeed": {},
                "save_steps": self.save_steps,
                "evaluation_steps": 1000,
                "divergence_loss": 50.0,
            },
        }


# Micro-batch sizes that divide 13 examples into one or three micro-batches. Two ranks have 7 and 6 examples, so the
# third micro-batch of the second rank is padding.
SIZES = {1: (13, 5), 2: (7, 3)}
_ALL = {
    (method, ranks, zero, micro)
    for method, ranks, zero in itertools.product(("sgd", "heun", "rk4"), SIZES, range(4))
    for micro in SIZES[ranks]
}
_FAST = {
    ("rk4", 1, 0, 13),
    ("heun", 1, 0, 13),
    ("rk4", 2, 0, 7),
    ("rk4", 2, 2, 3),
    ("heun", 2, 2, 7),
    ("sgd", 2, 2, 7),
}
EXACT = [Case(*key, slow=key not in _FAST) for key in sorted(_ALL)]
IMPOSTORS = [Case("rk4_38", n, z, SIZES[n][0], slow=(n, z) != (1, 0)) for n in SIZES for z in range(4)]
BF16 = [Case("rk4", n, z, SIZES[n][0], slow=True, precision="bf16") for n in SIZES for z in (1, 2, 3)]
BF16_IMPOSTOR = Case("sgd", 2, 2, 7, slow=True, precision="bf16")
RKC = [
    Case("rkc", 2, 2, 3, steps=3, hyperparameters=(("stages", 5),)),
    Case("rkc", 1, 3, 5, slow=True, steps=3, hyperparameters=(("stages", 3), ("order", 2))),
]
# In fifteen attempts at three steps: the first stage, a middle stage twice, and the last stage.
# The learning rate is constant, because the optimizer refuses a new one within a step.
_OVERFLOW = Case(
    "rk4",
    2,
    2,
    3,
    steps=3,
    dropout=0.5,
    schedule="constant",
    overflows=(0, 6, 7, 14),
    pretend_fp16=True,
    tag="overflow",
)
OVERFLOW = [dataclasses.replace(_OVERFLOW, zero=z, slow=z != 2) for z in (1, 2, 3)]
CALM = [dataclasses.replace(case, overflows=(), tag="calm") for case in OVERFLOW]
# `make test` looks at the run that repetitions are compared with.
DROPOUT = [CALM[1], *(Case("rk4", 2, z, 3, slow=True, steps=3, dropout=0.5, tag="dropout") for z in (0, 2, 3))]
INFINITE = [
    Case("rk4", 2, z, 7, slow=z != 2, steps=3, schedule="constant", overflows=(6,), tag="infinite") for z in (1, 2, 3)
]
#: Attempts within the last of three steps.
LAST = [
    Case(
        method,
        2,
        z,
        7,
        slow=(z, attempt) not in {(2, 11), (2, 2)},
        precision="bf16",
        steps=3,
        schedule="constant",
        overflows=(attempt,),
        tag=f"attempt{attempt}",
    )
    for method, attempt in (("rk4", 9), ("rk4", 11), ("adamw", 2))
    for z in (1, 2, 3)
]
CLIPPED = [
    Case("rk4", n, z, SIZES[n][0], slow=(n, z) not in {(1, 0), (2, 0), (2, 2)}, steps=5, max_norm=0.5, tag="clipped")
    for n in SIZES
    for z in range(4)
]
CLIPPED_STAGES = [
    dataclasses.replace(case, slow=(case.ranks, case.zero) not in {(1, 0), (2, 2)}, clip="stages", tag="clipped-stages")
    for case in CLIPPED
]
CURVES = [
    Case(method, n, 2, 5, slow=n == 3, steps=10, batch=16, rate=rate, max_norm=1.0, tag="curve")
    for method, rate in (("rk4", 0.3), ("adamw", 0.01))
    for n in (1, 2, 3)
]
#: Runs that are continued: what resumes, by method, and what `make test` has of it.
_RATES = {"sgd": 0.3, "adamw": 0.01, "rk4": 0.3, "rk4_adam": 0.01, "torch.optim.Rprop": 0.01, "torch.optim.Muon": 0.01}
_CONTINUED_FAST = {("adamw", 3, "fp32"), ("rk4", 2, "fp32"), ("rk4_adam", 1, "fp32"), ("sgd", 0, "fp32")} | {
    ("adamw", 2, "bf16"),
    ("adamw", 0, "bf16"),
    ("torch.optim.Muon", 0, "fp32"),
}
WHOLE = [
    Case(
        method,
        2,
        zero,
        3,
        slow=(method, zero, precision) not in _CONTINUED_FAST,
        precision=precision,
        steps=8,
        rate=rate,
        hyperparameters=(("momentum", 0.9),) if method == "sgd" else (),
        dropout=0.1,
        save_steps=5,
        scaled=zero > 0 and precision == "fp32",
        tag="whole",
    )
    for method, rate in _RATES.items()
    for precision in ("fp32", "bf16")
    for zero in range(4)
    if not (zero and "Muon" in method) and not (zero == 0 and precision == "bf16" and method.startswith("rk4"))
]
CASES = [
    *(EXACT + IMPOSTORS + BF16 + [BF16_IMPOSTOR] + RKC + DROPOUT[1:]),
    *(OVERFLOW + CALM + INFINITE + LAST + CLIPPED + CLIPPED_STAGES + CURVES + WHOLE),
]


def over(cases: Iterable[Case]) -> Any:
    """Parametrize a test by cases, and mark the slow ones."""
    marks = {True: [pytest.mark.slow], False: []}
    return pytest.mark.parametrize("case", [pytest.param(c, id=c.name, marks=marks[c.slow]) for c in cases])


@dataclasses.dataclass(frozen=True)
class Ground:
    """The starting point of all runs: files for the worker, and the reference model with the same weights."""

    folder: Path
    initial: dict[str, Tensor]
    examples: EncodedExamples
    model: torch.nn.Module

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.initial.values())

    @functools.lru_cache  # noqa: B019 — one object per session
    def reference(self, method: str, steps: int, max_norm: float, clip: str = "step") -> float64_reference.Trained:
        case = Case(method, 1, 0, 1, steps=steps)
        rates = schedules.learning_rates(case.schedule, case.rate, 0.1, steps)
        return float64_reference.train(self.model, self.examples, case.batches, rates, method, max_norm, clip)

    def __hash__(self) -> int:
        return id(self)


@pytest.fixture(scope="module")
def ground(tmp_path_factory, tiny_model, simulated_rows) -> Ground:
    """The tiny model, its first trainable weights and the training split.

    The embeddings of a new Llama are so small that RMSNorm gives them huge gradients. With them, RK4 and the 3/8 rule
    differ by more than rounding only if training is chaotic. With embeddings ten times as large and learning rate 0.3,
    the two methods end 3e-4 of the displacement apart, and rounding is 5e-7. In a new adapter LoRA's B is zero, and so
    is the gradient of A; therefore B is random here. All weights are exact in bf16, so that runs in bf16 begin at the
    same point.
    """
    folder = tmp_path_factory.mktemp("zero")
    tokenizer = base_models.load_tokenizer(tiny_model)
    base = base_models.load_model(tiny_model, tokenizer, torch.float32)
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.copy_(parameter.bfloat16())
    base.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    generator = torch.Generator().manual_seed(SEED)
    initial = {}
    for name, parameter in base_models.add_lora(base, LORA, SEED).named_parameters():
        if parameter.requires_grad:
            weight = parameter.detach().clone()
            if "lora_B" in name:
                weight.normal_(0, 0.02, generator=generator)
            elif "embed_tokens" in name:
                weight *= 10
            initial[name] = weight.bfloat16().float()
    save_file(initial, folder / "initial.safetensors")
    records = split_of(simulated_rows[:EXAMPLES])
    write_split(folder / "train.jsonl", records, TASK.labels)
    examples = encode_examples(tokenizer, records, TASK.labels, 512, "train.jsonl")
    model = float64_reference.load(folder / "model", LORA.plain(), initial)
    return Ground(folder, initial, examples, model)


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a run: its trained weights, and the measurements of each rank."""

    weights: dict[str, Tensor]
    ranks: list[dict[str, Any]]

    @property
    def losses(self) -> list[float]:
        return [row["loss"] for row in self.ranks[0]["log"]]

    @property
    def norms(self) -> list[float]:
        return [row["gradient_norm"] for row in self.ranks[0]["log"]]


class Runs:
    """Results of cases; one launch runs all fast (or all slow) cases with the same number of ranks."""

    def __init__(self, ground: Ground, folder: Path):
        self.ground, self.folder = ground, folder
        self.launches: dict[tuple[int, bool], str] = {}

    def __call__(self, case: Case) -> Result:
        launch = case.ranks, case.slow
        if launch not in self.launches:
            cases = [other for other in CASES if (other.ranks, other.slow) == launch]
            self.launches[launch] = self.start(cases, self.folder)
        if self.launches[launch]:
            pytest.fail(f"the launch on {case.ranks} ranks failed:\n{self.launches[launch]}")
        return self.read(case, self.folder)

    def read(self, case: Case, folder: Path) -> Result:
        place = folder / case.name
        ranks = [json.loads((place / f"rank{rank}.json").read_text("utf-8")) for rank in range(case.ranks)]
        return Result(load_file(place / "weights.safetensors"), ranks)

    def start(self, cases: Sequence[Case], folder: Path) -> str:
        """Run cases with the same number of ranks; if the launch fails, return the end of its log."""
        for case in cases:
            (folder / case.name).mkdir(parents=True, exist_ok=True)
        plan = {
            "model": str(self.ground.folder / "model"),
            "initial": str(self.ground.folder / "initial.safetensors"),
            "records": str(self.ground.folder / "train.jsonl"),
            "labels": TASK.labels,
            "lora": LORA.plain(),
            "seed": SEED,
            "cases": [case.for_worker(folder / case.name) for case in cases],
        }
        (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
        ranks = str(cases[0].ranks)
        worker = [ROOT / "tests/support/zero_worker.py", "--plan", folder / "plan.json"]
        # One thread per rank: more threads would compete for cores and change the order of sums.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "workflow")}
        with (folder / "launch.log").open("w+", encoding="utf-8") as log:
            process = subprocess.Popen(
                forked_python.stage("launch", "--ranks", ranks, "--cpus", ranks, *worker),
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                status = process.wait(3600)
            finally:
                # If the launcher is terminated it ends its ranks; if it is killed it cannot.
                process.terminate()
                process.wait(60)
            log.seek(0)
            return log.read()[-3000:] if status else ""


@pytest.fixture(scope="module")
def runs(ground, tmp_path_factory) -> Runs:
    return Runs(ground, tmp_path_factory.mktemp("runs"))


def distance(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    assert left.keys() == right.keys()
    return math.sqrt(sum(float((left[name].double() - right[name].double()).square().sum()) for name in left))


def relative_error(weights: dict[str, Tensor], reference: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    return distance(weights, reference) / distance(reference, start)


def check(error: float, bound: float) -> None:
    assert error <= bound, f"error ÷ displacement is {error:.2e}, above {bound:.0e}"


# The reference itself


def test_reference_rk4_gives_the_published_numbers():
    """Burden and Faires, Numerical Analysis, chapter 5.4: y' = y − t² + 1, y(0) = ½, in steps of 0.2."""
    y = np.array([0.0, 0.5])
    for published in (0.8292933, 1.2140762, 1.6489220, 2.1272027, 2.6408227):
        y = y + 0.2 * float64_reference.rk4_direction(lambda y: np.array([1.0, y[1] - y[0] ** 2 + 1]), y, 0.2)
        assert y[1] == pytest.approx(published, abs=5e-8)


@pytest.mark.parametrize(("method", "order"), [("sgd", 1), ("heun", 2), ("rk4", 4), ("rk4_38", 4)])
def test_reference_methods_have_their_order(method, order):
    """Halving the step divides the error of one step, relative to scipy's solution, by 2^(order+1)."""

    def flow(y):
        return np.array([y[1] * y[0], -np.sin(y[0]) + y[1] ** 2 / 3, y[0] - y[2] ** 3])

    start = np.array([0.7, -0.4, 0.9])

    def error(h):
        exact = solve_ivp(lambda _, y: flow(y), (0, h), start, method="DOP853", rtol=1e-13, atol=1e-15).y[:, -1]
        return np.linalg.norm(start + h * float64_reference.DIRECTIONS[method](flow, start, h) - exact)

    assert math.log2(error(0.1) / error(0.05)) == pytest.approx(order + 1, abs=0.15)


def test_reference_gradients_are_exact_to_float64(ground):
    """If any part of the forward pass were in fp32, a difference quotient would show an error of 1e-3."""
    batch = list(range(3))
    parameters = [p for p in ground.model.parameters() if p.requires_grad]
    start = torch.nn.utils.parameters_to_vector(parameters).detach()
    direction = torch.randn(len(start), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direction /= direction.norm()

    def loss(y):
        torch.nn.utils.vector_to_parameters(y, parameters)
        return float64_reference.mean_negative_log_likelihood(ground.model, ground.examples, batch)

    gradient = torch.nn.utils.parameters_to_vector(torch.autograd.grad(loss(start), parameters))
    step = 1e-4
    with torch.no_grad():
        slope = float(loss(start + step * direction) - loss(start - step * direction)) / (2 * step)
        loss(start)
    assert float(gradient @ direction) == pytest.approx(slope, rel=1e-6)


# Exactness


@over(EXACT)
def test_training_follows_the_float64_reference(case, runs, ground, record_property):
    reference = ground.reference(case.method, case.steps, 0.0)
    result = runs(case)
    error = relative_error(result.weights, reference.weights, ground.initial)
    record_property("error_over_displacement", error)
    check(error, FP32_BOUND)
    assert result.losses == pytest.approx(reference.losses, abs=1e-5)


@over([*IMPOSTORS, *(case for case in EXACT if case.method == "sgd")])
def test_another_method_does_not_pass_for_rk4(case, runs, ground, record_property):
    reference = ground.reference("rk4", case.steps, 0.0)
    error = relative_error(runs(case).weights, reference.weights, ground.initial)
    record_property("error_over_displacement", error)
    with pytest.raises(AssertionError, match="error ÷ displacement"):
        check(error, FP32_BOUND)


@over(BF16)
def test_bf16_follows_within_its_rounding(case, runs, ground, record_property):
    error = relative_error(runs(case).weights, ground.reference("rk4", case.steps, 0.0).weights, ground.initial)
    record_property("error_over_displacement", error)
    check(error, BF16_BOUND)
    # A smaller error would mean that the run was not in bf16.
    assert error > 10 * FP32_BOUND


@over([BF16_IMPOSTOR])
def test_sgd_in_bf16_does_not_pass_for_rk4(case, runs, ground, record_property):
    error = relative_error(runs(case).weights, ground.reference("rk4", case.steps, 0.0).weights, ground.initial)
    record_property("error_over_displacement", error)
    with pytest.raises(AssertionError, match="error ÷ displacement"):
        check(error, BF16_BOUND)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_stages_in_half_precision_without_zero_are_refused(precision):
    with pytest.raises(ConfigurationError, match="4 stages is not exact"):
        check_pair("rk4", 4, precision, 0)
    check_pair("rk4", 4, precision, 1)
    check_pair("rk4", 4, "fp32", 0)
    check_pair("sgd", 1, precision, 0)


# Cost


@over([*EXACT, *IMPOSTORS, *RKC, *BF16, *CURVES])
def test_optimizer_state_is_what_is_declared_and_sharded(case, runs, ground):
    """Beside θ, the state has `state_copies` copies in fp32, and each rank holds only its shard."""
    copies = optimizers.state_copies(case.method, case.settings)
    if case.method in {"heun", "rk4", "adamw"}:
        assert copies == 2
    result, n = runs(case), case.ranks
    held = [rank["state_bytes"] / (4 * copies) if copies else rank["state_bytes"] for rank in result.ranks]
    if copies == 0:
        shard = 0
    elif case.zero == 0:
        shard = ground.parameters
    elif case.zero < 3:
        # One flat vector, padded to a multiple of 2 for each rank (nccl_start_alignment_factor).
        shard = math.ceil(ground.parameters / (2 * n)) * 2
    else:
        # Each tensor is sharded separately.
        shard = sum(math.ceil(tensor.numel() / n) for tensor in ground.initial.values())
    assert held == [shard] * n
    if copies and case.zero:
        padding = sum(held) - ground.parameters
        assert 0 <= padding <= (2 * n - 1 if case.zero < 3 else (n - 1) * len(ground.initial))


@over([*EXACT, *IMPOSTORS, *RKC])
def test_gradient_evaluations_counted_at_the_model(case, runs):
    """Each micro-batch has exactly s forward passes per step: 4 for rk4, s for rkc."""
    expected = {"sgd": 1, "heun": 2, "rk4": 4, "rk4_38": 4, "rkc": dict(case.hyperparameters).get("stages")}
    result = runs(case)
    assert len(result.losses) == case.steps
    for rank in result.ranks:
        assert rank["forward_passes"] == expected[case.method] * sum(case.pieces)
    assert result.ranks[0]["log"][-1]["gradient_evaluations"] == expected[case.method] * case.steps


# Guarantees of the loop


@over(DROPOUT)
def test_dropout_is_the_same_in_all_stages_of_a_step(case, runs):
    assert case.pieces == [3] * case.steps
    beginnings = set()
    for rank in runs(case).ranks:
        assert rank["dropped"] == pytest.approx(case.dropout, abs=0.02)
        masks = [tuple(mask) for mask in rank["masks"]]
        assert len(masks) == case.steps * case.stages * 3
        for step in range(case.steps):
            first, *others = (masks[(step * case.stages + s) * 3 :][:3] for s in range(case.stages))
            assert others == [first] * 3
            beginnings.update(beginning for _, beginning in first)
    # Every step, micro-batch and rank has its own masks.
    assert len(beginnings) == case.steps * 3 * case.ranks


@over(OVERFLOW)
def test_a_stage_skipped_by_overflow_is_repeated_as_it_was(case, runs):
    disturbed, calm = runs(case), runs(dataclasses.replace(case, overflows=(), tag="calm"))
    for rank, quiet in zip(disturbed.ranks, calm.ranks, strict=True):
        assert (rank["skipped_steps"], quiet["skipped_steps"]) == (len(case.overflows), 0)
        assert rank["forward_passes"] == quiet["forward_passes"] + 3 * len(case.overflows)
        for one, repeated in ((rank, len(case.overflows)), (quiet, 0)):
            assert 3 * one["gradient_evaluations"] == one["forward_passes"]
            assert one["repeated_evaluations"] == repeated
    # In three steps of four stages: one repeat in the first, two in the second, one in the third.
    assert [row["gradient_evaluations"] for row in disturbed.ranks[0]["log"]] == [5, 11, 16]
    assert disturbed.losses == calm.losses
    assert disturbed.norms == calm.norms
    assert all(torch.equal(disturbed.weights[name], weight) for name, weight in calm.weights.items())


@over(INFINITE)
def test_a_stage_skipped_without_loss_scaling_ends_the_run(case, runs):
    """After an infinite gradient in the second stage of step 2, DeepSpeed silently skips; the loop must report it."""
    result = runs(case)
    for rank in result.ranks:
        assert rank["skipped_steps"] == 1
        assert rank["diverged"] is not None
        assert (rank["diverged"]["step"], rank["diverged"]["reason"]) == (2, "the gradient is not finite")


@over(LAST)
def test_an_infinite_gradient_of_the_last_step_ends_a_run_in_bf16(case, runs):
    """DeepSpeed then applies the update, for in bf16 it looks at no gradient but at their norm."""
    for rank in runs(case).ranks:
        assert (rank["diverged"]["step"], rank["diverged"]["reason"]) == (3, "the gradient is not finite")


@over(CLIPPED)
def test_clipping_bounds_the_combined_update_over_all_shards(case, runs, ground, record_property):
    reference = ground.reference("rk4", case.steps, case.max_norm)
    assert min(reference.norms) > 2 * case.max_norm
    result = runs(case)
    assert result.norms == pytest.approx(reference.norms, rel=1e-5)
    one_rank = runs(next(other for other in CLIPPED if (other.ranks, other.zero) == (1, 0)))
    assert result.norms == pytest.approx(one_rank.norms, rel=1e-5)
    # A step of length h · max_norm is short, so the rounding of θ is a larger part of it; measured: 1.9e-6.
    error = relative_error(result.weights, reference.weights, ground.initial)
    record_property("error_over_displacement", error)
    check(error, FP32_BOUND)
    unclipped = ground.reference("rk4", case.steps, 0.0)
    with pytest.raises(AssertionError, match="error ÷ displacement"):
        check(relative_error(result.weights, unclipped.weights, ground.initial), FP32_BOUND)


@over(CLIPPED_STAGES)
def test_clipped_stages_follow_the_float64_reference_of_the_clipped_field(case, runs, ground, record_property):
    reference = ground.reference("rk4", case.steps, case.max_norm, "stages")
    result = runs(case)
    assert result.norms == pytest.approx(reference.norms, rel=1e-5)
    error = relative_error(result.weights, reference.weights, ground.initial)
    record_property("error_over_displacement", error)
    check(error, FP32_BOUND)
    other = ground.reference("rk4", case.steps, case.max_norm)
    with pytest.raises(AssertionError, match="error ÷ displacement"):
        check(relative_error(result.weights, other.weights, ground.initial), FP32_BOUND)


@over(case for case in CURVES if case.ranks > 1)
def test_the_number_of_ranks_does_not_change_training(case, runs, record_property):
    """16 examples are trained with one configuration on 2 ranks and on 3 ranks, which have unequal shares."""
    alone, shared = (runs(c) for c in (next(c for c in CURVES if (c.method, c.ranks) == (case.method, 1)), case))
    apart = max(abs(a - b) for a, b in zip(alone.losses, shared.losses, strict=True))
    record_property("largest_difference_of_losses", apart)
    assert apart <= 1e-4
    assert shared.norms == pytest.approx(alone.norms, rel=1e-3)
    assert alone.losses[-1] < 0.7 * alone.losses[0]


@pytest.fixture(scope="module")
def continued(runs, tmp_path_factory):
    """A function that continues a run in new processes from its checkpoint after `save_steps`."""
    folder = tmp_path_factory.mktemp("continued")
    done = Runs(runs.ground, folder)

    def result(case):
        launch = case.ranks, case.slow
        if launch not in done.launches:
            cases = [other for other in WHOLE if (other.ranks, other.slow) == launch]
            for other in cases:
                shutil.copytree(runs.folder / other.name / "state", folder / other.name / "state")
            done.launches[launch] = done.start(cases, folder)
        return done(case)

    return result


@over(WHOLE)
def test_a_run_continued_in_new_processes_ends_exactly_like_an_uninterrupted_one(case, runs, continued):
    whole = runs(case)
    again = continued(case)
    for rank, before in zip(again.ranks, whole.ranks, strict=True):
        assert rank["loss_scaler"] == before["loss_scaler"]
        assert not case.scaled or rank["loss_scaler"]["cur_scale"] > 2.0**8
        assert rank["forward_passes"] == case.stages * sum(case.pieces[case.save_steps :])
    assert [row["step"] for row in again.ranks[0]["log"]] == list(range(1, case.steps + 1))
    assert (again.losses, again.norms) == (whole.losses, whole.norms)
    assert all(torch.equal(again.weights[name], weight) for name, weight in whole.weights.items())
