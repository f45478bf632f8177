//! What we write, PEFT reads: its logits for our folders are a fixture.
//!
//! `STRATUNE_WRITE_ADAPTERS=DIR cargo test -p stratune-tests --test methods` writes the folders, and
//! `python tests/fixtures/make_fixtures.py ours DIR` makes the fixture of them.

use std::collections::BTreeMap;

use burn::tensor::Device;
use stratune_protocol::{MethodKind, Methods, RunConfig};
use stratune_runtime::read_f32;
use stratune_session::adapter_of;
use stratune_store::write_files;
use stratune_tests::fixtures::{Logits, ids, json, model};
use stratune_tests::worst;

use super::suited;
use crate::suite::moved_on;

/// What stands on a base in few bits is written as a LoRA, which is compared. Both sides compute in f32, in another order: 1e-4 of logits that reach a few units.
pub async fn all(device: &Device) {
    let text: Logits = json("tiny-llama", "logits.json").await;
    let theirs: BTreeMap<String, Vec<Vec<f32>>> =
        serde_json::from_slice(include_bytes!("../fixtures/ours-logits.json")).expect("the fixture's form");
    for kind in MethodKind::ALL.into_iter().filter(|kind| kind.peft().is_some() && !kind.quantises()) {
        let methods: Methods = suited(kind).into();
        let base = model("tiny-llama", device).await;
        let model = moved_on(base, &methods).await;
        if let Some(dir) = std::env::var_os("STRATUNE_WRITE_ADAPTERS") {
            let config = RunConfig { model: "tiny-llama".into(), method: methods, ..RunConfig::default() };
            let files = adapter_of(&model, &config).await.expect("files");
            write_files(&std::path::Path::new(&dir).join(kind.name()), &files, true).expect("a folder");
            continue;
        }
        let ours = read_f32(model.logits(ids(&text.ids, device))).await.expect("logits");
        let theirs = theirs.get(kind.name()).unwrap_or_else(|| panic!("the fixture has no {kind}"));
        let off = worst(&ours, &theirs.concat());
        assert!(off <= 1e-4, "{kind}: PEFT's logits are off by {off:e}");
    }
}
