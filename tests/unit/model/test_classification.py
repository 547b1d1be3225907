"""Encoders with a classification head: trained as transformers would, padded without effect, merged without loss."""

import copy
import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AlbertForSequenceClassification, LlamaConfig, LlamaForCausalLM, pipeline

from dnatune.data.prompts import encode_sequences
from dnatune.errors import ConfigurationError, DataError, ModelError
from dnatune.model import (
    base_models,
    classification,
    hidden_states,
    label_likelihood,
    merging,
    micro_batch,
    scoring,
    sources,
    supported,
)
from dnatune.model.architecture import Architecture, network_of
from dnatune.model.classification import Head
from dnatune.model.shared_prefix import exactness
from dnatune.model.shared_prefix.packing import pack_scoring, pack_training
from dnatune.prediction.scorer import Scorer
from dnatune.settings.sources import TaskSettings
from dnatune.settings.training import Lora
from encoders import CONFIGURATIONS, make_encoder, single_bases
from samples import split_of

LABELS = ("no site", "donor", "acceptor")
HEAD = Head(LABELS, seed=1)
#: Without dropout, so that results can be compared.
CALM = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}


def rows_of(lengths):
    dice = random.Random(0)
    return [("".join(dice.choices("ACGT", k=length)), number % len(LABELS)) for number, length in enumerate(lengths)]


ROWS = rows_of((10, 60, 21, 33, 90, 13, 47))
EVERY = range(len(ROWS))


def encoded(rows=ROWS, most=128):
    return encode_sequences(single_bases(), split_of(rows), LABELS, most, "rows")


def adapted(folder):
    """Return the base model of a folder with its head and an adapter whose B is not zero, which would hide errors."""
    tokenizer = base_models.load_tokenizer(folder)
    base = base_models.load_model(folder, tokenizer, torch.float32, head=HEAD)
    model = base_models.add_lora(base, classification.chosen_lora(Lora(rank=4, dropout=0.0), base), seed=1)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def scores(model, examples, together):
    likelihood = label_likelihood.LabelLikelihood(model.eval())
    return scoring.label_log_probabilities(likelihood, examples, EVERY, together, False, "cpu")


@pytest.fixture(scope="module", params=[*CONFIGURATIONS, "bare BERT"])
def folder(request, tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("encoder") / "base", request.param, **CALM)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("bert") / "base", **CALM)


def test_loss_and_gradients_are_those_of_transformers(folder):
    model, examples = adapted(folder).eval(), encoded()
    inputs = single_bases().pad({"input_ids": list(examples.examples)}, return_tensors="pt")
    expected = model.get_base_model()(**inputs, labels=torch.tensor(examples.answers)).loss
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    likelihood = label_likelihood.LabelLikelihood(model)
    # In micro-batches of two, as the loop does.
    loss = sum(-likelihood(pack_training(examples, part, False)).sum() for part in ([0, 1], [2, 3], [4, 5], [6]))
    (loss / len(ROWS)).backward()
    assert float(loss.detach()) / len(ROWS) == pytest.approx(float(expected.detach()), rel=1e-6)
    size = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert (p.grad - gradients[name]).norm() <= 1e-6 * size, name
            assert "lora_A" in name or p.grad.any(), name


def test_padding_changes_nothing(folder):
    model, examples = adapted(folder), encoded()
    alone = scores(model, examples, 1)
    assert abs(alone - scores(model, examples, len(ROWS))).max() < 1e-6
    # They do depend on the sequence.
    assert alone.std(axis=0).max() > 1e-3


def test_new_sequences_are_predicted_as_the_test_split_is_scored(bert):
    model = adapted(bert)
    task = TaskSettings(name="sites", labels=LABELS, instruction="Which?")
    scorer = Scorer(model, single_bases(), task, None, 128, 4, "cpu")
    examples = scorer.encode([sequence for sequence, _ in ROWS])
    assert scorer.tokens(examples).tolist() == [len(sequence) + 2 for sequence, _ in ROWS]
    assert abs(scorer.log_probabilities(examples) - scores(model, encoded(), 4)).max() < 1e-6
    assert scorer.fewest_bases == 1
    # BERT has an embedding for each of 128 positions, and every one may be used.
    assert np.isfinite(scorer.log_probabilities(scorer.encode(["A" * 126]))).all()
    assert np.isnan(scorer.log_probabilities(scorer.encode(["A" * 127]))).all()


