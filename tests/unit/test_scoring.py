"""Free decoding: batches answer as single prompts do, and only a label is an answer."""

import pytest
import torch

from dnatune import models, scoring
from dnatune.prompts import encode_examples
from dnatune.records import instruction_records
from samples import TASK


def test_batched_decoding_equals_decoding_one_by_one(tiny_model, simulated_rows):
    tokenizer = models.load_tokenizer(tiny_model)
    model = models.load_model(tiny_model, tokenizer, torch.float32).eval()
    rows = [(sequence[: 20 + 7 * (i % 5)], label) for i, (sequence, label) in enumerate(simulated_rows[:12])]
    examples = encode_examples(tokenizer, instruction_records(rows, TASK), TASK.labels, 512, "rows")
    together = scoring.generate_answers(model, tokenizer, examples, 12, 6)
    for index, text in enumerate(together):
        ids = torch.tensor([examples.prompt(index)])
        output = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=tokenizer.eos_token_id)
        assert text == tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("promoter", 1),
        (" Non-promoter \n", 0),
        ("dnon-promoter", None),
        ("Promoter", None),
        ("promoter promoter", None),
        ("", None),
    ],
)
def test_only_a_label_is_an_answer(text, parsed):
    assert scoring.parse_answer(text, TASK.labels) == parsed
