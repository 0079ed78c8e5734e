"""Trains the tokenizer and the model that ship, on stories from corpus.py. Run in this folder: python train.py

Needs torch, transformers, tokenizers and safetensors; takes about ten minutes on one CPU core. Retraining gives a model
of the same quality, not the same bytes.
"""

import json
import math
import pathlib
import random
import time

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
VOCAB, STORIES, BATCH, STEPS, PEAK, SEED = 512, 20000, 16, 900, 3e-3, 7
SECONDS = 540
SHAPE = dict(vocab_size=VOCAB, hidden_size=160, num_attention_heads=5, num_key_value_heads=5, intermediate_size=416, num_hidden_layers=4,
             max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0)
PROMPT = "Once upon a time"


def train_tokenizer(stories):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(stories, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    tokenizer.save(str(HERE / "tokenizer.json"))
    return tokenizer


def save(model, tokenizer, loss):
    state = {key: value.detach().to(torch.float16).contiguous() for key, value in model.state_dict().items() if key != "lm_head.weight"}
    save_file(state, HERE / "model.safetensors")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "float16", **SHAPE}
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    (HERE / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (HERE / "prompt.txt").write_text(PROMPT + "\n")
    stored = LlamaForCausalLM(LlamaConfig(**SHAPE))
    stored.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    stored.tie_weights()
    prompt = tokenizer.encode(PROMPT).ids
    ids = stored.eval().generate(torch.tensor([prompt]), max_new_tokens=64, do_sample=False)[0].tolist()[len(prompt):]
    text = tokenizer.decode(ids)
    (HERE / "expected.json").write_text(json.dumps({"prompt": PROMPT, "prompt_ids": prompt, "ids": ids, "text": text, "loss": round(loss, 4)}, indent=1) + "\n")
    print(f"loss {loss:.4f}: {PROMPT}{text}", flush=True)


def main():
    from corpus import story

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    chance = random.Random(SEED)
    stories = [story(chance) for _ in range(STORIES)]
    tokenizer = train_tokenizer(stories)
    encoded = [tokenizer.encode(text).ids + [0] for text in stories]
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    print("parameters", sum(p.numel() for p in model.parameters()), "longest", max(map(len, encoded)), flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    begin = time.time()
    mean = 0.0
    for step in range(STEPS):
        done = max(step / STEPS, (time.time() - begin) / SECONDS)
        if done >= 1:
            break
        rate = PEAK * min((step + 1) / 50, 0.5 * (1 + math.cos(math.pi * done)) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = chance.sample(encoded, BATCH)
        length = max(map(len, batch))
        ids = torch.tensor([row + [0] * (length - len(row)) for row in batch])
        labels = torch.tensor([row + [-100] * (length - len(row)) for row in batch])
        loss = model(ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean = loss.item() if step == 0 else 0.95 * mean + 0.05 * loss.item()
        if step % 50 == 0:
            print(step, f"{mean:.4f}", f"{time.time() - begin:.0f} s", flush=True)
        if step % 150 == 149:
            save(model, tokenizer, mean)
    save(model, tokenizer, mean)


if __name__ == "__main__":
    main()
