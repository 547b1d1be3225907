"""Models whose weights are not whole are refused, at download and at loading, and nothing else of a folder is taken."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    Qwen3Config,
)

from dnatune.data.prompts import EncodedExamples, encode_examples
from dnatune.errors import ModelError
from dnatune.model import base_models, merging, sources
from dnatune.model.architecture import Architecture, weights_on_demand
from dnatune.settings.sources import ModelFolder, ModelSettings
from samples import LORA, TASK, make_tiny_model, split_of

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
ARCHITECTURES = {
    "Llama": LlamaConfig(**SMALL, num_key_value_heads=2),
    "Qwen3": Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True),
    "Phi3": Phi3Config(**SMALL, num_key_value_heads=2, pad_token_id=0),
    "GPT-NeoX": GPTNeoXConfig(**SMALL),
    "GPT-2": GPT2Config(n_embd=32, n_layer=2, n_head=4),
    "Mixtral": MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=4),
}


@pytest.fixture
def folder(tmp_path, simulated_rows):
    return make_tiny_model(tmp_path / "model", simulated_rows)


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without(name):
    return lambda weights: weights.pop(name)


def replaced(name, value):
    return lambda weights: weights.update({name: value})


def of_directory(folder):
    return ModelSettings(source="directory", directory=ModelFolder(path=str(folder)))


@pytest.mark.fault("flipped, cut, missing and foreign files")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("lm_head.weight"), "missing: lm_head.weight"),
        (without("model.layers.1.mlp.up_proj.weight"), "missing: model.layers.1.mlp.up_proj.weight"),
        (without("model.norm.weight"), "missing: model.norm.weight"),
        # ZeRO 3 leaves tensors of no number.
        (
            replaced("model.layers.1.self_attn.q_proj.weight", torch.zeros(0)),
            "of another shape: model.layers.1.self_attn.q_proj.weight (0 where 32×32 is due)",
        ),
        (
            replaced("model.embed_tokens.weight", torch.zeros(7, 32)),
            "of another shape: model.embed_tokens.weight (7×32 where",
        ),
    ],
)
def test_weights_that_are_not_whole_are_refused_at_download_and_at_loading(change, said, folder, tmp_path):
    change_weights(folder, change)
    for attempt in (
        lambda: sources.download_model(of_directory(folder), None, tmp_path / "download"),
        lambda: base_models.load_whole(folder, torch.float32),
    ):
        with pytest.raises(ModelError) as caught:
            attempt()
        assert said in caught.value.what and caught.value.where == str(folder) and caught.value.fix
    assert not (tmp_path / "download").exists()


def test_many_missing_tensors_are_counted(folder):
    change_weights(folder, lambda weights: [weights.pop(name) for name in list(weights) if "mlp" in name])
    with pytest.raises(ModelError, match=r"missing: \S+, \S+, \S+ and 3 more"):
        Architecture(folder).check()


@pytest.mark.fault("flipped, cut, missing and foreign files")
def test_a_shard_that_the_index_names_and_the_folder_lacks(folder, tmp_path):
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    shards = sorted(folder.glob("model-*.safetensors"))
    shards[1].unlink()
    with pytest.raises(ModelError, match=shards[1].name):
        sources.download_model(of_directory(folder), None, tmp_path / "download")
    with pytest.raises(ModelError, match=shards[1].name):
        base_models.load_whole(folder, torch.float32)


@pytest.mark.fault("flipped, cut, missing and foreign files")
def test_a_file_of_weights_that_was_cut_short(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read") as caught:
        base_models.load_whole(folder, torch.float32)
    assert caught.value.where == str(file)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_whole_weights_pass_and_compute_the_same_one_module_at_a_time(name, tmp_path):
    config = ARCHITECTURES[name]
    config.vocab_size = 50
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path)
    Architecture(tmp_path).check()
    architecture, ids = Architecture(tmp_path), torch.tensor([[1, 5, 9, 30, 44]])
    with torch.no_grad(), weights_on_demand(architecture.network, architecture.parameter):
        streamed = architecture.network(ids).logits
        assert torch.equal(streamed, model(ids).logits)
    assert all(p.is_meta for p in architecture.network.parameters())


def test_of_a_folder_only_the_model_is_taken(folder, tmp_path):
    """An adapter that was left there would be loaded by transformers, and a second copy of the weights costs disk."""
    tokenizer = base_models.load_tokenizer(folder)
    model = base_models.add_lora(base_models.load_model(folder, tokenizer, torch.float32), LORA, 0)
    weights = {name: torch.ones_like(p) for name, p in model.named_parameters() if p.requires_grad}
    base_models.save_adapter(model, weights, tokenizer, folder)
    shutil.copyfile(folder / "model.safetensors", folder / "consolidated.safetensors")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "LICENSE").write_text("MIT")
    sources.download_model(of_directory(folder), None, tmp_path / "download")
    names = {file.name for file in (tmp_path / "download").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "LICENSE"} <= names
    assert not {name for name in names if "adapter" in name or "consolidated" in name}


def test_new_tokens_of_the_data_need_embeddings_that_are_trained(folder, simulated_rows):
    tokenizer = base_models.load_tokenizer(folder)
    word = "ACGTTGCACCATGA"
    tokenizer.add_tokens([word, "never-met"])
    examples = encode_examples(tokenizer, split_of([(f"GG{word}GG", 0), *simulated_rows[:5]]), TASK.labels, 512, "rows")
    untrained = LORA.model_copy(update={"modules_to_save": ("lm_head",)})
    with pytest.raises(ModelError, match=rf"'{word}'\), and embed_tokens, where they get"):
        base_models.refuse_uncovered(folder, tokenizer, [examples], untrained)
    for trained in ({"modules_to_save": ("embed_tokens",)}, {"target_modules": ("q_proj", "embed_tokens")}):
        lora = untrained.model_copy(update=trained)
        base_models.refuse_uncovered(folder, tokenizer, [examples], lora)
    others = encode_examples(tokenizer, split_of([("GGGG", 0)]), TASK.labels, 512, "rows")
    base_models.refuse_uncovered(folder, tokenizer, [others], untrained)


def test_the_merged_folder_says_the_same_to_older_readers(tmp_path, simulated_rows):
    base = make_tiny_model(tmp_path / "base", simulated_rows)
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    config = AutoConfig.from_pretrained(base)
    config.rope_parameters = rope
    LlamaForCausalLM(config).save_pretrained(base)
    (base / "tokenizer.model").write_bytes(b"a sentencepiece vocabulary")
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings |= {
        "tokenizer_class": "LlamaTokenizer",
        "add_prefix_space": False,
        "extra_special_tokens": [settings["eos_token"]],
    }
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = base_models.load_tokenizer(base)
    model = base_models.add_lora(base_models.load_model(base, tokenizer, torch.float32), LORA, 0)
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    for name in ("adapter", "merged"):
        (tmp_path / name).mkdir()
    base_models.save_adapter(model, weights, tokenizer, tmp_path / "adapter")
    merged = tmp_path / "merged"
    merging.merge(base, tmp_path / "adapter", merged, None, ["ACGT promoter"])
    written = json.loads((merged / "config.json").read_text())
    assert written["rope_parameters"] == rope and written["rope_theta"] == 500000.0
    assert written["rope_scaling"] == {key: value for key, value in rope.items() if key != "rope_theta"}
    words = json.loads((merged / "tokenizer_config.json").read_text())
    assert words["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert words["additional_special_tokens"] == [settings["eos_token"]] and "extra_special_tokens" not in words
    assert (merged / "tokenizer.model").read_bytes() == (base / "tokenizer.model").read_bytes()
    # And the same as before to this one.
    ids = tokenizer("ACGTACGTTTAGC", return_tensors="pt", return_token_type_ids=False).input_ids
    plain, again = base_models.load_whole(merged, torch.float32)
    assert again("ACGTACGTTTAGC").input_ids == ids[0].tolist()
    with torch.no_grad():
        assert torch.allclose(plain(ids).logits, AutoModelForCausalLM.from_pretrained(base)(ids).logits, atol=1e-5)


def test_a_link_out_of_a_model_folder_is_refused(folder, tmp_path):
    secret = tmp_path / "id_rsa"
    secret.write_text("secret", "utf-8")
    (folder / "README.md").symlink_to(secret)
    with pytest.raises(ModelError, match=r"lead out of the model folder: README\.md"):
        sources.download_model(of_directory(folder), None, tmp_path / "download")
    assert not (tmp_path / "download").exists()


def test_the_links_of_the_hubs_cache_and_a_linked_folder_serve(folder, tmp_path):
    snapshot = tmp_path / "models--a--b/snapshots/0123"
    snapshot.mkdir(parents=True)
    (blobs := tmp_path / "models--a--b/blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    (link := tmp_path / "link").symlink_to(snapshot)
    sources.download_model(of_directory(link), None, tmp_path / "download")
    assert (tmp_path / "download/model.safetensors").is_file()


POSITIONS = {
    "GPT-2": GPT2Config(n_embd=32, n_layer=1, n_head=4, n_positions=64),
    "OPT": OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64),
    "GPT-J": GPTJConfig(n_embd=32, n_layer=1, n_head=4, rotary_dim=4, n_positions=64),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_more_tokens_than_positions_are_refused_before_training(name):
    model = AutoModelForCausalLM.from_config(POSITIONS[name])
    examples = EncodedExamples([5] * 50, [[6] * 10, [6] * 11], [0, 1], [[7, 8, 2], [7, 2]])
    base_models.refuse_beyond_positions(model, [examples])
    model(torch.ones((1, 64), dtype=torch.long))
    longer = EncodedExamples([5] * 51, *list(vars(examples).values())[1:])
    with pytest.raises(ModelError, match="64 positions, and the longest example with its answer has 65 tokens"):
        base_models.refuse_beyond_positions(model, [examples, longer])
    # This is what it would end in.
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.ones((1, 65), dtype=torch.long))
    with pytest.raises(ModelError, match="has 69 tokens"):
        base_models.refuse_beyond_positions(model, [examples], answer=8)


def test_rotary_positions_have_no_end_but_what_is_beyond_is_told(folder, caplog):
    config = AutoConfig.from_pretrained(folder)
    config.max_position_embeddings = 16
    examples = EncodedExamples([5] * 50, [[6] * 10], [0], [[7, 2]])
    base_models.refuse_beyond_positions(AutoModelForCausalLM.from_config(config), [examples])
    assert "the longest example with its answer has 62 tokens, and the model was made for 16 positions" in caplog.text
    caplog.clear()
    config.max_position_embeddings = 62
    base_models.refuse_beyond_positions(AutoModelForCausalLM.from_config(config), [examples])
    assert not caplog.text
