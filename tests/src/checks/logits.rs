//! What the models say, against transformers and PEFT.

use burn::tensor::Device;
use stratune_models::{CachedText, Model, Sampling, generate, next_logits};
use stratune_peft::{MethodConfig, MethodKind};
use stratune_protocol::Targets;
use stratune_runtime::read_f32;

use super::worst;
use crate::fixtures::{Logits, adapted, ids, json, model};

/// Both sides compute in f32, in another order: 1e-4 of logits that reach a few units.
const TOLERANCE: f32 = 1e-4;

async fn says(model: &Model, expected: &Logits, name: &str) {
    let ours = read_f32(model.logits(ids(&expected.ids, &model.device()))).await.expect("logits");
    let off = worst(&ours, &expected.logits.concat());
    assert!(off <= TOLERANCE, "{name}: logits are off by {off:e}");
}

/// Models of each family, tied and untied, f32, f16 and bf16, whole and sharded, with and without stretched positions,
/// biases, norms of heads and windows.
pub const MODELS: [&str; 21] = [
    "tiny-llama",
    "tiny-llama3",
    "tiny-llama-f16",
    "tiny-llama-dynamic",
    "tiny-qwen2",
    "tiny-qwen2-yarn",
    "tiny-qwen3",
    "tiny-gemma3",
    "tiny-mistral",
    "tiny-gemma2",
    "tiny-gemma",
    "tiny-smollm3",
    "tiny-granite",
    "tiny-olmo2",
    "tiny-arcee",
    "tiny-phi3",
    "tiny-phi3-short",
    "tiny-gpt2",
    "tiny-gpt-neox",
    "tiny-gpt-neox-serial",
    "tiny-gemma3-multimodal",
];

/// Logits, and greedy text through the cache.
pub async fn logits_agree_with_transformers(device: &Device) {
    for name in MODELS {
        let model = model(name, device).await;
        let expected: Logits = json(name, "logits.json").await;
        says(&model, &expected, name).await;
        let mut told = Vec::new();
        let take = |token| {
            told.push(token);
            Ok(true)
        };
        generate(&model, &expected.prompt, expected.greedy.len(), &Sampling::GREEDY, take).await.expect("a text");
        assert_eq!(told, expected.greedy, "{name}");
    }
}

/// The layers of a model, each with a method behind it that changes nothing yet: no product can be made with another.
pub(super) async fn apart(model: &mut Model) {
    let ssf = MethodConfig { targets: Some(Targets::AllLinear), ..MethodConfig::new(MethodKind::Ssf) };
    model.attach(&[ssf], 0).await.expect("SSF enters every linear layer");
}

/// What is made as one operation, where a family's switches allow that, is what its parts give one after another: 1e-5 of the
/// largest, f32 sums in another order.
pub async fn parts_are_the_whole(device: &Device) {
    for name in MODELS {
        let whole = model(name, device).await;
        let Logits { ids: text, .. } = json(name, "logits.json").await;
        let want = read_f32(whole.hidden_states(ids(&text, device), None)).await.expect("states");
        let mut parts = whole;
        apart(&mut parts).await;
        let got = read_f32(parts.hidden_states(ids(&text, device), Some(&mut parts.caches()))).await.expect("states");
        let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let off = worst(&got, &want);
        assert!(off <= 1e-5 * largest, "{name}: {off:e} of {largest}");
    }
}

/// Texts of several lengths in one batch, joining it at different times, give the logits that each gives from its beginning;
/// also one that is rewritten but for its beginning.
pub async fn rows_by_themselves_say_the_same(device: &Device) {
    // Where frequencies change with each token beyond the trained length, keys stay as they were rotated when they came, as in
    // transformers: that is no text from its beginning.
    for name in MODELS.into_iter().filter(|name| *name != "tiny-llama-dynamic") {
        let model = model(name, device).await;
        let vocabulary = model.config.vocab_size as u32;
        let token = |text: u32, at: u32| (7 * text + 3 * at + text * at) % vocabulary.min(40);
        let text = |row: u32, length: u32| (0..length).map(|at| token(row, at)).collect::<Vec<u32>>();
        let mut texts: Vec<CachedText> = Vec::new();
        for step in 0..6 {
            // One joins at each of the first steps, and at the fourth the first becomes another.
            if step < 3 {
                let mut new = CachedText::default();
                new.rewrite(text(step, 9 - 3 * step));
                texts.push(new);
            }
            if step == 3 {
                let other = [text(0, 5), text(1, 4)].concat();
                assert_eq!(texts[0].shared(&other), 5, "{name}");
                texts[0].rewrite(other);
            }
            let mut rows: Vec<&mut CachedText> = texts.iter_mut().collect();
            let said = next_logits(&model, &mut rows, None).await.expect("logits");
            for (row, (text, said)) in texts.iter_mut().zip(said).enumerate() {
                let whole = read_f32(model.logits(ids(text.tokens(), device))).await.expect("logits");
                let off = worst(&said, &whole[whole.len() - model.config.vocab_size..]);
                assert!(off <= TOLERANCE, "{name}: step {step}, row {row}: off by {off:e}");
                text.push(token(row as u32, 20 + step));
            }
        }
    }
}

/// Adapters written by PEFT, one folder for each of its methods that are read here.
pub const PEFT_FOLDERS: [&str; 13] = [
    "peft-lora",
    "peft-rslora",
    "peft-dora",
    "peft-pissa",
    "peft-vera",
    "peft-ia3",
    "peft-shira",
    "peft-adalora",
    "peft-adalora-cut",
    "peft-lokr",
    "peft-ln",
    "peft-prefix",
    "peft-prompt",
];

/// LoRA on all linear layers of each family, with gradients.
pub const FAMILY_FOLDERS: [&str; 15] = [
    "peft-llama-dynamic",
    "peft-qwen2",
    "peft-qwen3",
    "peft-gemma3",
    "peft-mistral",
    "peft-gemma2",
    "peft-gemma",
    "peft-smollm3",
    "peft-granite",
    "peft-olmo2",
    "peft-arcee",
    "peft-phi3",
    "peft-gpt2",
    "peft-gpt-neox",
    "peft-gemma3-multimodal",
];

/// Adapters written by PEFT say the same here.
pub async fn adapters_agree_with_peft(device: &Device) {
    for name in PEFT_FOLDERS.into_iter().chain(FAMILY_FOLDERS) {
        let expected: Logits = json(name, "logits.json").await;
        says(&adapted(name, device).await, &expected, name).await;
    }
}

/// Merged and unmerged logits within 1e-5 of each other: one sum of f32 products in another order.
pub async fn merging_changes_nothing(device: &Device) {
    for name in ["peft-lora", "peft-rslora", "peft-all"].into_iter().chain(FAMILY_FOLDERS) {
        let mut model = adapted(name, device).await;
        let text: Vec<u32> = (1..25).collect();
        let before = read_f32(model.logits(ids(&text, device))).await.expect("logits");
        model.merge().expect("LoRA merges");
        let after = read_f32(model.logits(ids(&text, device))).await.expect("logits");
        let scale = before.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
        let off = worst(&before, &after);
        assert!(off <= 1e-5 * scale, "{name}: merging moves logits of up to {scale} by {off:e}");
    }
}
