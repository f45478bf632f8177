//! Whether a folder or a file can be a model, before it is read.

/// What a model's folder must hold, and lacks. A GGUF file has all of it.
pub fn missing<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<&'static str> {
    let has = |found: fn(&str) -> bool| names.clone().any(|n| found(base(n)));
    let mut missing = Vec::new();
    if has(is_gguf) {
        return missing;
    }
    if !has(|n| n == "config.json") {
        missing.push("config.json");
    }
    if !has(|n| n.ends_with(".safetensors")) {
        missing.push("*.safetensors");
    }
    // A model that reads images has no tokenizer.
    if !has(|n| n == "tokenizer.json") && !has(|n| n == "preprocessor_config.json") {
        missing.push("tokenizer.json");
    }
    missing
}

/// Splits `folder/rest` into the dropped folder's name and the path inside it.
pub fn split_folder(path: &str) -> (&str, &str) {
    path.trim_start_matches('/').split_once('/').unwrap_or(("", path.trim_start_matches('/')))
}

/// Whether a file belongs to a model: no hidden file, nothing deeper than the folder itself, and a known ending.
pub fn belongs(inside: &str) -> bool {
    let ending = inside.rsplit('.').next().unwrap_or_default();
    !inside.contains('/')
        && !inside.starts_with('.')
        && ["json", "safetensors", "gguf", "jinja", "txt", "model"].contains(&ending)
}

/// Whether a file is a model by itself, or a part of one.
pub fn is_gguf(name: &str) -> bool {
    name.ends_with(".gguf")
}

fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let all = ["config.json", "model-00001-of-00002.safetensors", "tokenizer.json"];
        assert_eq!(missing(all.into_iter()), Vec::<&str>::new());
        assert_eq!(missing(["x/config.json", "model.bin"].into_iter()), ["*.safetensors", "tokenizer.json"]);
        assert_eq!(missing([].into_iter()).len(), 3);
        let of_images = ["config.json", "model.safetensors", "preprocessor_config.json"];
        assert_eq!(missing(of_images.into_iter()), Vec::<&str>::new());
        assert_eq!(missing(["model.Q4_1.gguf"].into_iter()), Vec::<&str>::new());
    }

    #[test]
    fn folders_and_files() {
        assert_eq!(split_folder("/m/config.json"), ("m", "config.json"));
        assert_eq!(split_folder("m/onnx/model.json"), ("m", "onnx/model.json"));
        assert_eq!(split_folder("config.json"), ("", "config.json"));
        for (name, fits) in [
            ("config.json", true),
            ("model.safetensors", true),
            (".hidden.json", false),
            ("onnx/a.json", false),
            ("model.gguf", true),
            ("pytorch_model.bin", false),
            // A folder of sentence-transformers.
            ("vocab.txt", true),
            ("modules.json", true),
            ("1_Pooling/config.json", false),
        ] {
            assert_eq!(belongs(name), fits, "{name}");
        }
    }
}