def test_every_sequence_is_read_once_for_all_classes():
    batch = pack_scoring(encoded(), [3, 0], shared=False)
    assert len(batch) == 2
    assert batch.targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert batch.rows.tolist() == [0, 0, 0, 1, 1, 1]
    assert batch.owners.tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.mask.sum(dim=1).tolist() == [35, 12]
    assert scoring.scored_tokens(encoded(), shared=False) == 92


def test_a_trained_model_is_loaded_and_merged_without_loss(folder, tmp_path):
    model, examples, tokenizer = adapted(folder), encoded(), base_models.load_tokenizer(folder)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    before = scores(model, examples, 4)
    (-label_likelihood.LabelLikelihood(model)(pack_training(examples, EVERY, False)).mean()).backward()
    optimizer.step()
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    (tmp_path / "adapter").mkdir()
    base_models.save_adapter(model, weights, tokenizer, tmp_path / "adapter")
    after = scores(model, examples, 4)
    assert abs(after - before).max() > 1e-2
    loaded, _ = base_models.load_adapter(folder, tmp_path / "adapter", torch.float32)
    assert (scores(loaded, examples, 4) == after).all()

    (tmp_path / "merged").mkdir()
    storage = merging.merge(folder, tmp_path / "adapter", tmp_path / "merged", None, [row for row, _ in ROWS[:2]])
    assert storage.largest_difference < 1e-5
    assert storage.checked_tokens == 2 * len(LABELS)
    assert storage.update_kept == pytest.approx(1, abs=1e-5)
    merged, _ = base_models.load_whole(tmp_path / "merged", torch.float32)
    assert abs(scores(merged, examples, 4) - after).max() < 1e-5
    # Nothing of the base's other heads is left, and nothing is missing.
    stored = load_file(tmp_path / "merged/model.safetensors").keys()
    assert not [name for name in stored if name.startswith(("cls.", "lm_head", "decoder"))]
    assert not (tmp_path / "merged/generation_config.json").exists()

    said = pipeline("text-classification", model=str(tmp_path / "merged"), top_k=None)([ROWS[0][0]])
    found = {one["label"]: one["score"] for one in said[0]}
    assert [found[label] for label in LABELS] == pytest.approx(list(np.exp(after[0])), abs=1e-5)


def test_merged_in_half_precision_says_what_is_lost(bert, tmp_path):
    model = adapted(bert)
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    for name in ("adapter", "merged"):
        (tmp_path / name).mkdir()
    base_models.save_adapter(model, weights, single_bases(), tmp_path / "adapter")
    storage = merging.merge(bert, tmp_path / "adapter", tmp_path / "merged", "bf16", ["ACGT"])
    assert storage.dtype == "bf16"
    assert 0 < storage.update_error < 1
    assert load_file(tmp_path / "merged/model.safetensors")["classifier.weight"].dtype == torch.bfloat16


