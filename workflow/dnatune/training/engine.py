"""The DeepSpeed engine: configuration, start, and weights in full precision."""

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from dnatune import optimizers
from dnatune.errors import ConfigurationError
from dnatune.model.label_likelihood import LabelLikelihood
from dnatune.settings.training import Training

_LOG = logging.getLogger(__name__)
#: Length of the shortest runs whose layers are compiled, in steps or gradient evaluations. On an H200 that saves about
#: 0.1 s per gradient and takes 25 s (benchmarks/README.md).
FEWEST_COMPILED = 300
#: torch's environment variable with the folder of compiled code.
_CODE_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: str) -> str:
    """Return `fp32`, `bf16` or `fp16` for a device.

    Raises:
        ConfigurationError: the device does not support the precision.
    """
    on_gpu = device.startswith("cuda")
    # Older GPUs emulate bf16 at a fraction of the speed, which torch's default check accepts.
    bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        return ("bf16" if bf16 else "fp16") if on_gpu else "fp32"
    if precision == "fp16" and not on_gpu:
        raise ConfigurationError(
            "fp16 needs a GPU", where="config key 'training.precision'", fix="use auto, fp32 or bf16"
        )
    if precision == "bf16" and on_gpu and not bf16:
        raise ConfigurationError(
            "this GPU does not support bf16", where="config key 'training.precision'", fix="use auto, fp32 or fp16"
        )
    return precision


def scoring_precision(precision: str, device: str) -> str:
    """Return the precision in which a device scores what was trained in a precision: the same, or else fp32."""
    try:
        return resolve_precision(precision, device)
    except ConfigurationError as error:
        _LOG.warning("scoring in fp32: %s", error.what)
        return "fp32"


def dtype_of(precision: str) -> torch.dtype:
    """Return the torch type of a resolved precision."""
    return _DTYPES[precision]


def deepspeed_configuration(training: Training, precision: str, world: int, clipping: float) -> dict[str, Any]:
    """Return the engine's configuration: dnatune's keys, updated with the user's keys that dnatune does not own.

    The loop decides when a gradient is complete, so the number of micro-batches may differ between steps. Clipping is
    written even if it is 0, because DeepSpeed's default is 1.
    """
    own = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": world,
        "managed_gradient_accumulation": False,
        "gradient_clipping": clipping,
        # Otherwise ZeRO 3 would step in portions, but a staged optimizer needs all parameters in one call.
        "zero_optimization": {"stage": training.zero_stage, "sub_group_size": 10**12, "elastic_checkpoint": False},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
        "fp16": {"enabled": precision == "fp16"},
        # A gradient that is not finite shows in its norm. DeepSpeed would ask every gradient for its extremes, a third
        # of all kernels of a step (benchmarks/README.md).
        "bf16": {"enabled": precision == "bf16", "check_grad_overflow": False},
    }
    return _overlaid(own, training.deepspeed)


def _overlaid(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overlay.items():
        if isinstance(value, dict):
            below = merged.get(key)
            merged[key] = _overlaid(below if isinstance(below, dict) else {}, value)
        elif value != "auto":
            merged[key] = value
    return merged


def check_pair(method: str, stages: int, precision: str, zero_stage: int) -> None:
    """Refuse combinations that would train without an error and give wrong results.

    Raises:
        ConfigurationError: a method with several stages in half precision without ZeRO, where DeepSpeed's wrappers hide
            the fp32 weights; or an optimizer that needs whole matrices with ZeRO, which shards them into flat vectors.
    """
    where = "config key 'training.zero_stage'"
    if stages > 1 and precision != "fp32" and zero_stage == 0:
        raise ConfigurationError(
            f"a method with {stages} stages is not exact in {precision} without ZeRO",
            where=where,
            fix="use zero_stage 1, 2 or 3, or precision fp32",
        )
    if zero_stage and not optimizers.specification(method).elementwise:
        raise ConfigurationError(
            f"{method} needs whole matrices, but ZeRO {zero_stage} gives it flat shards",
            where=where,
            fix="use zero_stage 0",
        )


def start_engine(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    configuration: dict[str, Any],
) -> Any:
    """Wrap a module and its optimizer in a DeepSpeed engine.

    A staged optimizer gets a function that sums squared norms over the ranks' shards. In fp32 without ZeRO the engine
    reports no norm, so the norm is computed and the gradient clipped in a hook before the optimizer's step.

    Raises:
        ConfigurationError: DeepSpeed rejects the configuration.
    """
    import deepspeed
    from pydantic import ValidationError

    sharded = configuration["zero_optimization"]["stage"] > 0
    half = configuration["fp16"]["enabled"] or configuration["bf16"]["enabled"]
    if isinstance(optimizer, optimizers.StagedOptimizer):
        optimizer.norm_reduce = _sum_over_ranks if sharded else None
    elif not sharded and not half:
        _clip_in_front(optimizer, configuration["gradient_clipping"])
        configuration = {**configuration, "gradient_clipping": 0.0}
    try:
        with without_dummy_step(optimizer):
            engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=configuration)
    except ValidationError as error:
        raise ConfigurationError(
            f"DeepSpeed rejects its configuration: {error}",
            where="config key 'training.deepspeed'",
            fix="correct the keys that the message names",
        ) from None
    return engine


