//! How each family is proven: the lists that the tests walk.

/// The folders `tiny-NAME` whose GGUF files, made by llama.cpp, are beside them.
pub const GGUF: [&str; 15] = [
    "llama3",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3-multimodal",
    "smollm3",
    "granite",
    "olmo2",
    "arcee",
    "phi3",
    "gpt2",
    "gpt-neox",
];
