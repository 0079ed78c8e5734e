"""Makes the small random checkpoints of the tests and their float32 reference logits: Llama shapes, and one of every other family.

Needs torch, transformers, safetensors and numpy; run in this folder: python make.py [NAME]... (all without a name)
Logits come from a float32 model that is loaded from the stored (rounded) weights, over 40 seeded random tokens.
"""

import json
import pathlib
import shutil
import sys

import numpy
import torch
import transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

TOKENS = 40
HERE = pathlib.Path(__file__).parent
SHAPES = {
    "plain": dict(hidden_size=96, num_attention_heads=4, num_key_value_heads=4, intermediate_size=256, num_hidden_layers=2, vocab_size=331, tie_word_embeddings=True),
    "gqa": dict(hidden_size=192, num_attention_heads=8, num_key_value_heads=2, head_dim=24, intermediate_size=512, num_hidden_layers=2, vocab_size=640, tie_word_embeddings=False, attention_bias=True, mlp_bias=True),
    "odd": dict(hidden_size=88, num_attention_heads=11, num_key_value_heads=11, head_dim=8, intermediate_size=1890, num_hidden_layers=1, vocab_size=331, tie_word_embeddings=False),
    "wide": dict(hidden_size=704, num_attention_heads=11, num_key_value_heads=1, head_dim=64, intermediate_size=189, num_hidden_layers=1, vocab_size=331, tie_word_embeddings=True),
    "wide_head": dict(hidden_size=160, num_attention_heads=2, num_key_value_heads=1, head_dim=128, intermediate_size=330, num_hidden_layers=2, vocab_size=331, tie_word_embeddings=True),
    "deep": dict(hidden_size=64, num_attention_heads=2, num_key_value_heads=1, head_dim=32, intermediate_size=128, num_hidden_layers=12, vocab_size=257, tie_word_embeddings=False, rms_norm_eps=1e-6),
}
DTYPES = {"plain": torch.float32, "gqa": torch.bfloat16}
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)


