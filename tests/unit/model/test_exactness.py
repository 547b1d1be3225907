"""Shared rows are used only for models for which they are exact; ordinary rows are exact for every model."""

import logging

import pytest
import torch
import transformers

from dnatune.data.prompts import EncodedExamples
from dnatune.model import base_models, label_likelihood
from dnatune.model.shared_prefix import exactness
from dnatune.model.shared_prefix.packing import pack_scoring, pack_training

EXAMPLES = EncodedExamples(
    prefix=[5, 6, 7, 8, 9, 10, 3, 4],
    examples=[[11, 12, 13], [14, 15], [16, 17, 18, 19], [20, 21, 22], [11, 19, 12]],
    answers=[0, 1, 1, 0, 1],
    labels=[[23, 24, 2], [23, 2]],
)
COMMON = {"vocab_size": 41, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
DECODER = {**COMMON, "intermediate_size": 48, "num_key_value_heads": 2}
#: Large weights, so that attention matters as much as in a trained model.
WIDE = {"initializer_range": 0.3}


def build(name, **settings):
    torch.manual_seed(0)
    configuration = getattr(transformers, f"{name}Config")(**settings)
    return getattr(transformers, f"{name}ForCausalLM")(configuration).eval()


EXACT = {
    "llama": lambda: build("Llama", **DECODER, **WIDE),
    "tied": lambda: build("Llama", **DECODER, **WIDE, tie_word_embeddings=True),
    "qwen3": lambda: build("Qwen3", **DECODER, **WIDE, head_dim=8),
    "mistral without a window": lambda: build("Mistral", **DECODER, **WIDE, sliding_window=None),
    "mistral, window wider than an example": lambda: build("Mistral", **DECODER, **WIDE, sliding_window=16),
    "mixture of experts": lambda: build("Mixtral", **DECODER, **WIDE, num_local_experts=4),
}
INEXACT = {
    "mistral, narrow window": (lambda: build("Mistral", **DECODER, **WIDE, sliding_window=12), "window has 12 tokens"),
    "alibi": (
        lambda: build("Bloom", vocab_size=41, hidden_size=32, n_layer=2, n_head=4, **WIDE),
        exactness.NO_MASK,
    ),
    # transformers' default weights are small: one example changes the next only slightly.
    "jamba": (
        lambda: build("Jamba", **DECODER, num_experts=2, attn_layer_period=2, attn_layer_offset=1),
        exactness.LEAK,
    ),
    "falcon h1": (
        lambda: build("FalconH1", **DECODER, mamba_n_heads=4, mamba_d_head=16, mamba_d_ssm=64),
        exactness.LEAK,
    ),
    "convolutions": (lambda: build("Lfm2", **DECODER, layer_types=["conv", "full_attention"]), exactness.LEAK),
    "state space": (lambda: build("Mamba", vocab_size=41, hidden_size=32, num_hidden_layers=2), exactness.NO_HEADS),
    "capped logits": (
        lambda: build("Gemma2", **DECODER, head_dim=8, sliding_window=500, final_logit_softcapping=0.5, **WIDE),
        exactness.NO_MASK,
    ),
    "scaled logits": (lambda: build("Cohere", **DECODER, **WIDE, logit_scale=0.25), "log-probabilities"),
}


def own_log_probabilities(model, examples, indices):
    """Return log p of each whole label from the model's own forward pass: one unpadded row each, without a mask."""
    scores = []
    for index in indices:
        for label in examples.labels:
            prompt = examples.prompt(index)
            log_p = model(input_ids=torch.tensor([prompt + label])).logits[0].float().log_softmax(-1)
            scores.append(sum(log_p[len(prompt) - 1 + k, token] for k, token in enumerate(label)))
    return torch.stack(scores)


@pytest.mark.parametrize("name", EXACT)
def test_models_with_positions_and_masks_of_their_input_get_shared_rows(name, caplog):
    model = EXACT[name]()
    with caplog.at_level(logging.WARNING):
        assert exactness.shared_rows(model, [EXAMPLES])
    assert exactness.__name__ not in [record.name for record in caplog.records]


class Tokenizer:
    """The part of a tokenizer that loading a model needs."""

    def __len__(self):
        return COMMON["vocab_size"]


#: A long example before a short one; their lengths differ too much to attend side by side.
LONG_FIRST = EncodedExamples(EXAMPLES.prefix, [[11, 12, 13] * 20, [14, 15, 16, 17, 18]], [0, 1], EXAMPLES.labels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["jamba", "falcon h1", "convolutions"])
def test_a_leak_shows_whatever_the_lengths_of_the_examples(name, dtype):
    assert exactness.why_not_shared(INEXACT[name][0]().to(dtype), [LONG_FIRST]) == exactness.LEAK


@pytest.mark.parametrize("name", EXACT)
def test_models_serve_examples_of_all_lengths_exactly(name):
    # A window longer than one example may be shorter than the other.
    reason = exactness.why_not_shared(EXACT[name](), [LONG_FIRST])
    assert "window has 16 tokens" in reason if "wider than an example" in name else reason is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", INEXACT)
def test_others_get_ordinary_rows_and_the_log_says_why(name, dtype, tmp_path, caplog):
    make, reason = INEXACT[name]
    make().save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert not exactness.shared_rows(base_models.load_model(tmp_path, Tokenizer(), dtype), [EXAMPLES])
    (warning,) = [record for record in caplog.records if record.name == exactness.__name__]
    assert reason in warning.getMessage()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [0.05, 0.1, 0.2, 0.3])
