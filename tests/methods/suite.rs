//! The checks that every method passes.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use stratune_data::{Label, Sequence, Target};
use stratune_models::{CachedText, Model, Sampling, generate, next_logits};
use stratune_peft::{
    Dora, Form, Ia3, Linear, Merges, MethodKind, Methods, Param, adapter_values, count_trainable, snapshot,
};
use stratune_protocol::OptimiserKind;
use stratune_runtime::read_f32;
use stratune_session::{adapter_of, attach, read_adapter};
use stratune_store::MemoryFolder;
use stratune_tests::checks::slopes_along_random_directions;
use stratune_tests::fixtures::ids;
use stratune_tests::runs::{counting, family, small};
use stratune_tests::worst;
use stratune_train::{Batching, Classification, NextToken, Objective, RunConfig, SweepOptions, evaluate, sweep};

use super::models::{LAYERS, SEED, TEXT, fresh, in_place, moved, says, trained};
use super::training::{learns, obeys_ist, resumed_is_uninterrupted};

/// All of them. Panics with the first that fails.
pub async fn all(name: &str, methods: &Methods, device: &Device) {
    let report = small(LAYERS, device).config.report("small", 0);
    if let Some(problem) = methods.iter().find_map(|method| method.check_on(&report).err()) {
        assert!(family().is_some() && problem.what.contains("models of one stack"), "{name}: {problem}");
        return;
    }
    starts_as_the_base(name, methods, device).await;
    counts_as_its_formula(name, methods, device).await;
    gradients_are_finite_differences(name, methods, device).await;
    merges_or_says_no(name, methods, device).await;
    goes_through_a_folder(name, methods, device).await;
    if !small(LAYERS, device).config.is_encoder() {
        says_the_same_through_the_cache(name, methods, device).await;
    }
    // Its rate and its steps suit Llama's blocks.
    if family().is_none() {
        learns(name, methods, device).await;
    }
    for optimiser in [OptimiserKind::Adamw, OptimiserKind::Mezo] {
        resumed_is_uninterrupted(name, methods, optimiser, device).await;
    }
    obeys_ist(name, methods, device).await;
}

fn quantised(methods: &Methods) -> bool {
    methods.iter().any(|m| m.kind.method().few_bits)
}

/// What logits may be off by: eight bits are half of a 127th of a block's largest weight off, and weights of other families
/// are larger here.
fn of_eight_bits() -> f32 {
    if family().is_some() { 5e-2 } else { 5e-3 }
}

/// Bit for bit, but for methods that add positions, which no start makes neutral. PiSSA's two equal products, and gains
/// and magnitudes that divide by themselves, leave rounding: 1e-5 of logits below 1.
async fn starts_as_the_base(name: &str, methods: &Methods, device: &Device) {
    if methods.iter().any(|m| matches!(m.kind, MethodKind::Prefix | MethodKind::Prompt)) {
        return;
    }
    let (base, new) = (says(&small(LAYERS, device)).await, says(&fresh(methods, device).await).await);
    let off = worst(&new, &base);
    let inexact = methods.iter().any(|m| matches!(m.kind, MethodKind::Pissa | MethodKind::Dora));
    let allowed = if quantised(methods) {
        of_eight_bits()
    } else if inexact {
        1e-5
    } else {
        0.0
    };
    assert!(off <= allowed, "{name}: the start is off by {off:e}");
}

async fn counts_as_its_formula(name: &str, methods: &Methods, device: &Device) {
    let mut model = fresh(methods, device).await;
    let report = model.config.report("small", model.config.parameters());
    assert_eq!(count_trainable(&mut model), methods.trainable(&report), "{name}: numbers that train");
}

/// Rows for a gradient: of different lengths, with tokens that are no labels; for an encoder labelled as a whole.
fn some_rows(model: &Model) -> Vec<Sequence> {
    let mut rows = counting(3, 0).train;
    if model.config.is_encoder() && model.config.image.is_none() {
        for (class, row) in rows.iter_mut().enumerate() {
            row.loss_mask.fill(false);
            row.label = Some(Label { at: class % 2, target: Target::Class(class as u32 % 2) });
        }
    }
    rows
}

/// What their loss is.
fn objective(model: &Model) -> Box<dyn Objective> {
    if model.config.is_encoder() { Box::new(Classification::default()) } else { Box::new(NextToken) }
}

