//! The model and the example that come with the program.

/// The name of the built-in model.
pub const STARTER: &str = "starter";

/// The example's name and training rows: sentences, and who, where and when as JSON.
pub const EXAMPLE: (&str, &[u8]) = ("example", include_bytes!("../assets/example/train.jsonl"));

/// The name and rows of the example's held-out part.
pub const EXAMPLE_HELD_OUT: (&str, &[u8]) = ("example-held-out", include_bytes!("../assets/example/held_out.jsonl"));

/// The built-in model's folder. The page's engine fetches it from its own origin instead, so that it is loaded once for
/// both engines.
#[cfg(feature = "starter")]
pub fn starter_folder() -> stratune_store::MemoryFolder {
    use std::borrow::Cow;
    let file = |name: &str, bytes: &'static [u8]| (name.to_string(), Cow::Borrowed(bytes));
    stratune_store::MemoryFolder::new(
        STARTER,
        vec![
            file("config.json", include_bytes!("../assets/starter/config.json")),
            file("model.safetensors", include_bytes!("../assets/starter/model.safetensors")),
            file("tokenizer.json", include_bytes!("../assets/starter/tokenizer.json")),
            file("tokenizer_config.json", include_bytes!("../assets/starter/tokenizer_config.json")),
        ],
    )
}
