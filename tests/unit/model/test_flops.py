"""FLOPs from the formulas equal those that torch counts operation by operation."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from dnatune.benchmark import recipes
from dnatune.data.prompts import EncodedExamples
from dnatune.model import base_models, flops, label_likelihood, micro_batch
from dnatune.model.flops import Work
from dnatune.model.shared_prefix.packing import FEWEST_LOGITS, pack_scoring, pack_training
from samples import LORA

EXAMPLES = EncodedExamples(
    prefix=[5, 6, 7, 8, 9, 10],
    examples=[[11, 12, 13], [14, 15], [16, 17, 18, 19], [20, 21, 22]],
    answers=[0, 1, 1, 0],
    labels=[[23, 24, 2], [25, 2]],
)


def llama(key_value_heads=4) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=97,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=key_value_heads,
        )
    )


def counted(task) -> int:
    """Torch's counter, with what its table lacks: the CPU's fused attention, from its parts, and `addmm` in place."""
    lacking = {torch.ops.aten.addmm_: lambda _sum, a, b, **_: 2 * a[0] * a[1] * b[1]}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=lacking) as counter:
        task()
    return counter.get_total_flops()


@pytest.mark.parametrize("saved", [["embed_tokens", "lm_head"], ["embed_tokens"]])
@pytest.mark.parametrize("key_value_heads", [4, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_formula_counts_what_torch_counts(saved, key_value_heads, checkpointing):
    model = base_models.add_lora(
        llama(key_value_heads), LORA.model_copy(update={"modules_to_save": tuple(saved)}), seed=0
    ).train()
    batch = pack_training(EXAMPLES, range(4), shared=True)
    dimensions = flops.dimensions(model.get_base_model())
    likelihood = label_likelihood.LabelLikelihood(model)

    def task():
        with micro_batch.checkpointed(model, checkpointing):
            likelihood(batch).sum().backward()

    expected = flops.training_flops(dimensions, flops.executed(batch), checkpointing)
    # Recomputation stops at the last activation that is needed, which spares the last product of each layer.
    spared = 3 * 2 * LORA.rank * 32 * batch.input_ids.numel() if checkpointing else 0
    assert counted(task) == expected - spared


def test_padded_rows_with_all_logits_count_too():
    model = base_models.add_lora(llama(), LORA, seed=0).train()
    recipe = recipes.TrainingRecipe("plain", 2, False, recipes.ALL_LOGITS)
    batches = recipe.micro_batches(EXAMPLES, range(4))
    loss = recipes.RecipeLoss(model, shared=False)
    dimensions = flops.dimensions(model.get_base_model())
    found = counted(lambda: [loss(batch, 10).backward() for batch in batches])
    assert found == flops.training_flops(dimensions, recipes.work_of(batches))


def test_scoring_formulas_count_what_torch_counts():
    model = llama().eval()
    dimensions = flops.dimensions(model)
    batch = pack_scoring(EXAMPLES, range(4), shared=True)
    with torch.no_grad():
        packed = counted(lambda: label_likelihood.LabelLikelihood(model)(batch))
    assert packed == flops.scoring_flops(dimensions, flops.executed(batch))
    rows = counted(lambda: recipes.score_in_rows(model, EXAMPLES, range(4), 3))
    assert rows == flops.scoring_flops(dimensions, recipes.in_rows_work(EXAMPLES, range(4), 3))
    generated = []

    def one_by_one():
        scores = recipes.score_one_by_one(model, EXAMPLES, range(4), 96, lambda _: 5)
        generated.extend(scores.generated)

    found = counted(one_by_one)
    assert all(len(tokens) == 5 for tokens in generated)
    work = recipes.one_by_one_work(EXAMPLES, range(4), lambda _: 5)
    assert found == flops.scoring_flops(dimensions, work)


def test_dimensions_are_those_of_the_model():
    model = base_models.add_lora(llama(key_value_heads=2), LORA, seed=0)
    found = flops.dimensions(model.get_base_model())
    # q and o are 32×32, k and v 32×16, three feed-forward matrices 32×48; an adapter has rank × (in + out).
    assert found.frozen == 3 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    assert found.trained == 3 * LORA.rank * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 48))
    assert (found.layers, found.attention_width, found.head, found.head_trained) == (3, 32, 97 * 32, True)


def test_checkpointing_and_a_frozen_head_change_the_count_as_written():
    dimensions = flops.Dimensions(2, 8, frozen=100, trained=10, head=50, head_trained=True)
    frozen_head = flops.Dimensions(2, 8, frozen=100, trained=10, head=50, head_trained=False)
    work = Work(tokens=3, context=7, logits=2)
    assert flops.training_flops(dimensions, work) == 4 * 100 * 3 + 6 * 10 * 3 + 6 * 50 * 2 + 12 * 2 * 8 * 7
    assert flops.training_flops(dimensions, work) - flops.training_flops(frozen_head, work) == 2 * 50 * 2
    more = flops.training_flops(dimensions, work, checkpointing=True) - flops.training_flops(dimensions, work)
    assert more == 2 * 110 * 3 + 4 * 2 * 8 * 7


pieces = st.lists(st.integers(3, 9), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    prefix=st.lists(st.integers(3, 9), max_size=7),
    examples=st.lists(pieces, min_size=1, max_size=7),
    labels=st.lists(pieces, min_size=2, max_size=3),
    scoring=st.booleans(),
)
def test_floor_is_each_token_once_and_its_past(prefix, examples, labels, scoring):
    encoded = EncodedExamples(prefix, examples, [i % 2 for i in range(len(examples))], labels)
    batch = (pack_scoring if scoring else pack_training)(encoded, range(len(examples)), shared=True)
    p = len(prefix)
    tokens, context, logits = p, p * (p + 1) // 2, 0
    owns = []
    for index, example in enumerate(examples):
        e = len(example)
        tokens += e
        context += e * p + e * (e + 1) // 2
        owns.append(e)
        for label in labels if scoring else [labels[encoded.answers[index]]]:
            a = len(label) - 1
            tokens += a
            owns[-1] += a
            context += a * (p + e) + a * (a + 1) // 2
            logits += len(label)
    assert flops.required_work(batch) == Work(tokens, context, logits)
    looked = p**2 + len(examples) * max(owns) * (p + max(owns))
    assert flops.executed(batch) == Work(tokens, looked, max(FEWEST_LOGITS, logits))


def test_the_peak_is_that_of_the_fastest_trial(monkeypatch):
    durations = [0.5, 0.25, 2.0, 0.5]
    times = iter([time for number, length in enumerate(durations) for time in (10 * number, 10 * number + length)])
    monkeypatch.setattr(flops, "_PEAK_SIDE", {"cpu": 16})
    monkeypatch.setattr(flops, "now", lambda _: next(times))
    assert flops.matmul_peak("cpu", torch.float32) == 2 * 16**3 / 0.25


def test_what_no_formula_knows_is_not_counted(caplog, monkeypatch):
    """A matrix outside linear layers would be left out, and the reported utilisation would be too small."""
    monkeypatch.setattr(flops.distributed, "all_reduce", lambda *_, **__: None)
    monkeypatch.setattr(flops, "_PEAK_SIDE", {"cpu": 16})
    common = {"vocab_size": 41, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    experts = transformers.MixtralConfig(**common, intermediate_size=48, num_key_value_heads=2, num_local_experts=2)
    convolutions = transformers.GPT2Config(vocab_size=41, n_embd=32, n_layer=2, n_head=4)
    state_space = transformers.MambaConfig(vocab_size=41, hidden_size=32, num_hidden_layers=2)
    for config in (experts, convolutions, state_space):
        caplog.clear()
        meter = flops.meter(transformers.AutoModelForCausalLM.from_config(config), "cpu", checkpointing=False)
        assert meter.dimensions is None
        assert "FLOPs cannot be counted" in caplog.text
        batch = pack_training(EXAMPLES, range(2), shared=False)
        assert meter.rates(meter.work([batch], [batch]), 1, 1.0)["model_flop_utilisation"] is None


def test_a_micro_batch_that_only_keeps_step_is_executed_and_not_needed():
    meter = flops.Meter(flops.dimensions(llama()), 1e9, checkpointing=False)
    real, filler = (pack_training(EXAMPLES, part, shared=True) for part in ([0, 1], [0]))
    alone, both = meter.work([real], [real]), meter.work([real, filler], [real])
    assert both[2] == alone[2]
    assert both[1] > alone[1] and both[0] > alone[0]