def test_rounding_does_not_prevent_shared_rows(width, dtype):
    """Log-probabilities are -6 to -20, as those of a trained model; the formats resolve 1e-3 of that."""
    size = {"hidden_size": 256, "num_hidden_layers": 6, "intermediate_size": 512}
    model = build("Llama", **{**DECODER, **size, "num_key_value_heads": 4}, initializer_range=width)
    assert exactness.why_not_shared(model.to(dtype), [EXAMPLES]) is None


def test_a_window_must_hold_the_examples_of_every_split():
    model = build("Mistral", **DECODER, **WIDE, sliding_window=16)
    longer = EncodedExamples(EXAMPLES.prefix, [[11] * 7], [0], EXAMPLES.labels)
    assert exactness.why_not_shared(model, [EXAMPLES]) is None
    reason = exactness.why_not_shared(model, [EXAMPLES, longer])
    assert "window has 16 tokens" in reason and "18" in reason


def test_one_example_is_enough_to_tell():
    one = EncodedExamples(EXAMPLES.prefix, EXAMPLES.examples[:1], [0], EXAMPLES.labels)
    assert exactness.why_not_shared(EXACT["llama"](), [one]) is None
    assert exactness.why_not_shared(INEXACT["jamba"][0](), [one]) == exactness.LEAK


@pytest.mark.parametrize("name", [*EXACT, *INEXACT])
@torch.no_grad()
def test_the_rows_that_are_chosen_score_as_the_model_does(name):
    model = EXACT[name]() if name in EXACT else INEXACT[name][0]()
    shared = exactness.shared_rows(model, [EXAMPLES])
    indices = range(len(EXAMPLES))
    batch = pack_scoring(EXAMPLES, indices, shared)
    tokens = label_likelihood.LabelLikelihood(model)(batch)
    scores = torch.zeros(2 * len(EXAMPLES)).index_add_(0, batch.owners, tokens)
    assert scores == pytest.approx(own_log_probabilities(model, EXAMPLES, indices), abs=2e-5)


def test_ordinary_rows_train_on_the_same_answers():
    model = EXACT["llama"]()
    indices = [3, 0, 4]
    ordinary, shared = (pack_training(EXAMPLES, indices, way) for way in (False, True))
    likelihood = label_likelihood.LabelLikelihood(model)
    found, expected = (
        torch.zeros(3).index_add_(0, batch.owners, likelihood(batch).detach()) for batch in (ordinary, shared)
    )
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_refused_mask_is_a_reason_and_other_failures_are_not_hidden():
    model = EXACT["llama"]()

    class Refusing(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, **arguments):
            raise ValueError("attention_mask must be 2-D")

    decoder = model.model
    model.get_decoder = lambda: Refusing(decoder)
    assert "attention_mask must be 2-D" in exactness.why_not_shared(model, [EXAMPLES])

    class Full(Refusing):
        def forward(self, **arguments):
            raise torch.OutOfMemoryError("no memory")

    model.get_decoder = lambda: Full(decoder)
    with pytest.raises(torch.OutOfMemoryError):
        exactness.why_not_shared(model, [EXAMPLES])
