"""Makes the small random Llama checkpoints of the tests and their float32 reference logits.

Needs torch, transformers, safetensors and numpy; run in this folder: python make.py
Logits come from a float32 model that is loaded from the stored (rounded) weights, over 40 seeded random tokens.
"""

import json
import pathlib
import shutil

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


def main():
    for seed, (name, shape) in enumerate(SHAPES.items()):
        generator = torch.Generator().manual_seed(1000 + seed)
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
        tokens = torch.randint(0, shape["vocab_size"], (TOKENS,), generator=generator)
        with torch.no_grad():
            logits = model.float().eval()(tokens[None]).logits[0]
        (folder / "tokens.json").write_text(json.dumps(tokens.tolist()) + "\n")
        numpy.save(folder / "logits.npy", logits.numpy().astype(numpy.float32))
        top = logits.topk(2).values
        print(name, f"gap {float((top[:, 0] - top[:, 1]).median()):.3f}", f"norm {float(logits.norm(dim=1).mean()):.3f}")
    print("torch", torch.__version__, "transformers", transformers.__version__)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
