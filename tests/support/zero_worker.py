"""Train many small cases one after another on the ranks of one launch, for test_zero.py.

Starting ranks takes longer than training a tiny model, so one start serves all cases of a number of ranks. Each case
goes the way of finetune.py: model, LoRA, optimizer, engine, loop. What is counted is counted at the model and at the
tensors, never taken from dnatune's own counters.
"""

import argparse
import gc
import hashlib
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

from dnatune.errors import run_script
from dnatune.files import read_json, read_json_lines
from run_records import conditions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True, help="JSON: common settings and cases")
    options = parser.parse_args()
    plan = read_json(options.plan)

    from dnatune.launch.process_group import join

    rank = join(300)
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)

    import torch
    from safetensors.torch import save_file
    from torch import distributed

    from dnatune.data.prompts import encode_examples
    from dnatune.data.records import read_split
    from dnatune.model import base_models

    torch.set_num_threads(1)
    tokenizer = base_models.load_tokenizer(Path(plan["model"]))
    train = read_split(Path(plan["records"]), plan["labels"])
    examples = encode_examples(tokenizer, train, plan["labels"], 512, plan["records"])
    for case in plan["cases"]:
        began = time.perf_counter()
        folder = Path(case["folder"])
        weights, measured = run_case(plan, case, rank, tokenizer, examples)
        # Engines leave cycles behind, and with them the next case would find the hooks of this one's.
        gc.collect()
        measured["seconds"] = time.perf_counter() - began
        (folder / f"rank{rank.index}.json").write_text(json.dumps(measured), "utf-8")
        if rank.first:
            save_file(weights, folder / "weights.safetensors")
    distributed.barrier()
    distributed.destroy_process_group()