def _sum_over_ranks(square: torch.Tensor) -> torch.Tensor:
    distributed.all_reduce(square)
    return square


def _clip_in_front(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    def clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, max_norm or math.inf)
        optimizer.last_update_norm = norm.item()

    optimizer.register_step_pre_hook(clip)


def gradient_norm(engine: Any, optimizer: torch.optim.Optimizer) -> float:
    """Return the l2 norm of the last step's combined gradient before clipping; NaN if it is unknown."""
    norm = getattr(optimizer, "last_update_norm", None)
    norm = engine.get_global_grad_norm() if norm is None else norm
    return math.nan if norm is None else float(norm)


def compiles(training: Training, length: int, device: str) -> bool:
    """Tell whether the layers of a model are compiled for training.

    Args:
        training: how the run is trained.
        length: of the run, in the measure in which runs that are compared are equally long: gradient evaluations if
            they are the budget, otherwise steps.
        device: device of this rank.

    Raises:
        ConfigurationError: it is asked for without a GPU, or with ZeRO 3, which takes weights away between the layers.
    """
    possible = device.startswith("cuda") and training.zero_stage < 3
    if training.compile is True and not possible:
        raise ConfigurationError(
            "compiled layers need a GPU and a ZeRO stage below 3", where="config key 'training.compile'", fix="use auto"
        )
    if training.compile == "auto":
        # torch's compiler drops GPUs before Ampere (compute capability 8) one after the other.
        return possible and length >= FEWEST_COMPILED and torch.cuda.get_device_capability(device)[0] >= 8
    return training.compile


def _keep_compiled_code() -> None:
    """Have torch keep compiled code for later jobs in a folder of the user's own, unless the environment names one.

    By default torch keeps it below /tmp, where another user can put code in its place.

    Raises:
        ConfigurationError: the folder cannot be made.
    """
    if _CODE_FOLDER in os.environ:
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "dnatune" / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"compiled code cannot be kept: {error.strerror}",
            where=str(folder),
            fix=f"set the environment variable {_CODE_FOLDER} to a folder of your own, or training.compile to false",
        ) from None
    os.environ[_CODE_FOLDER] = str(folder)


def prepare_layers(likelihood: LabelLikelihood, zero_stage: int, compiled: bool) -> None:
    """Make a model ready to be trained, before its optimizer is built.

    Under ZeRO 1 and 2, which hand flat vectors to an optimizer in any case, its low-rank matrices become one parameter.
    Without ZeRO an optimizer, also a user's own, may work on whole matrices; and ZeRO 3 would take the parameter's
    values away as soon as its module has run.

    Args:
        likelihood: around the model, on its device.
        zero_stage: ZeRO stage.
        compiled: whether its layers are to be compiled, see `compiles`.

    Raises:
        ConfigurationError: there is no folder for compiled code.
    """
    if zero_stage in (1, 2):
        likelihood.flatten()
    if compiled:
        _keep_compiled_code()
        likelihood.compile_layers()


def full_precision_weights(likelihood: LabelLikelihood) -> dict[str, torch.Tensor]:
    """Return the trainable weights {name in the model: fp32 tensor on the CPU}, gathered from all ranks.

    Every rank must call it.
    """
    weights = {
        name: _full_precision(parameter)
        for name, parameter in likelihood.model.named_parameters()
        if parameter.requires_grad
    }
    if likelihood.adapter is not None:
        matrices = likelihood.adapter.named_matrices(_full_precision(likelihood.adapter.flat))
        weights.update({name: matrix.clone() for name, matrix in matrices})
    return weights


def _full_precision(parameter: nn.Parameter) -> torch.Tensor:
    from deepspeed.utils import safe_get_full_fp32_param

    master = safe_get_full_fp32_param(parameter)
    return (parameter if master is None else master).detach().float().cpu().clone()


@contextlib.contextmanager
def without_dummy_step(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Undo the dummy step that the construction of a DeepSpeed engine takes; use it around `initialize`.

    The wrappers for bf16 and fp16 without ZeRO take a step on zero gradients to allocate state
    (`initialize_optimizer_states` in DeepSpeed's runtime/fp16/unfused_optimizer.py and fused_optimizer.py).
    This step would leave a staged optimizer one stage ahead, count as one of Adam's steps, and decay the weights once.
    Within this context it is taken with learning rate 0, and the state is dropped afterwards.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    groups = list(optimizer.param_groups)
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += 1

    hook = optimizer.register_step_post_hook(count)
    for group in groups:
        group["lr"] = 0.0
    try:
        yield
    finally:
        hook.remove()
        if steps and isinstance(optimizer, optimizers.StagedOptimizer):
            optimizer.reset()
        elif steps:
            optimizer.state.clear()
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
