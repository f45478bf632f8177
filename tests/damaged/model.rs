//! Model folders: `config.json`, the weights, `generation_config.json`.

use std::borrow::Cow;
use std::rc::Rc;

use burn::tensor::Device;
use stratune_models::{Sampling, generate};
use stratune_protocol::{BaseDtype, Problem};
use stratune_runtime::block_on;
use stratune_session::read_model;
use stratune_store::{MemoryFolder, ModelFolder};
use stratune_tests::fixtures::folder;

use crate::damage::survives;

fn file(folder_name: &str, name: &str) -> Vec<u8> {
    block_on(folder(folder_name).read(name, None)).unwrap()
}

/// Reads a fixture's model with one file in place of its own, and lets it say two tokens.
fn read(fixture: &str, name: &str, bytes: &[u8]) -> Result<(), Problem> {
    let other = |file_name: &String| file_name != name && file_name != "logits.json";
    let names = folder(fixture).names().into_iter().filter(other);
    let mut files: Vec<(String, Cow<'static, [u8]>)> = names.map(|n| (n.clone(), file(fixture, &n).into())).collect();
    files.push((name.into(), bytes.to_vec().into()));
    let device = Device::flex();
    block_on(async {
        let files = ModelFolder::open(Rc::new(MemoryFolder::new("damaged", files))).await?;
        files.ends().await?;
        files.fingerprint().await?;
        let model = read_model(&files, BaseDtype::F32.into(), &device, &mut |_| {}).await?;
        generate(&model, &[1, 2, 3], 2, &Sampling::GREEDY, |_| Ok(true)).await
    })
}

#[test]
fn config_json() {
    for fixture in ["tiny-llama", "tiny-llama3"] {
        let name = "config.json";
        survives(&format!("{fixture}/{name}"), &file(fixture, name), 300, |bytes| read(fixture, name, bytes));
    }
}

#[test]
fn weights() {
    for (fixture, name) in [
        ("tiny-llama", "model.safetensors"),
        ("tiny-llama3", "model-00001-of-00002.safetensors"),
        ("tiny-llama3", "model.safetensors.index.json"),
        ("tiny-llama-f16", "model.safetensors"),
    ] {
        survives(&format!("{fixture}/{name}"), &file(fixture, name), 200, |bytes| read(fixture, name, bytes));
    }
    // Most bytes of a file are numbers; the header is where the harm is.
    let whole = file("tiny-llama", "model.safetensors");
    let length = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    survives("header", &whole[..length], 300, |header| {
        let bytes = [header, &whole[length..]].concat();
        read("tiny-llama", "model.safetensors", &bytes)
    });
    // With its length set right, the text of the header is what is read.
    survives("text of the header", &whole[8..length], 300, |text| {
        let bytes = [&(text.len() as u64).to_le_bytes()[..], text, &whole[length..]].concat();
        read("tiny-llama", "model.safetensors", &bytes)
    });
}

#[test]
fn generation_config_json() {
    let text = br#"{"bos_token_id": 1, "eos_token_id": [2, 26], "max_length": 20, "temperature": 0.7}"#;
    survives("generation_config.json", text, 200, |bytes| read("tiny-llama", "generation_config.json", bytes));
}
