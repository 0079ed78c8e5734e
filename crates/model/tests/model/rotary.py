"""Prints rotary rows of `transformers` for `rotary.json`: one case a line of config, context and position.

Needs torch and transformers. Run: python crates/model/tests/model/rotary.py > crates/model/tests/model/rotary.json
A row is that of the last position of a forward over `context` tokens, and of some before it.
"""

import json

import torch
from transformers import LlamaConfig, Phi3Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=128)
SHORT, LONG = [1.0, 1.05, 1.2, 0.75, 2.0, 3.0, 4.5, 8.0], [1.0, 2.5, 4.0, 7.0, 12.0, 20.0, 33.0, 60.0]
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, short_factor=SHORT, long_factor=LONG)
CASES = [
    ("llama", YARN, 512, {}),
    ("llama", YARN | dict(beta_fast=16.0, beta_slow=2.0), 512, {}),
    ("llama", YARN | dict(rope_theta=1000000.0, factor=32.5, attention_factor=1.25), 4096, {}),
    ("llama", YARN | dict(mscale=0.75, mscale_all_dim=1.5, truncate=False), 512, {}),
    ("llama", YARN | dict(mscale=1.0, mscale_all_dim=1.0), 512, {}),
    ("llama", dict(rope_type="yarn", rope_theta=500.0, factor=2.0), 64, {}),
    ("llama", dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0), 64, {}),
    ("llama", dict(rope_type="dynamic", rope_theta=500000.0, factor=3.5), 100, {}),
    ("phi3", LONGROPE, 512, dict(original_max_position_embeddings=64)),
    ("phi3", LONGROPE | dict(factor=16.0), 512, dict(original_max_position_embeddings=64)),
    ("phi3", LONGROPE | dict(attention_factor=1.5), 512, dict(original_max_position_embeddings=64)),
    ("phi3", LONGROPE, 64, dict(original_max_position_embeddings=64)),
]


def main():
    cases = []
    for family, rope, positions, more in CASES:
        for context in (64, 65, 300):
            config_class, rotary_class = {"llama": (LlamaConfig, LlamaRotaryEmbedding), "phi3": (Phi3Config, Phi3RotaryEmbedding)}[family]
            fields = dict(hidden_size=64, num_attention_heads=4, max_position_embeddings=positions, **more)
            config = config_class(**fields, rope_parameters=dict(rope), pad_token_id=None)
            rotary = rotary_class(config)
            cos, sin = rotary(torch.zeros(1, context, 64), torch.arange(context)[None])
            rows = [(at, cos[0, at, :8].tolist(), sin[0, at, :8].tolist()) for at in (1, 17, context - 1)]
            cases.append(dict(family=family, fields=fields | dict(rope_parameters=rope), context=context, rows=rows))
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
