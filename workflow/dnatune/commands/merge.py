"""Merge an adapter into its base model: a plain transformers folder that loads without peft.

By hand:  python -m dnatune merge --experiment config/demo.yaml --model base --record run.json --folder merged
"""

import logging
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dnatune.commands import stage_parser
from dnatune.data.integrity import MANIFEST, check_model, contents_of
from dnatune.files import publish_folder
from dnatune.settings import experiment
from dnatune.training import record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Prompts on which the merged weights are compared with base + adapter, and bases of each.
_PROMPTS, _BASES = 2, 70


def main() -> None:
    """Parse the command line and merge; a diverged run has nothing to merge and passes its run.json on."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--record", type=Path, required=True, help="run.json, with the adapter beside it")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    run, adapter = record.Run.read(options.record), record.adapter_of(options.record)
    with publish_folder(options.folder) as folder:
        if run.status == "completed":
            run.check_outputs(options.record)
            check_model(options.model)

            from dnatune.model.base_models import load_tokenizer
            from dnatune.model.merging import merge

            settings = experiment.read(options.experiment).merge_settings()
            storage = merge(options.model, adapter, folder, settings.dtype, prompts_of(run, load_tokenizer(adapter)))
            storage.write(folder / "storage.json")
            if storage.lossy:
                logging.warning(storage.warning)
        shutil.copyfile(options.record, folder / "run.json")
        contents_of(folder).write(folder / MANIFEST)


def prompts_of(run: record.Run, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Return prompts of the run's task with random sequences, each with an answer behind it.

    A classification head gets the sequences alone.
    """
    from dnatune.data.prompt_form import PromptForm

    settings, dice = run.typed_settings, random.Random(0)  # noqa: S311
    sequences = ["".join(dice.choices("ACGT", k=_BASES)) for _ in range(_PROMPTS)]
    if settings.head:
        return sequences
    form = PromptForm.of(tokenizer, settings.prompt)
    answers = form.words(settings.task.labels)
    return [
        form.text(settings.task.instruction, sequence) + answers[number % len(answers)]
        for number, sequence in enumerate(sequences)
    ]
