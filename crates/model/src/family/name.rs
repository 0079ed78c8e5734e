//! The families by name.

/// A family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Llama and SmolLM2: RMS norms before each half of a layer, rotary grouped-query attention, gated SiLU.
    Llama,
    /// Llama with a sliding window.
    Mistral,
    /// Llama with biases on queries, keys and values.
    Qwen2,
    /// Llama with a norm of each query and key head.
    Qwen3,
    /// Norms before and after each half with weights 1 + w, soft caps, alternating windows, scaled embedding.
    Gemma2,
    /// Llama with fused matrices.
    Phi3,
    /// Layer norms, learned positions, plain GELU feed-forward, matrices stored `[in, out]`.
    Gpt2,
    /// GPT-NeoX and Pythia: layer norms, partial rotary, attention and feed-forward side by side.
    GptNeoX,
    /// Norms after each half, and of whole queries and keys.
    Olmo2,
    /// Llama with multipliers.
    Granite,
    /// Mistral with experts.
    Mixtral,
    /// Qwen3 with experts.
    Qwen3Moe,
    /// Llama with weights 1 + w of norms, scaled embedding, tanh GELU.
    Gemma,
    /// The text model of Gemma 3: Gemma 2 with norms of heads and a rotary base for layers with a window.
    Gemma3,
    /// Llama with layers without rotary embedding.
    SmolLm3,
    /// Qwen2 with experts, one of which every token takes.
    Qwen2Moe,
    /// Llama with layer norms and partial rotary.
    StableLm,
    /// Phi-1 to Phi-2: attention and feed-forward side by side after one layer norm, biases everywhere.
    Phi,
    /// Attention and feed-forward side by side after one layer norm, interleaved rotary, scaled logits.
    Cohere,
    /// Granite with experts.
    GraniteMoe,
    /// OLMo 2 with windows in three of four layers.
    Olmo3,
    /// Mistral with windows in some layers.
    Ministral,
}
