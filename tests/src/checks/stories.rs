//! A real pretrained model: stories260K.

use std::borrow::Cow;
use std::rc::Rc;

use burn::tensor::Device;
use stratune_models::{Sampling, generate};
use stratune_protocol::BaseDtype;
use stratune_runtime::read_f32;
use stratune_session::Base;
use stratune_store::MemoryFolder;

use super::worst;
use crate::fixtures::{Logits, ids};

macro_rules! file {
    ($name:literal) => {
        ($name.to_string(), Cow::Borrowed(include_bytes!(concat!(env!("OUT_DIR"), "/", $name)).as_slice()))
    };
}

/// Its greedy text is the reference text that came with it, and its logits are transformers' within 1e-4. At most
/// `tokens` tokens are told. False if the model is not at hand.
pub async fn stories_are_told(device: &Device, tokens: usize) -> bool {
    let files =
        vec![file!("config.json"), file!("model.safetensors"), file!("tokenizer.json"), file!("tokenizer_config.json")];
    if files.iter().any(|(_, bytes)| bytes.is_empty()) {
        return false;
    }
    let folder = Rc::new(MemoryFolder::new("stories260K", files));
    let base =
        Base::load(folder, "stories260K", BaseDtype::F32.into(), device, &mut |_| {}).await.expect("stories260K");

    let expected: Logits =
        serde_json::from_slice(include_bytes!("../../fixtures/stories260K-logits.json")).expect("the fixture's form");
    let ours = read_f32(base.model.logits(ids(&expected.ids, device))).await.expect("logits");
    let off = worst(&ours, &expected.logits.concat());
    assert!(off <= 1e-4, "logits are off by {off:e}");

    let readme = include_str!(concat!(env!("OUT_DIR"), "/stories260K.md"));
    let text = readme.split("-t 0.0\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("a reference text");
    let prompt: Vec<u32> = base.tokenizer.bos().into_iter().collect();
    let mut told = Vec::new();
    let take = |token| {
        told.push(token);
        Ok(true)
    };
    generate(&base.model, &prompt, tokens, &Sampling::GREEDY, take).await.expect("a story");
    let story = base.tokenizer.decode(&told).expect("a story");
    let (story, text) = (story.trim_start(), text.trim_start());
    let shorter = story.len().min(text.len());
    assert!(
        shorter > 20 && story.as_bytes()[..shorter] == text.as_bytes()[..shorter],
        "told: {story}\nreference: {text}"
    );
    true
}