# One checkpoint a family: the stem of its classes, the config, the stored type, and changes of the written config.json towards older spellings.
TINY = dict(vocab_size=149, max_position_embeddings=512)
FAMILIES = {
    "mistral": ("Mistral", dict(TINY, hidden_size=72, num_attention_heads=6, num_key_value_heads=2, head_dim=16, intermediate_size=104, num_hidden_layers=2, sliding_window=7), torch.bfloat16, {"old": True}),
    "qwen2": ("Qwen2", dict(TINY, hidden_size=80, num_attention_heads=5, num_key_value_heads=1, intermediate_size=136, num_hidden_layers=3, tie_word_embeddings=True, use_sliding_window=True, sliding_window=9, max_window_layers=1, bos_token_id=1, eos_token_id=2), torch.float16, {"old": True}),
    "qwen3": ("Qwen3", dict(TINY, hidden_size=64, num_attention_heads=6, num_key_value_heads=3, head_dim=20, intermediate_size=120, num_hidden_layers=2, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), torch.bfloat16, {}),
    "gemma2": ("Gemma2", dict(TINY, hidden_size=72, num_attention_heads=6, num_key_value_heads=3, head_dim=16, intermediate_size=120, num_hidden_layers=2, query_pre_attn_scalar=24, sliding_window=6, attn_logit_softcapping=2.0, final_logit_softcapping=12.0), torch.float16, {}),
    "phi3": ("Phi3", dict(TINY, hidden_size=96, num_attention_heads=4, num_key_value_heads=2, intermediate_size=104, num_hidden_layers=2, sliding_window=11, pad_token_id=None, rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)), torch.bfloat16, {"old": True}),
    "gpt2": ("GPT2LMHead", dict(vocab_size=149, n_positions=48, n_embd=50, n_layer=2, n_head=5, bos_token_id=0, eos_token_id=0), torch.float32, {}),
    "gpt_neox": ("GPTNeoX", dict(TINY, hidden_size=80, num_attention_heads=5, intermediate_size=200, num_hidden_layers=2, rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25)), torch.float16, {"old": True}),
    "olmo2": ("Olmo2", dict(TINY, hidden_size=72, num_attention_heads=3, num_key_value_heads=1, intermediate_size=120, num_hidden_layers=2), torch.float16, {}),
    "granite": ("Granite", dict(TINY, hidden_size=72, num_attention_heads=6, num_key_value_heads=2, intermediate_size=120, num_hidden_layers=2, attention_multiplier=0.25, embedding_multiplier=2.5, residual_multiplier=0.6, logits_scaling=3.0, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), torch.bfloat16, {"old": True}),
    "mixtral": ("Mixtral", dict(TINY, hidden_size=48, num_attention_heads=4, num_key_value_heads=2, intermediate_size=56, num_hidden_layers=2, num_local_experts=5, num_experts_per_tok=2), torch.float16, {"old": True}),
    "qwen3_moe": ("Qwen3Moe", dict(TINY, hidden_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=96, moe_intermediate_size=40, num_hidden_layers=2, num_experts=6, num_experts_per_tok=3, norm_topk_prob=False, bos_token_id=1, eos_token_id=2), torch.bfloat16, {}),
    "gemma": ("Gemma", dict(TINY, hidden_size=72, num_attention_heads=6, num_key_value_heads=1, head_dim=20, intermediate_size=120, num_hidden_layers=2), torch.float16, {"old": True}),
    "gemma3": ("Gemma3", dict(TINY, hidden_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=72, num_hidden_layers=4, query_pre_attn_scalar=24, sliding_window=6, sliding_window_pattern=2, layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"], rope_parameters=dict(full_attention=dict(rope_type="linear", rope_theta=1000000.0, factor=8.0), sliding_attention=dict(rope_type="default", rope_theta=10000.0))), torch.float16, {"rotary": "gemma3"}),
    "smollm3": ("SmolLM3", dict(TINY, hidden_size=72, num_attention_heads=6, num_key_value_heads=2, intermediate_size=120, num_hidden_layers=3, no_rope_layer_interval=2, bos_token_id=1, eos_token_id=2, pad_token_id=0), torch.bfloat16, {}),
    "qwen2_moe": ("Qwen2Moe", dict(TINY, hidden_size=48, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96, moe_intermediate_size=40, shared_expert_intermediate_size=56, num_hidden_layers=2, num_experts=6, num_experts_per_tok=3, use_sliding_window=True, sliding_window=7, max_window_layers=2), torch.bfloat16, {}),
    "stablelm": ("StableLm", dict(TINY, hidden_size=80, num_attention_heads=5, num_key_value_heads=5, intermediate_size=136, num_hidden_layers=2, use_qkv_bias=True), torch.float16, {"old": True}),
    "stablelm_parallel": ("StableLm", dict(TINY, hidden_size=80, num_attention_heads=4, num_key_value_heads=2, intermediate_size=104, num_hidden_layers=2, use_parallel_residual=True, rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.4)), torch.bfloat16, {}),
    "phi": ("Phi", dict(TINY, hidden_size=80, num_attention_heads=4, intermediate_size=200, num_hidden_layers=2, rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.4)), torch.float16, {"old": True}),
    "cohere": ("Cohere", dict(TINY, hidden_size=72, num_attention_heads=6, num_key_value_heads=2, intermediate_size=120, num_hidden_layers=2, logit_scale=0.25, attention_bias=True, bos_token_id=1, eos_token_id=2), torch.float16, {"old": True}),
    "granite_moe": ("GraniteMoe", dict(TINY, hidden_size=48, num_attention_heads=4, num_key_value_heads=2, intermediate_size=40, num_hidden_layers=2, num_local_experts=5, num_experts_per_tok=2, attention_multiplier=0.25, embedding_multiplier=2.5, residual_multiplier=0.6, logits_scaling=3.0, tie_word_embeddings=True), torch.bfloat16, {"old": True}),
    "olmo3": ("Olmo3", dict(TINY, hidden_size=48, num_attention_heads=2, num_key_value_heads=1, intermediate_size=72, num_hidden_layers=4, sliding_window=7, rope_parameters=dict(full_attention=dict(rope_type="yarn", rope_theta=500000.0, factor=4.0, original_max_position_embeddings=128), sliding_attention=dict(rope_type="default", rope_theta=500000.0))), torch.float16, {}),
    "ministral": ("Ministral", dict(TINY, hidden_size=72, num_attention_heads=6, num_key_value_heads=2, head_dim=16, intermediate_size=104, num_hidden_layers=2, sliding_window=7, layer_types=["sliding_attention", "full_attention"]), torch.bfloat16, {}),
    # Rotary embeddings whose frequencies follow the context: yarn always, and longrope and dynamic, whose 40 tokens are beyond the first training.
    "yarn": ("Qwen2", dict(TINY, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96, num_hidden_layers=2, bos_token_id=1, eos_token_id=2, rope_parameters=dict(rope_type="yarn", rope_theta=1000.0, factor=4.0, original_max_position_embeddings=128, beta_fast=16.0)), torch.float16, {"old": True}),
    "longrope": ("Phi3", dict(TINY, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96, num_hidden_layers=2, pad_token_id=None, original_max_position_embeddings=32, rope_parameters=dict(rope_type="longrope", rope_theta=1000.0, partial_rotary_factor=0.75, short_factor=[1.0, 1.1, 1.25, 1.5, 1.75, 2.0], long_factor=[1.0, 2.0, 3.5, 5.0, 9.0, 14.0])), torch.bfloat16, {"old": True}),
}
# Named in config.json as `save_pretrained` of older versions did.
OLD_ROTARY = {"GPTNeoX": ("rotary_emb_base", "rotary_pct")}


def randomise(model, generator):
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            parameter.data = 1 + 0.1 * noise
        elif name.endswith("bias"):
            parameter.data = 0.1 * noise
        elif "embed_tokens" in name:
            parameter.data = noise / parameter.shape[1] ** 0.5 * 4
        else:
            parameter.data = noise / parameter.shape[1] ** 0.5