def test_a_head_is_drawn_from_its_seed_and_the_encoder_is_not(bert):
    tokenizer = base_models.load_tokenizer(bert)

    def loaded(seed):
        torch.manual_seed(random.randrange(100))
        return base_models.load_model(bert, tokenizer, torch.float32, head=Head(LABELS, seed)).state_dict()

    first, again, other = loaded(1), loaded(1), loaded(2)
    different = {name for name in first if not torch.equal(first[name], other[name])}
    assert different == {"classifier.weight", "bert.pooler.dense.weight"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["classifier.weight"].std() == pytest.approx(0.2, rel=0.3)
    assert not first["classifier.bias"].any()


def test_a_stored_pooler_is_kept_and_the_layer_of_other_classes_is_not(bert, tmp_path):
    tokenizer = base_models.load_tokenizer(bert)
    base_models.load_model(bert, tokenizer, torch.float32, head=Head(("a", "b"), 5)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    for labels in (("a", "b"), LABELS):
        head = Head(labels, 1)
        found = base_models.load_model(tmp_path, tokenizer, torch.float32, head=head).state_dict()
        assert torch.equal(found["bert.pooler.dense.weight"], stored["bert.pooler.dense.weight"])
        assert found["classifier.weight"].shape == (len(labels), 32)
        assert not torch.equal(found["classifier.weight"][:2], stored["classifier.weight"])


def test_an_encoder_that_is_not_whole_is_refused(bert, tmp_path):
    make_encoder(tmp_path / "base")
    sources.check_weights(tmp_path / "base", "classification")
    weights = load_file(tmp_path / "base/model.safetensors")
    del weights["bert.encoder.layer.1.attention.self.key.weight"]
    save_file(weights, tmp_path / "base/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing: bert\.encoder\.layer\.1\.attention\.self\.key\.weight"):
        sources.check_weights(tmp_path / "base", "classification")


@pytest.mark.parametrize("architecture", ["BERT", "ESM"])
def test_an_encoder_that_is_to_write_label_words_is_refused(tmp_path, architecture):
    """Its tokens would see the label that they are to predict; of BERT, transformers has a class that does so."""
    folder = make_encoder(tmp_path / "base", architecture)
    with pytest.raises(ModelError, match="cannot write label words") as error:
        supported.refuse_unsupported(folder)
    assert error.value.fix.startswith("set 'models.<name>.head' to classification")
    supported.refuse_unsupported(folder, "classification")
    content = json.loads((folder / "config.json").read_text("utf-8")) | {"model_type": "mamba"}
    (folder / "config.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(ModelError, match="no model for sequence classification of the type 'mamba'"):
        supported.refuse_unsupported(folder, "classification")


def test_a_merged_model_without_its_head_is_refused(bert, tmp_path):
    tokenizer = base_models.load_tokenizer(bert)
    base_models.load_model(bert, tokenizer, torch.float32, head=HEAD).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    base_models.load_whole(tmp_path, torch.float32)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing: classifier\.weight"):
        base_models.load_whole(tmp_path, torch.float32)


ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("BERT", ATTENTION), ("ESM", ATTENTION), ("BigBird", ATTENTION), ("ModernBERT", ("attn.Wqkv", "attn.Wo"))],
)
def test_lora_goes_to_the_attention_unless_modules_are_named(tmp_path, architecture, expected):
    folder = make_encoder(tmp_path / "base", architecture)
    network = network_of(folder, HEAD)
    chosen = classification.chosen_lora(Lora(), network)
    assert (chosen.target_modules, chosen.modules_to_save) == (expected, ())
    model = base_models.add_lora(base_models.load_model(folder, single_bases(), torch.float32, head=HEAD), chosen, 0)
    # Every layer's, and no other linear layer.
    layers = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert len(layers) == 2 * len(expected)
    assert all(any(layer.endswith(name) for name in expected) for layer in layers)
    named = Lora(target_modules=expected[:1], modules_to_save=("embeddings",))
    assert classification.chosen_lora(named, network) == named
    # What was chosen stays what it is, as a checkpoint and run.json have it.
    assert classification.chosen_lora(chosen, network) == chosen


def test_a_module_that_is_not_there_is_named_as_for_every_model(bert):
    base = base_models.load_model(bert, single_bases(), torch.float32, head=HEAD)
    with pytest.raises(ModelError, match="no module named q_proj") as error:
        base_models.add_lora(base, Lora(target_modules=("query", "q_proj"), modules_to_save=()), 0)
    assert error.value.where == "config key 'lora.target_modules'"
    assert "query" in error.value.fix


def test_a_decoder_gets_a_head_too(tmp_path):
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=16, **shape)).save_pretrained(tmp_path)
    tokenizer = single_bases()
    tokenizer.save_pretrained(tmp_path)
    model, examples = adapted(tmp_path), encoded()
    assert abs(scores(model, examples, 1) - scores(model, examples, len(ROWS))).max() < 1e-6
    assert "self_attn.q_proj" in model.peft_config["default"].target_modules


