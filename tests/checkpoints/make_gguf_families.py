"""Makes one small GGUF file a family, as a converter would write it, with logits of the same weights, expanded, in `transformers`; a model in
three parts; and blocks of every quantised type with the float32 numbers that `gguf.quants.dequantize` makes of them.

Needs torch, transformers, gguf and numpy; run in this folder: python make_gguf_families.py [NAME]... (all without a name)
Every file is written from a random model, under the names that `gguf.get_tensor_name_map` gives; the reference runs on the weights as the file
holds them. The small JSON file beside it has the tokens fed and the `config.json` of the model.
"""

import json
import math
import pathlib
import sys

import gguf
import numpy
import torch
import transformers
from gguf import GGMLQuantizationType as Kind

HERE = pathlib.Path(__file__).parent / "gguf"
TOKENS, VOCABULARY = 16, 40
TINY = dict(vocab_size=VOCABULARY, max_position_embeddings=64, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=256, num_hidden_layers=2, bos_token_id=1, eos_token_id=2, pad_token_id=None)
# name: architecture of the file, stem of the classes, config, kind of matrices, kind of those whose rows are 256 wide
FAMILIES = {
    "mixtral": ("llama", "Mixtral", dict(TINY, intermediate_size=32, num_local_experts=4, num_experts_per_tok=2), Kind.Q8_0, None),
    "mixtral-single": ("llama", "Mixtral", dict(TINY, intermediate_size=32, num_local_experts=3, num_experts_per_tok=2), Kind.Q5_0, None),
    "mistral": ("llama", "Mistral", dict(TINY, sliding_window=5), Kind.Q4_0, Kind.Q4_K),
    "qwen3": ("qwen3", "Qwen3", dict(TINY, head_dim=16, tie_word_embeddings=True), Kind.Q4_1, Kind.Q4_K),
    "qwen3moe": ("qwen3moe", "Qwen3Moe", dict(TINY, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=True), Kind.MXFP4, None),
    "gemma2": ("gemma2", "Gemma2", dict(TINY, head_dim=16, query_pre_attn_scalar=16, sliding_window=6, attn_logit_softcapping=2.0, final_logit_softcapping=12.0), Kind.Q5_0, Kind.Q6_K),
    "phi3": ("phi3", "Phi3", dict(TINY, sliding_window=7, rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)), Kind.Q5_1, Kind.Q5_K),
    "gpt2": ("gpt2", "GPT2LMHead", dict(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2), Kind.F16, None),
    "gptneox": ("gptneox", "GPTNeoX", dict({key: value for key, value in TINY.items() if key != "num_key_value_heads"}, rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25), num_attention_heads=2), Kind.IQ4_NL, Kind.IQ4_XS),
    "olmo2": ("olmo2", "Olmo2", TINY, Kind.BF16, Kind.Q3_K),
    "granite": ("granite", "Granite", dict(TINY, attention_multiplier=0.25, embedding_multiplier=2.5, residual_multiplier=0.6, logits_scaling=3.0, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), Kind.Q8_0, Kind.Q2_K),
    "gemma": ("gemma", "Gemma", dict(TINY, head_dim=16, intermediate_size=64), Kind.Q4_0, None),
    "gemma3": ("gemma3", "Gemma3", dict(TINY, head_dim=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32, num_hidden_layers=6, query_pre_attn_scalar=16, sliding_window=6), Kind.Q4_0, None),
    "smollm3": ("smollm3", "SmolLM3", dict(TINY, intermediate_size=32, num_hidden_layers=4, pad_token_id=0, rope_parameters=dict(rope_type="default", rope_theta=10000.0)), Kind.Q4_1, None),
    "qwen2moe": ("qwen2moe", "Qwen2Moe", dict(TINY, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=64), Kind.Q5_1, None),
    "stablelm": ("stablelm", "StableLm", dict(TINY, num_attention_heads=2, num_key_value_heads=1, intermediate_size=64, use_qkv_bias=True), Kind.Q5_0, None),
    "stablelm-parallel": ("stablelm", "StableLm", dict(TINY, num_attention_heads=2, num_key_value_heads=1, intermediate_size=64, use_parallel_residual=True, num_hidden_layers=1), Kind.Q5_0, None),
    "phi2": ("phi2", "Phi", dict(TINY, num_attention_heads=2, num_key_value_heads=2, intermediate_size=128), Kind.Q8_0, None),
    "command-r": ("command-r", "Cohere", dict(TINY, intermediate_size=64, logit_scale=0.25), Kind.Q8_0, None),
    "granitemoe": ("granitemoe", "GraniteMoe", dict(TINY, intermediate_size=32, num_local_experts=4, num_experts_per_tok=2, attention_multiplier=0.25, embedding_multiplier=2.5, residual_multiplier=0.6, logits_scaling=3.0, tie_word_embeddings=True), Kind.Q4_0, None),
    "qwen2-yarn": ("qwen2", "Qwen2", dict(TINY, intermediate_size=32, num_hidden_layers=1, rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)), Kind.Q8_0, None),
    "phi3-longrope": ("phi3", "Phi3", dict(TINY, intermediate_size=32, num_hidden_layers=1, original_max_position_embeddings=8, rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.25, 1.5, 2.0], long_factor=[1.0, 2.0, 4.0, 8.0], original_max_position_embeddings=8)), Kind.Q8_0, None),
    "olmo3": ("olmo2", "Olmo3", dict(TINY, intermediate_size=32, num_hidden_layers=4, sliding_window=5), Kind.Q4_1, None),
}
CONFIGS = {"Gemma3": "Gemma3TextConfig"}
# Where a block keeps its fp16 scale and, where it has one, its fp16 minimum.
SCALES = {
    Kind.Q4_0: (0, None), Kind.Q4_1: (0, 2), Kind.Q5_0: (0, None), Kind.Q5_1: (0, 2), Kind.Q8_0: (0, None), Kind.Q2_K: (80, 82), Kind.Q3_K: (108, None),
    Kind.Q4_K: (0, 2), Kind.Q5_K: (0, 2), Kind.Q6_K: (208, None), Kind.IQ4_NL: (0, None), Kind.IQ4_XS: (0, None),
}