def run_case(plan: dict[str, Any], case: dict[str, Any], rank: Any, tokenizer: Any, examples: Any) -> tuple:
    """Train one case; return the trained weights by name and what was measured on this rank."""
    import torch
    from safetensors.torch import load_file

    from dnatune import optimizers
    from dnatune.model import base_models, flops, label_likelihood
    from dnatune.model.shared_prefix.packing import Rows
    from dnatune.settings.training import Budget, Lora, Training
    from dnatune.training import engine as engines
    from dnatune.training import plan as schedules
    from dnatune.training.checkpoints import Checkpoints
    from dnatune.training.loop import Trainer

    method, training, precision = case["method"], Training.read(case["training"]), case["precision"]
    hyperparameters = optimizers.validate(method, case["hyperparameters"])
    stages = optimizers.stages(method, hyperparameters)
    engines.check_pair(method, stages, precision, training.zero_stage)
    extent = schedules.plan(Budget(steps=case["steps"]), len(examples), training.global_batch_size, stages)
    rates = schedules.learning_rates(case["schedule"], hyperparameters["learning_rate"], 0.1, case["steps"])

    base = base_models.load_model(Path(plan["model"]), tokenizer, engines.dtype_of(precision))
    model = base_models.add_lora(base, Lora.read({**plan["lora"], "dropout": case["dropout"]}), plan["seed"])
    initial = load_file(plan["initial"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(initial.pop(name))
    assert not initial
    likelihood = label_likelihood.LabelLikelihood(model)
    engines.prepare_layers(likelihood, training.zero_stage, compiled=False)
    trainable = [p for p in likelihood.parameters() if p.requires_grad]
    sizes = [p.numel() for p in trainable]
    max_norm = training.max_grad_norm
    optimizer = optimizers.build(method, trainable, hyperparameters, max_norm, training.clip)
    clipping = optimizers.engine_clipping(method, max_norm)
    configuration = engines.deepspeed_configuration(training, precision, rank.world, clipping)
    engine = engines.start_engine(likelihood, optimizer, configuration)

    if case["scaled"]:
        engine.optimizer.loss_scaler = growing_loss_scaler()
    watch = Watch(likelihood)
    driven = OverflowingEngine(engine, case["overflows"], rank, case["pretend_fp16"]) if case["overflows"] else engine
    dimensions = flops.dimensions(base)
    rows = Rows(True, training.micro_batch_size)
    meter = flops.Meter(dimensions, 1e9, checkpointing=False)
    trainer = Trainer(driven, optimizer, rank, examples, None, extent, rates, training, plan["seed"], rows, meter)
    folder = Path(case["folder"])
    checkpoints = Checkpoints(folder / "state", 3, rank, conditions(ranks=rank.world))
    if found := checkpoints.find():
        checkpoints.load(engine, found)
    outcome = trainer.run(checkpoints, found.saved if found else None)
    weights = engines.full_precision_weights(likelihood)
    measured = {
        "sizes": sizes,
        "forward_passes": watch.forward_passes,
        "masks": watch.masks,
        "dropped": watch.dropped / watch.inputs if watch.inputs else 0.0,
        "state_bytes": state_bytes(optimizer),
        "skipped_steps": engine.skipped_steps,
        "loss_scaler": {key: value for key, value in vars(engine.optimizer.loss_scaler).items() if key != "dtype"}
        if case["scaled"]
        else None,
        "gradient_evaluations": outcome.progress.gradient_evaluations,
        "repeated_evaluations": outcome.progress.repeated_evaluations,
        "diverged": outcome.diverged and outcome.diverged.model_dump(),
        "log": read_json_lines(checkpoints.log) if rank.first else [],
    }
    engine.destroy()
    return weights, measured


def growing_loss_scaler() -> Any:
    """Return fp16's loss scaler, which ZeRO also uses in fp32; scales are powers of two and so change no number."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler

    return DynamicLossScaler(2.0**8, scale_window=2, min_scale=1, delayed_shift=2, consecutive_hysteresis=False)


def state_bytes(optimizer: Any) -> int:
    """Return the bytes of this rank's optimizer state, without counters held in tensors of one element."""
    tensors = [value for state in optimizer.state.values() for value in state.values() if hasattr(value, "numel")]
    return sum(t.numel() * t.element_size() for t in tensors if t.dim())


class Watch:
    """Counts forward passes of the likelihood, and notes the dropout masks of each.

    `masks` has a digest of all masks and the beginning of the first one. Masks of two batches differ in shape already,
    but drawn from one seed they would begin alike.
    """

    def __init__(self, likelihood: Any):
        self.forward_passes, self.inputs, self.dropped = 0, 0, 0
        self.masks: list[tuple[str, str]] = []
        self._digest, self._beginning = hashlib.sha256(), ""
        likelihood.register_forward_hook(self._count)
        for name, module in likelihood.named_modules():
            # At dropout 0 peft puts an identity there.
            if "lora_dropout." in name and getattr(module, "p", 0):
                module.register_forward_pre_hook(_without_zeros)
                module.register_forward_hook(self._look)

    def _count(self, *_: Any) -> None:
        self.forward_passes += 1
        self.masks.append((self._digest.hexdigest(), self._beginning))
        self._digest, self._beginning = hashlib.sha256(), ""

    def _look(self, _module: Any, _inputs: Any, output: Any) -> None:
        zero = output == 0
        self.inputs += zero.numel()
        self.dropped += int(zero.sum())
        pattern = zero.numpy().tobytes()
        self._digest.update(pattern)
        self._beginning = self._beginning or pattern[:128].hex()


def _without_zeros(_module: Any, inputs: tuple) -> tuple:
    """Keep a sum that happens to be exactly 0, one in some ten million, from looking like a dropped number."""
    return (inputs[0].masked_fill(inputs[0] == 0, 1e-30),)


class OverflowingEngine:
    """An engine with fp16's overflows: in some attempts at a stage, one rank's gradients come out infinite.

    The loss stays finite, as it does when only the scaled gradients overflow, and DeepSpeed's own check finds the
    infinity and skips the optimizer. Only the type is pretended, for DeepSpeed refuses fp16 on most CPUs.
    """

    def __init__(self, engine: Any, attempts: list[int], rank: Any, pretend_fp16: bool):
        self.engine, self.attempts, self.pretend_fp16 = engine, attempts, pretend_fp16
        self.attempt = 0
        self.hit = rank.index == rank.world - 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def __call__(self, *arguments: Any) -> Any:
        return self.engine(*arguments)

    def fp16_enabled(self) -> bool:
        return self.pretend_fp16

    def backward(self, loss: Any) -> Any:
        spoiled = self.hit and self.attempt in self.attempts
        return self.engine.backward(loss * float("inf") if spoiled else loss)

    def step(self) -> None:
        self.engine.step()
        self.attempt += 1


if __name__ == "__main__":
    run_script(main)