def test_block_sparse_attention_is_made_full_and_the_merged_model_says_so(tmp_path):
    folder = make_encoder(tmp_path / "base", "BigBird")
    assert json.loads((folder / "config.json").read_text("utf-8"))["attention_type"] == "block_sparse"
    model = base_models.load_model(folder, single_bases(), torch.float32, head=HEAD)
    assert model.base_model.attention_type == "original_full"
    (tmp_path / "adapter").mkdir()
    classification.save_configuration(model, tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter/config.json").read_text("utf-8"))["attention_type"] == "original_full"


@pytest.mark.parametrize(("changes", "most"), [({}, 128), ({"pad_token_id": 1}, 126)])
def test_a_sequence_may_take_every_position_and_no_more(tmp_path, changes, most):
    """ESM's table of positions, like RoBERTa's, begins behind the token that pads."""
    architecture = "ESM" if changes else "BERT"
    of_table = {"position_embedding_type": "absolute"} if changes else {}
    folder = make_encoder(tmp_path / "base", architecture, **changes, **of_table)
    model = base_models.load_model(folder, single_bases(), torch.float32, head=HEAD)
    for bases in (most - 2, most - 1):
        examples = encoded([("A" * bases, 0)], most=200)
        if bases == most - 2:
            base_models.refuse_beyond_positions(model, [examples])
            label_likelihood.LabelLikelihood(model)(pack_training(examples, [0], False))
        else:
            with pytest.raises(ModelError, match=f"each of {most} positions"):
                base_models.refuse_beyond_positions(model, [examples])


def test_a_sequence_that_is_too_long_is_refused():
    with pytest.raises(DataError, match="the sequence has 129 tokens") as error:
        encoded([("ACG", 0), ("A" * 127, 1)])
    assert error.value.where == "rows, line 2"


def test_there_is_no_prefix_to_share_and_nothing_is_said_of_it(bert, caplog):
    model = base_models.load_model(bert, single_bases(), torch.float32, head=HEAD)
    assert not exactness.shared_rows(model, [encoded()])
    assert not caplog.records


def test_gradient_checkpointing_changes_nothing_or_is_refused(bert):
    examples = encoded()

    def gradient(recomputed):
        model = adapted(bert).train()
        with micro_batch.checkpointed(model, recomputed):
            (-label_likelihood.LabelLikelihood(model)(pack_training(examples, EVERY, False)).mean()).backward()
        return [p.grad for p in model.parameters() if p.requires_grad]

    assert all(map(torch.equal, gradient(False), gradient(True)))
    small = {"hidden_size": 16, "embedding_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    albert = AlbertForSequenceClassification(AlbertConfig(vocab_size=16, num_hidden_layers=1, **small))
    model = base_models.add_lora(albert, classification.chosen_lora(Lora(), albert), 0)
    with (
        pytest.raises(ConfigurationError, match="AlbertForSequenceClassification has no gradient checkpointing"),
        micro_batch.checkpointed(model, True),
    ):
        pass


def test_mean_hidden_states_are_over_the_tokens_of_a_sequence(folder):
    model = base_models.load_model(folder, single_bases(), torch.float32, head=HEAD).eval()
    examples = encoded()
    found = hidden_states.mean_hidden_states(model, examples, 3)
    with torch.no_grad():
        alone = [model.base_model(torch.tensor([ids])).last_hidden_state[0].mean(dim=0) for ids in examples.examples]
    assert abs(torch.tensor(found) - torch.stack(alone)).max() < 1e-5


def test_new_tokens_get_a_row_and_embeddings_that_are_trained(bert):
    tokenizer = copy.deepcopy(single_bases())
    tokenizer.add_tokens([f"<{number}>" for number in range(8)])
    model = base_models.load_model(bert, tokenizer, torch.float32, head=HEAD)
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) == 18
    examples = encode_sequences(tokenizer, split_of([("AC<7>", 0)]), LABELS, 128, "rows")
    with pytest.raises(ModelError, match="word_embeddings, where they get a row, is not trained"):
        base_models.refuse_uncovered(bert, tokenizer, [examples], Lora(), HEAD)
    lora = Lora(modules_to_save=("embeddings.word_embeddings",))
    base_models.refuse_uncovered(bert, tokenizer, [examples], lora, HEAD)


def test_what_is_drawn_is_known_without_the_weights(bert):
    assert Architecture(bert).drawn == set()
    expected = {f"{name}.{own}" for name in ("classifier", "bert.pooler.dense") for own in ("weight", "bias")}
    assert Architecture(bert, HEAD).drawn == expected
    assert Architecture(bert, Head(LABELS)).drawn == set()
