"""Makes the GGUF files of the tests, with logits of the same weights, expanded, in `transformers` and ids of texts from `tokenizers`.

Needs torch, transformers, gguf, tokenizers and numpy; run in this folder: python make_gguf.py
Every file is written from a random model; the reference runs on the weights as the file holds them.
"""

import json
import pathlib

import gguf
import numpy
import torch
import transformers
from gguf import GGMLQuantizationType as Kind
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, normalizers, trainers

HERE = pathlib.Path(__file__).parent / "gguf"
TEXTS = ["Hello world", " The cat's 12345 tails,\n\n  and more", "naïve café 🐈", "", "a  b", "<s>hi</s>"]
CORPUS = ["the cat sat on the mat and the dog ate the cake", "Hello world, this is a test of words and more words", "numbers 12 345 and tails"] * 3
FILES = {
    # name: architecture, config, kind of matrices, kind of the head, tokenizer
    "llama-f16": ("llama", dict(hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2), Kind.F16, None, "spm"),
    "llama-q8_0": ("llama", dict(hidden_size=96, intermediate_size=160, num_attention_heads=6, num_key_value_heads=3, num_hidden_layers=2), Kind.Q8_0, Kind.F32, "llama-bpe"),
    "llama-q4_0": ("llama", dict(hidden_size=256, intermediate_size=96, num_attention_heads=8, num_key_value_heads=1, num_hidden_layers=1, factors=True), Kind.Q4_0, Kind.Q6_K, "smollm"),
    "qwen2-q8_0": ("qwen2", dict(hidden_size=64, intermediate_size=96, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=2, tie_word_embeddings=True), Kind.Q8_0, None, "qwen2"),
}
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def stored_name(name):
    module, kind = name.rsplit(".", 1)
    if module.startswith("model.layers."):
        number, rest = module.removeprefix("model.layers.").split(".", 1)
        return f"blk.{number}.{NAMES[rest]}.{kind}"
    return f"{NAMES[module]}.{kind}"


def paired(array, heads):
    """Rows of a head in pairs, as llama.cpp stores queries and keys."""
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def unpaired(array, heads):
    return array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def byte_level(style, size):
    tokenizer = Tokenizer(models.BPE(ignore_merges=style == "llama-bpe"))
    if style == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:
        digits = "{1,3}" if style == "llama-bpe" else ""
        from tokenizers import Regex
        steps = [pre_tokenizers.Split(Regex(SPLIT % digits), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    if style == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def add_byte_level(writer, style, tokenizer, bos):
    held = json.loads(tokenizer.to_str())
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(style)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in ("<s>", "</s>") else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in held["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(bos)
    return len(tokens), [([0] if bos else []) + tokenizer.encode(text).ids for text in TEXTS]


def add_spm(writer):
    """A vocabulary like Llama's: unknown, ends, bytes, then pieces with scores; the reference is `LlamaTokenizer` made from it."""
    words = sorted({piece for text in CORPUS for word in text.split() for piece in ("\u2581" + word, word)} | {"\u2581th", "th", "he", "at", "\u2581a", "\u2581t", "lo", "ell", "an", "in"}, key=lambda piece: (len(piece), piece))
    letters = sorted({letter for piece in words for letter in piece} | {"\u2581"})
    pieces = [piece for piece in words if len(piece) > 1][:110]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + pieces + letters
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(pieces))] + [-1000.0 - rank for rank in range(len(letters))]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(pieces) + len(letters))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    ids = [[1] + sentence_piece(text, tokens, scores, types) for text in TEXTS]
    return len(tokens), ids


