//! Adapter folders, PEFT's and our own.

use std::borrow::Cow;

use burn::tensor::Device;
use stratune_models::Model;
use stratune_peft::MethodNames;
use stratune_protocol::Problem;
use stratune_runtime::block_on;
use stratune_session::{adapter_of, attach, read_adapter};
use stratune_store::MemoryFolder;
use stratune_tests::{fixtures, runs};
use stratune_train::RunConfig;

use crate::damage::{small_sizes, survives};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

type Files = Vec<(String, Vec<u8>)>;

/// Damages each file of an adapter's folder, and puts what is read of it into a model.
fn damaged(name: &str, files: &Files, model: &Model) {
    for (file, bytes) in files {
        survives(&format!("{name}/{file}"), bytes, 120, |bytes| read(files, file, bytes, model));
        if file == WEIGHTS {
            // Most bytes are numbers: the header, with its length set right.
            let length = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
            survives(&format!("{name}, header"), &bytes[8..length], 120, |text| {
                let bytes = [&(text.len() as u64).to_le_bytes()[..], text, &bytes[length..]].concat();
                read(files, file, &bytes, model)
            });
        }
    }
}

fn read(files: &Files, name: &str, bytes: &[u8], model: &Model) -> Result<(), Problem> {
    let others =
        files.iter().filter(|(file, _)| file != name).map(|(file, bytes)| (file.clone(), Cow::Owned(bytes.clone())));
    let all = others.chain([(name.to_string(), Cow::Owned(bytes.to_vec()))]).collect();
    block_on(async {
        let adapter = read_adapter(&MemoryFolder::new("damaged", all)).await?;
        attach(&mut model.clone(), &adapter).await
    })
}

#[test]
fn adapters_of_peft() {
    let model = block_on(fixtures::model("tiny-llama", &Device::flex()));
    for name in [
        "peft-lora",
        "peft-rslora",
        "peft-dora",
        "peft-pissa",
        "peft-vera",
        "peft-ia3",
        "peft-adalora",
        "peft-lokr",
        "peft-ln",
        "peft-prefix",
        "peft-prompt",
    ] {
        let folder = fixtures::folder(name);
        let file = |file: &str| (file.to_string(), block_on(folder.read(file, None)).unwrap());
        damaged(name, &vec![file(CONFIG), file(WEIGHTS)], &model);
    }
}

#[test]
fn adapters_of_our_own() {
    let model = runs::small(2, &Device::flex());
    let report = model.config.report("small", model.config.parameters());
    for name in
        ["lora,bitfit", "pfeiffer", "did", "said", "sparse_adapter", "diff_pruning", "compacter", "ladder", "unipelt"]
    {
        let methods = small_sizes(name.parse::<MethodNames>().unwrap().methods(&report));
        let mut tuned = model.clone();
        block_on(tuned.attach(&methods, 3)).unwrap();
        let files = block_on(adapter_of(&tuned, &RunConfig { method: methods, ..RunConfig::default() })).unwrap();
        damaged(name, &files, &model);
    }
}
