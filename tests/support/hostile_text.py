"""Texts that would do something if any shell, template or page read them as more than text."""

#: A command, quotes of every kind, a wildcard of Snakemake and a path variable, markup, a format string.
ATTACK = "$(touch pwned) `touch pwned`; touch pwned & 'q' \"d\" {x} {input} <x> <script>pwn()</script> %s \\ *"
#: The same for a path, in which Snakemake reads braces and angles as names to fill in: there they are refused.
PATH_ATTACK = "$(touch pwned) `touch pwned`; touch pwned & 'q' \"d\" %s \\ *"
#: Looks like a token of Hugging Face and is none.
TOKEN = "hf_" + "Canary7" * 5
#: Where a task stands, and a split of it that has files of its own.
_TASKS = [
    f"{task}.{split}" for task in ("tasks.0", "models.*.tiny.pretrain.tasks.0") for split in ("", "dev.", "test.")
]
#: Keys that take any line of text, because nothing but a reader or a file system reads it.
FREE = {
    "data.hub.revision",
    "lora.modules_to_save.0",
    "lora.target_modules.0",
    "models.*.hub.revision",
    "models.*.tiny.pretrain.tasks.0.instruction",
    "models.*.tiny.pretrain.tasks.0.labels.0",
    "optimizers.*.any",
    "predict.column",
    "tasks.0.instruction",
    "tasks.0.labels.0",
    "training.deepspeed.any",
    *(f"{task}table.{column}" for task in _TASKS for column in ("sequence", "label", "split", "chromosome")),
}
#: Keys that take any path.
PATHS = {
    "benchmark.tokenizer",
    "contamination.manifest",
    "data.directory.path",
    "models.*.directory.path",
    "models.*.tiny.pretrain.tasks.0.path",
    "predict.genome",
    "tasks.0.path",
    *(f"{task}{file}" for task in _TASKS for file in ("fasta.*", "bed.*", "genome", "table.path")),
}