def randomise_family(model, generator, plus_one):
    """Unit gain: every matrix keeps the size of its input, whichever way it is stored."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            scale = name.endswith("weight")
            parameter.data = (1 - plus_one if scale else 0) + 0.1 * noise
        elif any(part in name for part in ("embed", "wte")):
            parameter.data = noise / parameter.shape[1] ** 0.5 * 4
        elif "wpe" in name:
            parameter.data = noise / parameter.shape[1] ** 0.5
        else:
            conv = any(part in name for part in ("c_attn", "c_proj", "c_fc"))
            parameter.data = noise / parameter.shape[0 if conv else -1] ** 0.5


def store_logits(model, vocab, generator, folder, name):
    tokens = torch.randint(0, vocab, (TOKENS,), generator=generator)
    with torch.no_grad():
        logits = model(tokens[None]).logits[0]
    (folder / "tokens.json").write_text(json.dumps(tokens.tolist()) + "\n")
    numpy.save(folder / "logits.npy", logits.numpy().astype(numpy.float32))
    top = logits.topk(2).values
    print(name, f"gap {float((top[:, 0] - top[:, 1]).median()):.3f}", f"norm {float(logits.norm(dim=1).mean()):.3f}")


def family(name, seed):
    stem, fields, dtype, change = FAMILIES[name]
    generator = torch.Generator().manual_seed(2000 + seed)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    config_class = {"Gemma3": "Gemma3Text"}.get(stem, stem.removesuffix("LMHead")) + "Config"
    config = getattr(transformers, config_class)(**fields, attn_implementation="eager")
    model_class = getattr(transformers, stem + "Model" if stem.endswith("LMHead") else stem + "ForCausalLM")
    model = model_class(config)
    randomise_family(model, generator, 1 if stem.startswith("Gemma") else 0)
    model.tie_weights()
    model.to(dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((folder / "config.json").read_text())
    written.pop("transformers_version", None)
    if change.get("old"):
        rotary = written.pop("rope_parameters")
        base, share = OLD_ROTARY.get(stem, ("rope_theta", "partial_rotary_factor"))
        scaling = {key: value for key, value in rotary.items() if key not in ("rope_theta", "partial_rotary_factor")}
        scaling = None if rotary["rope_type"] == "default" else scaling
        written |= {base: rotary["rope_theta"], "rope_scaling": scaling, "torch_dtype": written.pop("dtype")}
        if "partial_rotary_factor" in rotary:
            written[share] = rotary["partial_rotary_factor"]
        written.pop("layer_types", None)
    if change.get("rotary") == "gemma3":
        rotary = written.pop("rope_parameters")
        scaling = rotary["full_attention"]
        written |= {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling, "rope_local_base_freq": rotary["sliding_attention"]["rope_theta"]}
    (folder / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    # Loaded from the files as written, so that the reference is of exactly them.
    read = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    store_logits(read, fields["vocab_size"], generator, folder, name)


def shipped():
    """Reference logits of the model in examples/model, over the first tokens of its own story; the weights stay there."""
    source, folder = HERE / "../../examples/model", HERE / "shipped"
    expected = json.loads((source / "expected.json").read_text())
    tokens = torch.tensor((expected["prompt_ids"] + expected["ids"])[:TOKENS])
    model = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(tokens[None]).logits[0]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "tokens.json").write_text(json.dumps(tokens.tolist()) + "\n")
    numpy.save(folder / "logits.npy", logits.numpy().astype(numpy.float32))


def llama(name, seed):
    generator = torch.Generator().manual_seed(1000 + seed)
    shape = SHAPES[name]
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = LlamaConfig(max_position_embeddings=512, **shape)
    if name == "gqa":
        config.rope_parameters = LLAMA3
    model = LlamaForCausalLM(config)
    randomise(model, generator)
    model.tie_weights()
    dtype = DTYPES.get(name, torch.float16)
    state = {key: value.to(dtype).contiguous() for key, value in model.state_dict().items()}
    if shape["tie_word_embeddings"]:
        state.pop("lm_head.weight", None)
    written = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": config.rms_norm_eps, "bos_token_id": 1, "eos_token_id": 2, **shape}
    if name == "gqa":
        written |= {"rope_parameters": LLAMA3, "dtype": "bfloat16"}
        keys = sorted(state)
        shards = {"model-00001-of-00002.safetensors": keys[::2], "model-00002-of-00002.safetensors": keys[1::2]}
        for file, part in shards.items():
            save_file({key: state[key] for key in part}, folder / file)
        weight_map = {key: file for file, part in shards.items() for key in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1, sort_keys=True))
    else:
        written |= {"rope_theta": 10000.0, "rope_scaling": None, "torch_dtype": str(dtype).removeprefix("torch.")}
        save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(written, indent=2) + "\n")
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    model.tie_weights()
    store_logits(model.float().eval(), shape["vocab_size"], generator, folder, name)


def main():
    names = sys.argv[1:] or [*SHAPES, *FAMILIES, "shipped"]
    if "shipped" in names:
        shipped()
    for seed, name in enumerate(SHAPES):
        if name in names:
            llama(name, seed)
    for seed, name in enumerate(FAMILIES):
        if name in names:
            family(name, seed)
    print("torch", torch.__version__, "transformers", transformers.__version__)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
