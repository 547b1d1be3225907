"""TRL's SFTTrainer on the same model, adapter and batch, as its users run it.

TRL is no part of dnatune's environment; it is installed apart (benchmarks/README.md).
"""

import contextlib
import copy
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback

from dnatune.benchmark.bench import Bench
from dnatune.benchmark.kernels import unchanged_llama
from dnatune.benchmark.recipes import ALL_LOGITS, LABEL_LOGITS, TrainingRecipe
from dnatune.benchmark.rounds import Contestant, StepTimes
from dnatune.errors import ConfigurationError, memory_ended
from dnatune.model import base_models
from dnatune.model.flops import now
from dnatune.settings.training import Lora

_LOG = logging.getLogger(__name__)
NAME = "trl"
#: Environment variables of dnatune's launcher, by which accelerate would begin distributed training of its own.
_OF_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
#: Steps of one call of the trainer: one that allocates memory and starts the data loader, and the timed one.
_STEPS = 2


def require() -> None:
    """Check that TRL can be imported and has one device.

    Raises:
        ConfigurationError: it is not, or it would spread over several GPUs.
    """
    try:
        from trl import SFTTrainer  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"the peer 'trl' cannot be imported: {error}",
            where="config key 'benchmark.peers'",
            fix="`pip install --no-deps --target FOLDER trl==1.16.0 liger-kernel` and set PYTHONPATH=FOLDER, "
            "or leave 'trl' out",
        ) from None
    if torch.cuda.device_count() > 1:
        raise ConfigurationError(
            f"TRL would use all {torch.cuda.device_count()} GPUs, and dnatune is timed on one",
            where="config key 'benchmark.peers'",
            fix="make one GPU visible: CUDA_VISIBLE_DEVICES=0",
        )


def groups(bench: Bench) -> list[Callable[[], contextlib.AbstractContextManager[list[Contestant]]]]:
    """Return what opens TRL's trainer with the whole batch, half and a quarter of it as the micro-batch."""
    count = len(bench.batch)
    return [lambda size=count >> k: _opened(bench, size) for k in range(3) if count % (1 << k) == 0]


def loss(bench: Bench, layers: int, indices: Sequence[int]) -> float:
    """Return the trainer's loss of the given examples, in two micro-batches, in fp32 and without dropout."""
    lora = bench.settings.lora.model_copy(update={"dropout": 0.0})
    size = -(-len(indices) // 2)
    with tempfile.TemporaryDirectory() as folder, _beside_ranks():
        model = bench.base(torch.float32, layers)
        return _trainer(bench, model, lora, indices, "fp32", folder, size=size, steps=1).train().training_loss


@contextlib.contextmanager
def _opened(bench: Bench, size: int) -> Iterator[list[Contestant]]:
    """Yield TRL with a micro-batch, with gradient checkpointing if it fits only so; nothing if it does not fit."""
    with tempfile.TemporaryDirectory() as folder:
        for checkpointing in (False, True):
            found = _contestant(bench, folder, size, checkpointing)
            if found:
                break
            bench.free()
            _LOG.warning("trl with a micro-batch of %d does not fit, checkpointing %s", size, checkpointing)
        yield [found] if found else []
        del found
        bench.free()


def _contestant(bench: Bench, folder: str, size: int, checkpointing: bool) -> Contestant | None:
    """Return TRL after a first step; None if memory does not suffice."""
    clock = _Clock(bench.rank.device)
    options = {"size": size, "steps": _STEPS, "checkpointing": checkpointing, "callbacks": [clock]}
    # accelerate scales fp16 losses, which needs fp32 weights; in bf16 the model itself is bf16, as TRL loads it.
    dtype = torch.float32 if bench.precision == "fp16" else bench.dtype
    try:
        with _beside_ranks():
            model, lora = bench.base(dtype), bench.settings.lora
            trainer = _trainer(bench, model, lora, bench.batch, bench.precision, folder, **options)
            trainer.train()
    except RuntimeError as error:
        if not memory_ended(error):
            raise
        return None

    def step(indices: Sequence[int], part: int) -> StepTimes:
        clock.marks.clear()
        with _beside_ranks():
            trainer.train()
        _, before, passed, ended = clock.marks
        return StepTimes(0.0, passed - before, ended - passed)

    suffix = ", gradient checkpointing" if checkpointing else ""
    # On a GPU TRL projects the positions of the labels only.
    rows = ALL_LOGITS if bench.rank.device == "cpu" else LABEL_LOGITS
    recipe = TrainingRecipe(f"{NAME} (micro-batch {size}{suffix})", size, checkpointing, rows, bench.liger)
    return Contestant(recipe, step, divisible=False)


class _Clock(TrainerCallback):
    """Notes the time after the gradient of each step is complete, and at the step's end."""

    def __init__(self, device: str):
        self.device, self.marks = device, []

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Note the time: the gradient is complete and clipped."""
        self.marks.append(now(self.device))

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time: the step is complete."""
        self.marks.append(now(self.device))


def _trainer(
    bench: Bench,
    model: Any,
    lora: Lora,
    indices: Sequence[int],
    precision: str,
    folder: str,
    *,
    size: int,
    steps: int,
    checkpointing: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> Any:
    """Return an SFTTrainer whose `train` takes a number of optimizer steps, each on the given examples.

    The examples are given as tokens, because TRL would split the text of prompt and answer otherwise than dnatune.
    """
    import datasets
    from trl import SFTConfig, SFTTrainer

    on_cpu, training = bench.rank.device == "cpu", bench.settings.training
    rows = [(bench.train.prompt(i), bench.train.answer(i)) for i in indices] * steps
    data = {
        "input_ids": [[*prompt, *answer] for prompt, answer in rows],
        "completion_mask": [[0] * len(prompt) + [1] * len(answer) for prompt, answer in rows],
    }
    datasets.disable_progress_bars()
    arguments = SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=-(-len(indices) // size),
        max_steps=steps,
        learning_rate=1e-4,
        weight_decay=0.01,
        max_grad_norm=training.max_grad_norm,
        max_length=training.most_tokens,
        completion_only_loss=True,
        train_sampling_strategy="sequential",
        gradient_checkpointing=checkpointing,
        use_liger_kernel=bench.liger,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict(data),
        # Its padding token is set if it has none.
        processing_class=copy.deepcopy(bench.tokenizer),
        peft_config=base_models.lora_configuration(lora),
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextlib.contextmanager
def _beside_ranks() -> Iterator[None]:
    """Hide dnatune's ranks from accelerate, and undo what TRL's libraries change for the whole process.

    accelerate writes into the environment, and Liger replaces parts of transformers' Llama.
    """
    before = dict(os.environ)
    for name in _OF_RANKS:
        os.environ.pop(name, None)
    try:
        with unchanged_llama():
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