async fn gradients(model: &Model) -> BTreeMap<String, Vec<f32>> {
    let (rows, objective) = (some_rows(model), objective(model));
    let by = Batching { size: rows.len(), packing: false };
    let batch = by.to_device(model, &rows.iter().collect::<Vec<_>>());
    let active = vec![true; model.layers.len()];
    let scale = 1.0 / batch.labelled as f64;
    let options = SweepOptions { objective: &*objective, active: &active, dropout: None, keep_graphs: 1, scale };
    let swept = sweep(model, &batch, &options);
    let mut gradients = BTreeMap::new();
    for (path, gradient) in swept.gradients {
        gradients.insert(path, read_f32(gradient).await.expect("a gradient"));
    }
    gradients
}

/// Every gradient that there is to be is there, and is the slope of the loss.
async fn gradients_are_finite_differences(name: &str, methods: &Methods, device: &Device) {
    let mut model = moved(methods, device).await;
    let gradients = gradients(&model).await;
    let trained = snapshot(&mut model).into_keys();
    assert!(gradients.keys().cloned().eq(trained), "{name}: {:?} get a gradient", gradients.keys());
    let lengths = lengths_of_dora(&mut model);
    let (rows, objective) = (some_rows(&model), objective(&model));
    let rows: Vec<&Sequence> = rows.iter().collect();
    let loss = async |mut model: Model| {
        hold_lengths_of_dora(&mut model, &lengths);
        evaluate(&*objective, &model, &rows, Batching { size: rows.len(), packing: false }, None)
            .await
            .expect("a loss")
            .loss
    };
    let agree = slopes_along_random_directions(&model, &gradients, loss).await;
    agree.unwrap_or_else(|what| panic!("{name}: {what}"));
}

/// The lengths of the rows that DoRA divides by, which are constants of its backward pass (Liu et al. 2024, §4.3).
fn lengths_of_dora(model: &mut Model) -> Vec<Tensor<1>> {
    let mut lengths = Vec::new();
    each_linear(model, |linear| {
        if let Some(dora) = linear.deltas.first().and_then(|delta| delta.of::<Dora>()) {
            let whole = linear.weight.dense() + dora.lora.update();
            lengths.push(whole.square().sum_dim(1).sqrt().squeeze_dim(1));
        }
    });
    lengths
}

/// Puts what DoRA computes with these lengths in its place: a LoRA, and m over the length.
fn hold_lengths_of_dora(model: &mut Model, lengths: &[Tensor<1>]) {
    let mut lengths = lengths.iter();
    each_linear(model, |linear| {
        if let Some(dora) = linear.deltas.first().and_then(|delta| delta.of::<Dora>()).cloned() {
            let length = lengths.next().expect("a length for each");
            let scale = Param::frozen((dora.magnitude.value / length.clone()).unsqueeze_dim(1));
            linear.deltas = vec![Box::new(dora.lora), Box::new(Ia3 { scale, on_input: false })];
        }
    });
}

fn each_linear(model: &mut Model, mut look: impl FnMut(&mut Linear)) {
    model.layers.iter_mut().flat_map(|block| block.linears_mut()).for_each(&mut look);
}

async fn merges_or_says_no(name: &str, methods: &Methods, device: &Device) {
    let mut model = moved(methods, device).await;
    let before = says(&model).await;
    let mergeable = methods.iter().all(|m| m.merges() != Merges::No);
    match model.merge() {
        Ok(()) => {
            assert!(mergeable, "{name} is listed as not mergeable");
            let after = says(&model).await;
            let scale = before.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
            let off = worst(&after, &before);
            assert!(off <= 1e-5 * scale, "{name}: merging moves logits of up to {scale} by {off:e}");
            let mut left = adapter_values(&mut model.clone(), &model.config.base_paths());
            left.retain(|path, _| !path.starts_with("shared.") && !in_place(methods) && !path.is_empty());
            assert!(left.is_empty(), "{name} leaves {:?}", left.keys());
        }
        // Which not every family has.
        Err(problem) if problem.what.contains("no place for a bias") => {
            assert!(family().is_some(), "{name}: {problem}");
        }
        Err(problem) => {
            assert!(!mergeable, "{name}: {problem}");
            assert!(problem.what.contains("cannot be merged") && !problem.next.is_empty());
            assert_eq!(says(&model).await, before, "{name}: a refused merge changes nothing");
        }
    }
}

