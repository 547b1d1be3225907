"""What a base model, an adapter, a checkpoint and a merged model take on disk, from the network without its weights."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dnatune import optimizers
from dnatune.model import base_models, classification
from dnatune.model.architecture import network_of
from dnatune.model.classification import Head
from dnatune.model.merged_tensors import FORMATS
from dnatune.settings.experiment import Configuration
from dnatune.settings.sources import ModelSettings
from dnatune.settings.training import FinetuneSettings

_FP32 = 4
#: Files of weights; all others of a base model's folder, the tokenizer above all, lie beside adapter and merged model.
_WEIGHTS = "*.safetensors"
#: Bytes of tokenizer.json per piece of a vocabulary: 46 of 600 pieces, 54 of 1,024 (config/demo-base).
_BYTES_PER_PIECE = 50
#: Copies of the trained weights in the state of an optimizer that dnatune does not know, as AdamW has.
_UNKNOWN_COPIES = 2


@dataclasses.dataclass(frozen=True)
class ModelSizes:
    """What stands on disk of a base model and of a run on it, in bytes.

    Attributes:
        base: the folder of the base model.
        adapter: of a run; its weights are stored in fp32.
        merged: the merged model of a run.
        trained: parameters that a run trains.
    """

    base: int
    adapter: int
    merged: int
    trained: int

    def checkpoint(self, settings: FinetuneSettings, item_bytes: int) -> int:
        """Return the size of one checkpoint of a run, over all its ranks.

        It holds the trained weights in the format of training, unless ZeRO 3 shards them, their full-precision copy,
        which ZeRO has in any format, and the state of the optimizer in fp32 (`training.engine_state`).

        Args:
            settings: of the run.
            item_bytes: of a number in the format of training.
        """
        zero, chosen = settings.training.zero_stage, settings.optimizer
        copies = optimizers.state_copies(chosen.method, chosen.hyperparameters)
        weights = item_bytes if zero < 3 else 0
        master = _FP32 if zero or item_bytes < _FP32 else 0
        return self.trained * (weights + master + _FP32 * (_UNKNOWN_COPIES if copies is None else copies))


def sizes_of(configuration: Configuration, model: str, results: Path) -> ModelSizes:
    """Return the sizes for a base model; of the tasks that with the most classes counts.

    Args:
        configuration: the experiment.
        model: name of the base model.
        results: folder results/<name>, in which the model may be already.

    Raises:
        DownloadError: the hub, which has the model, cannot be asked.
        ModelError: the folder holds no model that can be loaded.
    """
    settings = configuration.model_settings(model)
    labels = max((task.labels for task in configuration.tasks.values()), key=len)
    lora, merged_as = configuration.experiment.lora, configuration.merge_settings().dtype
    with _outline(settings, results / "download" / "models" / model) as (folder, stored):
        head = Head(labels, 0) if settings.head else None
        network = network_of(folder, head)
        if head:
            lora = classification.chosen_lora(lora, network)
        if settings.tiny is None:
            base_models.add_rows(network, len(base_models.load_tokenizer(folder)))
        item = (network.config.dtype or FORMATS["fp32"]).itemsize
        parameters = base_models.parameter_counts(network)[1]
        trained, total = base_models.parameter_counts(base_models.add_lora(network, lora, 0))
        others = sum(path.stat().st_size for path in folder.iterdir() if not path.match(_WEIGHTS))
    if settings.tiny:
        others += _BYTES_PER_PIECE * settings.tiny.vocabulary
    # A tied output matrix that is trained is stored for itself, and so counts in `total`.
    merged_item = FORMATS[merged_as].itemsize if merged_as else item
    return ModelSizes(
        base=stored if stored is not None else parameters * item + others,
        adapter=trained * _FP32 + others,
        merged=(total - trained) * merged_item + others,
        trained=trained,
    )


@contextlib.contextmanager
def _outline(settings: ModelSettings, downloaded: Path) -> Iterator[tuple[Path, int | None]]:
    """Yield a folder with the configuration and the tokenizer of a base model, and the bytes of all its files.

    These are not known before a tiny model is made; its tokenizer is not there either.
    """
    there = downloaded if downloaded.is_dir() else None
    if there is None and settings.directory:
        there = Path(settings.directory.path).expanduser()
    if there:
        from dnatune.model.sources import check_folder

        check_folder(there)
        linked = settings.directory is not None and settings.directory.link
        own = [path for path in there.iterdir() if path.is_file() and not (linked and path.match(_WEIGHTS))]
        yield there, sum(path.stat().st_size for path in own)
        return
    with tempfile.TemporaryDirectory() as scratch:
        if settings.hub:
            from dnatune.data.hub import fetch_outline

            yield Path(scratch), fetch_outline(settings.hub.repo, settings.hub.revision, Path(scratch))
            return
        from dnatune.model.sources import llama_configuration

        pieces = _Pieces(settings.tiny.vocabulary)
        llama_configuration(settings.tiny, pieces, settings.tiny.tied_embeddings).save_pretrained(scratch)
        yield Path(scratch), None


@dataclasses.dataclass(frozen=True)
class _Pieces:
    """What a configuration takes from a tokenizer that is not made yet."""

    number: int
    bos_token_id: int = 0
    eos_token_id: int = 1

    def __len__(self) -> int:
        return self.number