def sentence_piece(text, tokens, scores, types):
    """What SentencePiece does: merge the neighbours whose join has the best score, leftmost first, until none has; special tokens apart."""
    ids = {token: number for number, token in enumerate(tokens)}
    import re
    found = []
    for part in re.split("(<s>|</s>|<unk>)", text):
        if part in ("<s>", "</s>", "<unk>"):
            found.append(ids[part])
            continue
        if not part:
            continue
        symbols = list("\u2581" + part.replace(" ", "\u2581"))
        while True:
            joins = [(scores[ids[a + b]], -place) for place, (a, b) in enumerate(zip(symbols, symbols[1:])) if a + b in ids and types[ids[a + b]] == 1]
            if not joins:
                break
            place = -max(joins)[1]
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
        for symbol in symbols:
            found += [ids[symbol]] if symbol in ids else [ids[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return found


def make(name, seed):
    architecture, fields, kind, head, style = FILES[name]
    fields = dict(fields)
    factors = fields.pop("factors", False)
    generator = torch.Generator().manual_seed(3000 + seed)
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", architecture)
    if style == "spm":
        vocab, ids = add_spm(writer)
    else:
        tokenizer = byte_level(style, 290)
        vocab, ids = add_byte_level(writer, style, tokenizer, style == "llama-bpe")
    stem = {"llama": "Llama", "qwen2": "Qwen2"}[architecture]
    config = getattr(transformers, stem + "Config")(vocab_size=vocab, max_position_embeddings=256, rms_norm_eps=1e-5, attn_implementation="eager", **fields)
    model = getattr(transformers, stem + "ForCausalLM")(config)
    writer.add_context_length(256)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    head_dim = config.hidden_size // config.num_attention_heads
    if architecture == "llama":
        writer.add_rope_dimension_count(head_dim)
        writer.add_vocab_size(vocab)
    state = {}
    for full, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if full == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if parameter.dim() == 1:
            value = (1 if full.endswith("weight") else 0) + 0.1 * noise
        else:
            value = noise / parameter.shape[1] ** 0.5 * (4 if "embed" in full else 1)
        value = value.numpy().astype(numpy.float32)
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(full.split(".")[-2]) if architecture == "llama" else None
        if heads:
            value = paired(value, heads)
        wanted = Kind.F32 if value.ndim == 1 else head if full == "lm_head.weight" and head is not None else kind
        if wanted == Kind.Q6_K:
            # No one writes this kind in Python: blocks of random bits with scales of the right size.
            blocks = numpy.random.default_rng(seed).integers(0, 256, (value.shape[0], value.shape[1] // 256, 210), dtype=numpy.uint8)
            blocks[:, :, 192:208] = blocks[:, :, 192:208] // 8 + 16
            blocks[:, :, 208:] = numpy.frombuffer(numpy.float16(1e-4).tobytes(), dtype=numpy.uint8)
            raw = blocks.reshape(value.shape[0], -1)
        else:
            raw = gguf.quants.quantize(value, wanted)
        writer.add_tensor(stored_name(full), raw, raw_dtype=wanted)
        value = gguf.quants.dequantize(raw, wanted).astype(numpy.float32)
        state[full] = torch.from_numpy((unpaired(value, heads) if heads else value).copy())
    if factors:
        values = numpy.linspace(1, 6, head_dim // 2).astype(numpy.float32)
        writer.add_tensor("rope_freqs.weight", values)
        model.model.rotary_emb.inv_freq /= torch.from_numpy(values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert missing == (["lm_head.weight"] if config.tie_word_embeddings else []), missing
    model.tie_weights()
    fed = torch.randint(0, vocab, (12,), generator=generator)
    with torch.no_grad():
        logits = model.eval()(fed[None]).logits[0].numpy().astype(numpy.float32)
    numpy.save(HERE / f"{name}.npy", logits)
    (HERE / f"{name}.json").write_text(json.dumps({"tokens": fed.tolist(), "texts": TEXTS, "ids": ids}) + "\n")
    print(name, vocab, f"norm {numpy.linalg.norm(logits, axis=1).mean():.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    HERE.mkdir(exist_ok=True)
    for number, name in enumerate(FILES):
        make(name, number)