/// Written, read, and put into a fresh base: the same logits as of what is kept after training, within the rounding of
/// PiSSA's longer product. What is kept computes what was trained.
async fn goes_through_a_folder(name: &str, methods: &Methods, device: &Device) {
    let mut model = trained(methods, device).await;
    let trained = says(&model).await;
    let mut config = RunConfig { method: methods.clone(), ..RunConfig::default() };
    config.train.seed = SEED;
    let files = adapter_of(&model, &config).await.expect("files");
    let text = String::from_utf8(files[0].1.clone()).expect("JSON");
    if let [method] = methods.as_slice() {
        // PEFT has a list of layers for what enters linear layers alone.
        let some_layers = |form: &&Form| form.peft_type == "LORA";
        // These it has for matrices alone that files have as `[out, in]`.
        let turned = model.config.modules.iter().any(|module| module.transposed);
        let either_way = !turned || ![MethodKind::Lokr, MethodKind::Shira].contains(&method.kind);
        // And this it puts before one stack alone.
        let either_way = either_way && !(model.config.seq2seq.is_some() && method.kind == MethodKind::Prefix);
        let written =
            |form: &&Form| (method.layers.is_empty() || some_layers(form)) && method.gated != Some(true) && either_way;
        let form = method.kind.method().peft.filter(written);
        let kind = form.map_or("STRATUNE", |form| form.peft_type);
        assert!(text.contains(&format!("\"peft_type\": \"{kind}\"")), "{name}: {text}");
    }
    let owned = files.into_iter().map(|(file, bytes)| (file, bytes.into())).collect();
    let folder = MemoryFolder::new("adapter", owned);
    let adapter = read_adapter(&folder).await.unwrap_or_else(|p| panic!("{name}: {p} {}\n{text}", p.next));
    let mut again = small(LAYERS, device);
    attach(&mut again, &adapter).await.unwrap_or_else(|p| panic!("{name}: {p}\n{text}"));
    model.finalize(methods).await.expect("what is kept");
    let kept = says(&model).await;
    let off = worst(&says(&again).await, &kept);
    // The adapter of a base in eight bits is read onto the base as it was.
    assert!(
        off <= if quantised(methods) { of_eight_bits() } else { 2e-5 },
        "{name}: the folder's model is off by {off:e}"
    );
    assert!(worst(&kept, &trained) <= 2e-5, "{name}: what is kept computes what was trained");

    // A tensor less or more is an error, not a warning.
    let (path, tensor) = adapter.tensors.iter().next().expect("a tensor");
    let mut less = adapter.clone();
    less.tensors.remove(path);
    assert!(attach(&mut small(LAYERS, device), &less).await.is_err(), "{name} without {path}");
    let mut more = adapter.clone();
    more.tensors.insert("model.layers.0.mlp.extra".into(), tensor.clone());
    assert!(attach(&mut small(LAYERS, device), &more).await.is_err(), "{name} with one too many");
}

/// Token by token through the cache, and each time from the beginning: the same text.
async fn says_the_same_through_the_cache(name: &str, methods: &Methods, device: &Device) {
    let model = moved(methods, device).await;
    let mut told = Vec::new();
    let take = |token| {
        told.push(token);
        Ok(true)
    };
    generate(&model, &TEXT[..5], 8, &Sampling::GREEDY, take).await.expect("a text");
    let (begun, mut text) = model.begun(&TEXT[..5]);
    for (at, token) in told.iter().enumerate() {
        let logits = read_f32(begun.logits(ids(&text, device))).await.expect("logits");
        let last = &logits[logits.len() - model.config.vocab_size..];
        let best = last.iter().fold(f32::MIN, |m, v| m.max(*v));
        // Within rounding of the likeliest: near ties may fall either way.
        assert!(last[*token as usize] >= best - 1e-4, "{name}: token {at} is {token}");
        text.push(*token);
    }
    // Beside another text, of another length, in one batch.
    let mut rows = [CachedText::default(), CachedText::default()];
    let prompts = [&TEXT[..5], &TEXT[2..4]];
    prompts.into_iter().zip(&mut rows).for_each(|(text, row)| row.begin(&model, text.to_vec()));
    for (step, next) in TEXT.iter().take(3).enumerate() {
        let said = next_logits(&model, &mut rows.each_mut(), None).await.expect("logits");
        for ((row, said), prompt) in rows.iter_mut().zip(said).zip(prompts) {
            let logits = read_f32(model.begun(prompt).0.logits(ids(row.tokens(), device))).await.expect("logits");
            let off = worst(&said, &logits[logits.len() - model.config.vocab_size..]);
            assert!(off <= 1e-4, "{name}: at {step} a row of its own is off by {off:e}");
            row.push(*next);
        }
    }
}
