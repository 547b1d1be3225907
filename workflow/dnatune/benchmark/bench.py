"""What all measurements share: the batch, the model with random weights, and the description of the machine."""

import platform
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from dnatune.benchmark import recipes, timing
from dnatune.benchmark.recipes import TrainingRecipe
from dnatune.data.prompts import EncodedExamples
from dnatune.errors import DataError
from dnatune.launch.process_group import Rank
from dnatune.model import base_models
from dnatune.model.shared_prefix.packing import Rows
from dnatune.model.sources import llama_configuration
from dnatune.provenance import cpu_model, usable_cores
from dnatune.settings.benchmark import BenchmarkSettings
from dnatune.training import engine


class Bench:
    """The inputs of every measurement.

    Args:
        settings: what `Configuration.benchmark_settings` returns.
        rank: this process, which is the only one.
        tokenizer: the model's tokenizer.
        train: the encoded examples of the global batch.
        test: the encoded examples to score.

    Raises:
        DataError: if a split has too few records.
    """

    def __init__(
        self,
        settings: BenchmarkSettings,
        rank: Rank,
        tokenizer: PreTrainedTokenizerBase,
        train: EncodedExamples,
        test: EncodedExamples,
    ):
        self.settings, self.rank, self.tokenizer, self.train, self.test = settings, rank, tokenizer, train, test
        self.own = settings.benchmark
        self.neighbours = timing.Neighbours(self.own.patience)
        for split, wanted, found in (
            ("train", self.own.examples, len(self.train)),
            ("test", self.own.scoring_examples, len(self.test)),
        ):
            if found < wanted:
                raise DataError(
                    f"{found} records for {wanted} examples",
                    where=f"the {split} split of task {self.settings.task.name}",
                    fix="lower 'benchmark.examples' or 'benchmark.scoring_examples', or take a larger task",
                )
        self.batch = range(self.own.examples)
        self.part = range(min(self.own.slow_examples, self.own.examples))
        self.scored = range(self.own.scoring_examples)
        self.precision = engine.resolve_precision(self.settings.training.precision, self.rank.device)
        self.dtype = engine.dtype_of(self.precision)

    def base(self) -> LlamaForCausalLM:
        """Return the model with random weights, in fp32 on the device."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return LlamaForCausalLM(llama_configuration(self.own, self.tokenizer)).to(self.rank.device)

    def adapted(self) -> Any:
        """Return the model with a fresh adapter, in fp32 on the device."""
        return base_models.add_lora(self.base(), self.settings.lora, seed=0)

    def recipes(self, rows: Rows) -> list[TrainingRecipe]:
        """Return the compared training recipes; dnatune's is last, with the largest micro-batch that fits."""
        return recipes.training_recipes(min(rows.micro_batch_size, len(self.batch)), rows.recomputed)


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers were measured on, without host names and paths."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu",
    }
