//! Puts the real model that some tests read into the tests, because a browser's tests cannot read a disk. Without
//! `STRATUNE_DATA` they get empty files, and say that they skip.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=STRATUNE_DATA");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let model = std::env::var_os("STRATUNE_DATA").map(|data| PathBuf::from(data).join("models/stories260K"));
    for file in [
        "hf/config.json",
        "hf/model.safetensors",
        "hf/tokenizer.json",
        "hf/tokenizer_config.json",
        "orig/stories260K.md",
    ] {
        let bytes = model.as_ref().and_then(|m| std::fs::read(m.join(file)).ok()).unwrap_or_default();
        let name = file.rsplit('/').next().expect("a name");
        std::fs::write(out.join(name), bytes).expect("OUT_DIR can be written");
    }
}