def dequantize(raw, kind):
    with numpy.errstate(all="ignore"):
        if kind == Kind.Q8_K:
            # Not of the package: a float32 scale, 256 signed bytes, sums that are not needed.
            return (numpy.ascontiguousarray(raw[:, :4]).view(numpy.float32) * raw[:, 4:260].view(numpy.int8).astype(numpy.float32)).astype(numpy.float32)
        return gguf.quants.dequantize(raw, kind).astype(numpy.float32)


def random_blocks(value, kind, random):
    """Rows of random bits with scales that make them as large as `value`: some kinds no one writes in Python."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (value.size // elements, size), dtype=numpy.uint8)
    scale, minimum = SCALES[kind]
    place = lambda at, number: blocks.__setitem__((slice(None), slice(at, at + 2)), numpy.frombuffer(numpy.float16(number).tobytes(), numpy.uint8))
    place(scale, 1)
    if minimum is not None:
        place(minimum, 7)
    factor = value.std() / dequantize(blocks, kind).std()
    place(scale, factor)
    if minimum is not None:
        place(minimum, 7 * factor)
    return blocks.reshape(*value.shape[:-1], -1)


def paired(array, heads):
    """Rows of a head in pairs, as files of some architectures store queries and keys."""
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def unpaired(array, heads):
    return array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def layout(architecture, config, name):
    """What a parameter becomes: the names of its tensors, how their arrays are made, and how the parameter is made of them again."""
    same = (lambda array: [array], lambda arrays: arrays[0])
    # What the newest `transformers` and the converter's names call differently.
    name = name.replace("block_sparse_moe.experts", "mlp.experts").replace("block_sparse_moe.router.weight", "block_sparse_moe.router.layer.weight")
    if name.endswith("experts.gate_up_proj"):
        halves = [name.replace("gate_up_proj", f"{half}_proj.weight") for half in ("gate", "up")]
        return halves, lambda array: list(numpy.split(array, 2, axis=1)), lambda arrays: numpy.concatenate(arrays, axis=1)
    if name.endswith("experts.down_proj"):
        return [name + ".weight"], *same
    module = name.split(".")[-2]
    heads = {"q_proj": getattr(config, "num_attention_heads", 0), "k_proj": getattr(config, "num_key_value_heads", 0)}.get(module)
    if architecture in ("llama", "granite", "granitemoe", "smollm3") and heads:
        return [name], lambda array: [paired(array, heads)], lambda arrays: unpaired(arrays[0], heads)
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return [name], lambda array: [array + 1], lambda arrays: arrays[0] - 1
    if architecture == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return [name], lambda array: [array.T.copy()], lambda arrays: arrays[0].T
    if module == "query_key_value":
        heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        grouped = lambda array: array.reshape(heads, 3, width, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)
        ungrouped = lambda array: array.reshape(3, heads, width, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)
        return [name], lambda array: [grouped(array)], lambda arrays: ungrouped(arrays[0])
    return [name], *same


def metadata(writer, architecture, config):
    """What a converter writes beside tokens and tensors."""
    get = lambda *names: next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)
    hidden, heads = get("hidden_size", "n_embd"), get("num_attention_heads", "n_head")
    writer.add_context_length(get("max_position_embeddings", "n_positions"))
    writer.add_embedding_length(hidden)
    writer.add_block_count(get("num_hidden_layers", "n_layer"))
    writer.add_feed_forward_length(get("intermediate_size", "n_inner") or 4 * hidden)
    writer.add_head_count(heads)
    if architecture in ("gpt2", "gptneox", "stablelm", "phi2", "command-r"):
        writer.add_layer_norm_eps(get("layer_norm_eps", "layer_norm_epsilon"))
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if getattr(config, "num_key_value_heads", None):
        writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = get("head_dim") or hidden // heads
    if architecture.startswith(("qwen3", "gemma")):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    rotary = getattr(config, "rope_parameters", None)
    if rotary:
        # Layers with a window have parameters of their own in some families; files have those of the others.
        rotary = rotary.get("full_attention", rotary)
        writer.add_rope_dimension_count(int(head_dim * rotary.get("partial_rotary_factor", 1)))
        if architecture not in ("gptneox", "phi2"):
            writer.add_rope_freq_base(rotary["rope_theta"])
        kind, original = rotary.get("rope_type"), rotary.get("original_max_position_embeddings")
        if kind in ("yarn", "longrope"):
            writer.add_rope_scaling_orig_ctx_len(original)
        if kind == "yarn":
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(rotary["factor"])
        if kind == "longrope":
            scale = config.max_position_embeddings / original
            writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
            for length in ("long", "short"):
                writer.add_tensor(f"rope_factors_{length}.weight", numpy.array(rotary[f"{length}_factor"], dtype=numpy.float32))
    if get("num_local_experts", "num_experts"):
        writer.add_expert_count(get("num_local_experts", "num_experts"))
        writer.add_expert_used_count(config.num_experts_per_tok)
    if architecture in ("qwen2moe", "qwen3moe"):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if architecture == "qwen2moe":
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if getattr(config, "use_parallel_residual", None) is not None and architecture == "stablelm":
        writer.add_parallel_residual(config.use_parallel_residual)
    if get("sliding_window") and architecture != "qwen2moe":
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if architecture == "gptneox":
        writer.add_parallel_residual(config.use_parallel_residual)
    if architecture == "olmo2" and get("sliding_window"):
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])
    if architecture == "command-r":
        writer.add_logit_scale(config.logit_scale)
    if architecture in ("granite", "granitemoe"):
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)


def make(name, seed, parts=0):
    architecture, stem, fields, kind, wide = FAMILIES[name]
    generator, random = torch.Generator().manual_seed(4000 + seed), numpy.random.default_rng(seed)
    # Experts of a file of today are in one tensor; those of an older one in one each.
    single = name.endswith("-single")
    config = getattr(transformers, CONFIGS.get(stem, stem.removesuffix("LMHead") + "Config"))(**fields, attn_implementation="eager", experts_implementation="eager")
    model = getattr(transformers, stem + "Model" if stem.endswith("LMHead") else stem + "ForCausalLM")(config)
    layers = getattr(config, "num_hidden_layers", None) or config.n_layer
    names = gguf.get_tensor_name_map(next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture), layers)
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", architecture, split_max_tensors=parts)
    metadata(writer, architecture, config)
    state, tied = {}, getattr(config, "tie_word_embeddings", False)
    for full, parameter in model.named_parameters():
        if full == "lm_head.weight" and tied:
            continue
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            value = (1 - architecture.startswith("gemma") if full.endswith("weight") else 0) + 0.1 * noise
        elif any(part in full for part in ("embed", "wte")):
            value = noise / parameter.shape[1] ** 0.5 * 4
        else:
            value = noise / parameter.shape[0 if "c_" in full else -1] ** 0.5
        targets, forward, back = layout(architecture, config, full)
        held = []
        for target, array in zip(targets, forward(value.numpy().astype(numpy.float32))):
            stored = names.get_name(target, try_suffixes=(".weight", ".bias"))
            wanted = Kind.F32 if array.ndim == 1 or "ffn_gate_inp" in stored else (wide if wide and array.shape[-1] == 256 else kind)
            try:
                raw = gguf.quants.quantize(array, wanted)
            except NotImplementedError:
                raw = random_blocks(array, wanted, random)
            if single and "_exps" in stored:
                for expert, matrix in enumerate(raw):
                    writer.add_tensor(stored.replace("_exps", f".{expert}"), matrix.copy(), raw_dtype=wanted)
            else:
                writer.add_tensor(stored, raw, raw_dtype=wanted)
            held.append(dequantize(raw, wanted).reshape(array.shape))
        state[full] = torch.from_numpy(numpy.ascontiguousarray(back(held)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert missing in ([], ["lm_head.weight"]) and (not missing or tied or stem.startswith("GPT2")), missing
    model.tie_weights()
    fed = torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)
    with torch.no_grad():
        logits = model.eval()(fed[None]).logits[0].numpy().astype(numpy.float32)
    numpy.save(HERE / f"{name}.npy", logits)
    written = {"architectures": [type(model).__name__], **{key: value for key, value in config.to_diff_dict().items() if key != "transformers_version"}, **fields}
    (HERE / f"{name}.json").write_text(json.dumps({"tokens": fed.tolist(), "config": written}) + "\n")
    print(name, f"norm {numpy.linalg.norm(logits, axis=1).mean():.3f}")


def blocks(kind, seed):
    """Random blocks and, in the same rows, their elements; scales of every size that a file can have, in the first of them."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = 24 if elements == 32 else 10
    raw = numpy.random.default_rng(seed).integers(0, 256, (count, size), dtype=numpy.uint8)
    odd = numpy.array([0x0000, 0x8000, 0x0001, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00], dtype="<u2").view(numpy.uint8).reshape(-1, 2)
    if kind == Kind.MXFP4:
        raw[:6, 0] = [0, 1, 2, 127, 254, 255]
    elif kind == Kind.Q8_K:
        raw[:6, :4] = numpy.array([0, -0.0, 1e-45, 3.4e38, numpy.inf, numpy.nan], dtype="<f4").view(numpy.uint8).reshape(-1, 4)
    else:
        # Every one of them as scale, and where there is one as minimum, beside a scale of common size.
        scale, minimum = SCALES[kind]
        common = numpy.frombuffer(numpy.float16(0.01).tobytes(), numpy.uint8)
        raw[:, scale : scale + 2] = numpy.frombuffer(numpy.random.default_rng(seed).normal(0, 0.02, count).astype("<f2").tobytes(), numpy.uint8).reshape(-1, 2)
        places = [(scale, minimum)] if minimum is None else [(scale, minimum), (minimum, scale)]
        for first, (at, other) in enumerate(places):
            chosen = range(first, len(odd), len(places)) if elements == 256 else range(len(odd))
            for row, bits in enumerate(odd[list(chosen)], first * len(odd) if elements == 32 else first * len(odd) // 2):
                raw[row, at : at + 2] = bits
                if other is not None:
                    raw[row, other : other + 2] = common
    values = dequantize(raw, kind).astype("<f4").view(numpy.uint8).reshape(count, -1)
    numpy.save(HERE / "blocks" / f"{kind.name}.npy", numpy.concatenate([raw, values], axis=1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = sys.argv[1:]
    for number, name in enumerate(FAMILIES):
        if not asked or name in asked:
            make(name, number)
    if not asked or "split" in asked:
        FAMILIES["split"] = ("qwen3", "Qwen3", dict(TINY, head_dim=16, num_hidden_layers=1, intermediate_size=32), Kind.Q8_0, None)
        make("split", 100, parts=5)
    if not asked or "blocks" in asked:
        (HERE / "blocks").mkdir(parents=True, exist_ok=True)
        for number, kind in enumerate([*SCALES, Kind.Q8_K, Kind.MXFP4]):
            blocks(kind, number)
