"""Prints the logits that `logits.rs` compares with: the model of `support::tiny`, run by `transformers`.

Needs `torch` and `transformers`. Run: python crates/model/tests/model/reference.py
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

TOKENS = [3, 7, 1, 10, 0]


def element(tensor, i):
    """Element `i` of the tensor numbered `tensor`: a multiple of 1/128, exact in every stored type."""
    return ((i * 31 + tensor * 17 + (i * i) % 101) % 64 - 32) / 128


config = LlamaConfig(
    vocab_size=11,
    hidden_size=12,
    intermediate_size=10,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=6,
    attention_bias=True,
    mlp_bias=True,
    tie_word_embeddings=False,
    rms_norm_eps=1e-5,
    rope_parameters={
        "rope_type": "llama3",
        "rope_theta": 100.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
)
model = LlamaForCausalLM(config).eval()
with torch.no_grad():
    for number, (name, tensor) in enumerate(sorted(model.state_dict().items())):
        shift = 1.0 if "norm" in name else 0.0
        values = [shift + element(number, i) for i in range(tensor.numel())]
        tensor.copy_(torch.tensor(values).reshape(tensor.shape))
    logits = model.double()(torch.tensor([TOKENS])).logits[0]
for row in logits[[0, -1]].tolist():
    print("[" + ", ".join(f"{value:.6f}" for value in row) + "],")
