"""Constants and a tiny model, for every folder of tests."""

from pathlib import Path

from dnatune.data.prompts import render
from dnatune.data.tasks import GUE

ROOT = Path(__file__).resolve().parents[2]
TASK = GUE["prom_core_all"]
TINY = {
    "hidden_size": 32,
    "layers": 2,
    "heads": 4,
    "key_value_heads": 4,
    "intermediate_size": 64,
    "vocabulary": 600,
    "tied_embeddings": False,
    "seed": 0,
}
LORA = {
    "rank": 4,
    "alpha": 16,
    "dropout": 0.0,
    "target_modules": ["q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "down_proj", "up_proj"],
    "modules_to_save": ["embed_tokens", "lm_head"],
}


def make_tiny_model(folder: Path, rows: list[tuple[str, int]], **changes) -> Path:
    """Write a tiny model whose tokenizer is made from `rows`."""
    from dnatune.model.sources import make_tiny

    folder.mkdir(parents=True)
    prompt = render({"instruction": TASK.instruction, "input": ""})
    prompts = [prompt + label for label in TASK.labels]
    make_tiny({**TINY, **changes}, [sequence for sequence, _ in rows], prompts, folder)
    return folder
