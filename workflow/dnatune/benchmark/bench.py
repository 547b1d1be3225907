"""What all measurements share: the batch, the model with random weights, and the description of the machine."""

import gc
import platform
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerBase

from dnatune.benchmark import timing
from dnatune.benchmark.kernels import liger_usable
from dnatune.data.prompts import EncodedExamples
from dnatune.errors import ConfigurationError, DataError, memory_ended
from dnatune.launch.process_group import Rank
from dnatune.model import base_models, flops
from dnatune.model.sources import llama_configuration
from dnatune.provenance import cpu_model, usable_cores
from dnatune.settings.benchmark import BenchmarkSettings
from dnatune.training import engine

_Result = TypeVar("_Result")


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
        ConfigurationError: if the tokenizer has more tokens than the embedding has rows.
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
        #: dnatune's layers are compiled as in a run that is long enough for it.
        self.compiled = engine.compiles(self.settings.training, engine.FEWEST_COMPILED, self.rank.device)
        self.dtype = engine.dtype_of(self.precision)
        self.liger = liger_usable(self.rank.device)
        self.vocabulary = self.own.vocabulary or len(tokenizer)
        if self.vocabulary < len(tokenizer):
            raise ConfigurationError(
                f"{self.vocabulary} rows do not suffice for the {len(tokenizer)} tokens of the tokenizer",
                where="config key 'benchmark.vocabulary'",
                fix=f"give at least {len(tokenizer)}, or leave the key out",
            )

    def base(self, dtype: torch.dtype, layers: int | None = None, device: str | None = None) -> LlamaForCausalLM:
        """Return the model with random weights.

        Args:
            dtype: number format of the weights.
            layers: number of layers, if not all.
            device: device on which the weights are made, if not the rank's.
        """
        shape = self.own if layers is None else self.own.model_copy(update={"layers": layers})
        configuration = llama_configuration(shape, self.tokenizer)
        configuration.vocab_size = self.vocabulary
        with torch.random.fork_rng(), torch.device(device or self.rank.device):
            torch.manual_seed(0)
            return AutoModelForCausalLM.from_config(configuration, dtype=dtype)

    def dimensions(self) -> flops.Dimensions:
        """Return the dimensions of the adapted model, from one without weights."""
        hollow = base_models.add_lora(self.base(self.dtype, device="meta"), self.settings.lora, seed=0)
        return flops.dimensions(hollow.get_base_model())

    def adapted(self, dtype: torch.dtype, layers: int | None = None) -> Any:
        """Return the model with a fresh adapter; see `base`."""
        return base_models.add_lora(self.base(dtype, layers), self.settings.lora, seed=0).to(self.rank.device, dtype)

    def free(self) -> None:
        """Give memory that nothing uses any more back to the device."""
        gc.collect()
        if self.rank.device != "cpu":
            torch.cuda.empty_cache()

    def with_layers_that_fit(self, check: Callable[[int], _Result]) -> tuple[int, _Result]:
        """Return the result of a check, and the largest number of layers, halved from all, that memory suffices for.

        The checks run in fp32, in which a model that trains in half precision may not fit into a GPU's memory.
        """
        layers = self.own.layers
        while True:
            try:
                return layers, check(layers)
            except RuntimeError as error:
                if layers == 1 or not memory_ended(error):
                    raise
            # After the handler, because the error keeps what was allocated alive.
            self.free()
            layers = -(-layers // 2)


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers were measured on, without host names and paths."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu",
    }
