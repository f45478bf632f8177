//! What we write, PEFT reads: its logits for our folders are a fixture.
//!
//! `STRATUNE_WRITE_ADAPTERS=DIR cargo test -p stratune-tests --test methods` writes the folders, and
//! `python tests/fixtures/make_fixtures.py ours DIR` makes the fixture of them.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use serde_json::Value;
use stratune_models::Model;
use stratune_peft::{MethodConfig, MethodKind, Methods, TargetOverride};
use stratune_protocol::Targets;
use stratune_runtime::read_f32;
use stratune_session::adapter_of;
use stratune_store::write_files;
use stratune_tests::fixtures::{Logits, ids, json, model};
use stratune_tests::worst;
use stratune_train::RunConfig;

use super::suited;
use crate::models::moved_on;

macro_rules! theirs {
    ($($base:literal),+) => {
        [$(($base, include_bytes!(concat!("../fixtures/ours-logits/", $base, ".json")).as_slice())),+]
    };
}

/// What PEFT says with our folders, by the model that they are for.
const THEIRS: [(&str, &[u8]); 9] = theirs!(
    "tiny-llama",
    "tiny-qwen3",
    "tiny-gemma3",
    "tiny-granite",
    "tiny-phi3",
    "tiny-gpt2",
    "tiny-gpt-neox",
    "tiny-gemma3-multimodal",
    "tiny-t5"
);

/// What stands on a base in few bits is written as a LoRA, which is compared. Both sides compute in f32, in another order: 1e-4 of logits that reach a few units.
pub async fn all(device: &Device) {
    let files = THEIRS.iter().map(|(base, bytes)| (*base, serde_json::from_slice(bytes).expect("the fixture's form")));
    let theirs: BTreeMap<&str, BTreeMap<String, Vec<Vec<f32>>>> = files.collect();
    for (name, base, methods) in folders() {
        let model = moved_on(model(base, device).await, &methods).await;
        if let Some(dir) = std::env::var_os("STRATUNE_WRITE_ADAPTERS") {
            let config = RunConfig { model: base.into(), method: methods, ..RunConfig::default() };
            let files = adapter_of(&model, &config).await.expect("files");
            write_files(&std::path::Path::new(&dir).join(name), &files, true).expect("a folder");
            continue;
        }
        let ours = read_f32(says(&model, base, device).await).await.expect("logits");
        let theirs =
            theirs.get(base).and_then(|of| of.get(&name)).unwrap_or_else(|| panic!("the fixture has no {name}"));
        let off = worst(&ours, &theirs.concat());
        assert!(off <= 1e-4, "{name}: PEFT's logits are off by {off:e}");
    }
}

/// What a model says of the text of its base; one of two stacks of the first row's labels, when it reads the row.
async fn says(model: &Model, base: &str, device: &Device) -> Tensor<3> {
    let Some(of) = &model.config.seq2seq else {
        let text: Logits = json(base, "logits.json").await;
        return model.logits(ids(&text.ids, device));
    };
    let said: Value = json(base, "logits.json").await;
    let tokens = |key: &str| -> Vec<u32> { serde_json::from_value(said["rows"][0][key].clone()).expect("tokens") };
    let (source, mut labels) = (tokens("ids"), tokens("labels"));
    labels.pop();
    labels.insert(0, of.start);
    model.reading(&source).logits(ids(&labels, device))
}

/// Name, base and methods of each folder: every method that PEFT has, on two families, some on others, and ranks and alphas that several
/// overrides give one layer.
fn folders() -> Vec<(String, &'static str, Methods)> {
    let kinds = || MethodKind::ALL.into_iter().filter(|kind| kind.method().peft.is_some() && !kind.method().few_bits);
    let mut folders: Vec<_> =
        kinds().map(|kind| (kind.name().to_string(), "tiny-llama", suited(kind).into())).collect();
    folders.extend(kinds().map(|kind| (format!("{kind}-qwen3"), "tiny-qwen3", suited(kind).into())));
    // Where norms are 1 + weight and stand behind layers too, and where a prompt is multiplied.
    for kind in [MethodKind::Lora, MethodKind::LayerNorm, MethodKind::Prefix, MethodKind::Prompt] {
        for base in ["tiny-gemma3", "tiny-granite"] {
            folders.push((format!("{kind}-{base}"), base, suited(kind).into()));
        }
    }
    // Where layers are fused, norms have biases, and files have matrices the other way round, for which PEFT has some methods
    // not at all; and where images have layers of the same names.
    for kind in kinds().filter(|kind| ![MethodKind::Lokr, MethodKind::Shira].contains(kind)) {
        folders.push((format!("{kind}-gpt2"), "tiny-gpt2", suited(kind).into()));
    }
    for kind in [MethodKind::Lora, MethodKind::Ia3, MethodKind::Lokr, MethodKind::Shira, MethodKind::LayerNorm] {
        folders.push((format!("{kind}-phi3"), "tiny-phi3", suited(kind).into()));
        folders.push((format!("{kind}-gpt-neox"), "tiny-gpt-neox", suited(kind).into()));
    }
    // Two stacks, whose blocks PEFT counts by themselves: blocks of the same number, and of one stack alone.
    let of_one_stack = [MethodKind::Prefix, MethodKind::Prompt];
    for kind in kinds().filter(|kind| !of_one_stack.contains(kind)) {
        folders.push((format!("{kind}-t5"), "tiny-t5", suited(kind).into()));
    }
    for (name, layers) in [("both", vec![1, 3]), ("decoder", vec![2, 4])] {
        let lora = MethodConfig { layers, targets: Some(Targets::AllLinear), ..suited(MethodKind::Lora) };
        folders.push((format!("lora-t5-{name}"), "tiny-t5", lora.into()));
    }
    folders.push(("lora-gemma3-multimodal".into(), "tiny-gemma3-multimodal", suited(MethodKind::Lora).into()));
    for kind in [MethodKind::Lora, MethodKind::Lokr] {
        let overrides = [
            ("q_proj", Some(2), Some(5.0)),
            ("k_proj", Some(4), None),
            ("layers.1.self_attn.q_proj", Some(5), None),
            ("model.layers.0.self_attn.k_proj", Some(1), Some(3.0)),
            ("1.self_attn.k_proj", None, Some(7.0)),
        ];
        let overrides = overrides.map(|(key, rank, alpha)| (key.to_string(), TargetOverride { rank, alpha })).into();
        folders.push((format!("{kind}-overrides"), "tiny-llama", MethodConfig { overrides, ..suited(kind) }.into()));
    }
    folders
}
