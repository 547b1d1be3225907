"""On a GPU, shared-prefix rows equal one example per row in every format, and the micro-batch fits into memory."""

import numpy as np
import pytest
import torch
from torch import distributed

from dnatune.data.prompts import encode_examples
from dnatune.data.records import read_split
from dnatune.model import base_models, label_likelihood, micro_batch
from dnatune.model.scoring import label_log_probabilities
from dnatune.model.shared_prefix import exactness
from dnatune.model.shared_prefix.packing import chunks, pack_training
from dnatune.settings.training import Training
from samples import LORA, TASK, make_tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = "cuda:0"
COUNT = 96


@pytest.fixture(scope="module", params=[{}, {"key_value_heads": 2}, {"tied_embeddings": True}], ids=str)
def folder(request, tmp_path_factory, simulated_rows):
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", simulated_rows, **request.param)


def encode(folder, prepared):
    tokenizer = base_models.load_tokenizer(folder)
    train = read_split(prepared / "train.jsonl", TASK.labels)
    return tokenizer, encode_examples(tokenizer, train, TASK.labels, 512, "train.jsonl")


def trainable_model(folder, tokenizer, dtype=torch.float32):
    model = base_models.add_lora(base_models.load_model(folder, tokenizer, dtype), LORA, seed=1)
    # LoRA's B starts at zero, which would hide errors in A's gradient.
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.to(DEVICE)


def gradients_of(model, examples, count, per_row, shared=True, compiled=False):
    model.zero_grad()
    likelihood = label_likelihood.LabelLikelihood(model)
    if compiled:
        likelihood.compile_layers()
    for part in chunks(range(count), per_row):
        (-likelihood(pack_training(examples, part, shared).to(torch.device(DEVICE))).sum() / count).backward()
    return {name: p.grad.double() for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture
def fp32_products():
    """Matrix products in fp32 proper, not in the shorter TF32."""
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = allowed


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("per_row", [1, 7, COUNT])
def test_gradients_equal_ordinary_training(folder, prepared, fp32_products, per_row, compiled):
    tokenizer, examples = encode(folder, prepared)
    model = trainable_model(folder, tokenizer)
    model.zero_grad()
    for i in range(COUNT):
        ids = torch.tensor([examples.prompt(i) + examples.answer(i)], device=DEVICE)
        log_p = model(input_ids=ids).logits[0].double().log_softmax(-1)
        start = len(examples.prompt(i)) - 1
        (-sum(log_p[start + k, token] for k, token in enumerate(examples.answer(i))) / COUNT).backward()
    expected = {name: p.grad.double() for name, p in model.named_parameters() if p.requires_grad}
    for name, gradient in gradients_of(model, examples, COUNT, per_row, compiled=compiled).items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        assert error < 5e-6, f"{name}: {error:.1e}"


@pytest.mark.parametrize("recomputed", [False, True], ids=["kept", "recomputed"])
def test_one_compiled_code_serves_rows_of_all_lengths(folder, prepared, recomputed):
    tokenizer, examples = encode(folder, prepared)
    model = trainable_model(folder, tokenizer)
    with micro_batch.checkpointed(model, recomputed):
        likelihood = label_likelihood.LabelLikelihood(model)
        likelihood.compile_layers()

        def both_passes(first, last):
            likelihood(pack_training(examples, range(first, last), True).to(torch.device(DEVICE))).sum().backward()

        both_passes(0, COUNT)
        both_passes(0, COUNT // 2)
        with torch.compiler.set_stance("fail_on_recompile"):
            for last in range(COUNT // 2 + 1, COUNT, 5):
                both_passes(1, last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_format_gets_shared_rows(folder, prepared, dtype):
    tokenizer, examples = encode(folder, prepared)
    assert exactness.shared_rows(base_models.load_model(folder, tokenizer, dtype).to(DEVICE), [examples])


def test_scores_are_those_of_the_processor(folder, prepared):
    tokenizer, examples = encode(folder, prepared)
    model = base_models.load_model(folder, tokenizer, torch.float32).eval()
    scores = {
        device: label_log_probabilities(
            label_likelihood.LabelLikelihood(model.to(device)), examples, range(COUNT), 32, True, device
        )
        for device in ("cpu", DEVICE)
    }
    assert np.abs(np.array(scores["cpu"]) - np.array(scores[DEVICE])).max() < 2e-5


@pytest.fixture
def alone(tmp_path):
    """A process group with only this process."""
    distributed.init_process_group("nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.fixture
def scarce():
    """A function that limits torch to a number of bytes of GPU memory until the test ends."""
    total = torch.cuda.get_device_properties(0).total_memory
    yield lambda limit: torch.cuda.set_per_process_memory_fraction(limit / total)
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_where_memory_ends_the_micro_batch_is_halved_and_the_gradient_the_same(
    tmp_path, simulated_rows, prepared, alone, scarce
):
    folder = make_tiny_model(tmp_path / "tiny", simulated_rows, hidden_size=512, intermediate_size=2048)
    tokenizer, examples = encode(folder, prepared)
    model = trainable_model(folder, tokenizer)
    count = len(examples)
    whole = gradients_of(model, examples, count, count)
    model.zero_grad()
    torch.cuda.empty_cache()
    idle = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    gradients_of(model, examples, count, count)
    model.zero_grad()
    needed = torch.cuda.max_memory_reserved() - idle
    torch.cuda.empty_cache()
    # What the optimizer will take is left free too: no copies here, so the gradient twice.
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    scarce(idle + micro_batch.later_bytes(trained, 1, 1, 0) + needed // 3)
    training = Training(gradient_checkpointing=False, global_batch_size=count, zero_stage=1)
    likelihood = label_likelihood.LabelLikelihood(model)
    rows = micro_batch.choose_micro_batch(training, model, likelihood, examples, True, DEVICE, 1, 0)
    assert 1 < rows.micro_batch_size <= count // 2
    assert not rows.recomputed
    halved = gradients_of(model, examples, count, rows.micro_batch_size)
    for name, gradient in halved.items():
        assert (gradient - whole[name]).norm() < 5e-6 * whole[name].norm(), name


def test_where_memory_ends_the_scored_batch_is_halved_and_the_scores_the_same(
    tmp_path, simulated_rows, prepared, scarce, caplog
):
    folder = make_tiny_model(tmp_path / "tiny", simulated_rows, hidden_size=512, intermediate_size=2048)
    tokenizer, examples = encode(folder, prepared)
    likelihood = label_likelihood.LabelLikelihood(
        base_models.load_model(folder, tokenizer, torch.float32).to(DEVICE).eval()
    )
    count = len(examples)

    def score():
        torch.cuda.empty_cache()
        return label_log_probabilities(likelihood, examples, range(count), count, True, DEVICE)

    score()
    torch.cuda.empty_cache()
    idle = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    whole = score()
    needed = torch.cuda.max_memory_reserved() - idle
    scarce(idle + needed // 2)
    with caplog.at_level("INFO"):
        halved = score()
    assert f"{count} examples at once need more memory" in caplog.text
    assert np.abs(halved - whole).max() < 2e-5
