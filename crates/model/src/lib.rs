//! Hugging Face folders and tokenizers, read into a decode graph with its weights.
