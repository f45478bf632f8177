//! Small models with methods, as they start and as if they had trained, and what they say.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor};
use rand::RngExt;
use stratune_data::Sequence;
use stratune_models::Model;
use stratune_peft::{MethodConfig, MethodKind, Methods, Values, restore, snapshot};
use stratune_protocol::draws;
use stratune_runtime::read_f32;
use stratune_tests::fixtures::ids;
use stratune_tests::runs::{counting, small};
use stratune_train::{Batching, Classification, classify, prune};

use super::suited;

/// Blocks of the model that the checks use.
pub const LAYERS: usize = 3;
/// Seed of what is drawn for the methods.
pub const SEED: u64 = 4;
/// A text.
pub const TEXT: [u32; 12] = [1, 9, 17, 4, 30, 2, 2, 8, 11, 25, 3, 19];

/// The model with the methods, as they start.
pub async fn fresh(methods: &Methods, device: &Device) -> Model {
    let mut model = small(LAYERS, device);
    model.attach(methods, SEED).await.expect("methods that fit");
    model
}

/// The same with every trainable number moved: as if it had trained.
pub async fn moved(methods: &Methods, device: &Device) -> Model {
    moved_on(small(LAYERS, device), methods).await
}

/// The same on another model.
pub async fn moved_on(mut model: Model, methods: &Methods) -> Model {
    model.attach(methods, SEED).await.expect("methods that fit");
    move_what_trains(&mut model).await;
    model
}

/// Moves every number that trains.
pub async fn move_what_trains(model: &mut Model) {
    let device = &model.device();
    let mut values = BTreeMap::new();
    for (i, (path, (_, value))) in snapshot(model).into_iter().enumerate() {
        let mut rng = draws(9, "moved", [i as u64, 0]);
        let there = read_f32(value).await.expect("a value");
        let there: Vec<f32> = there.iter().map(|v| v + rng.random_range(-0.1..0.1)).collect();
        values.insert(path, Tensor::<1>::from_floats(there.as_slice(), device));
    }
    restore(model, &values).expect("the same parameters");
}

/// As in the last steps of a run: what a method prunes is pruned.
pub async fn trained(methods: &Methods, device: &Device) -> Model {
    let mut model = fresh(methods, device).await;
    prune(&mut model).await.expect("differences");
    move_what_trains(&mut model).await;
    model
}

/// What a model says to a text at each position, reading its beginning, if it has what reads: an encoder by its classifier.
pub async fn says(model: &Model) -> Vec<f32> {
    let device = model.device();
    if model.config.image.is_some() {
        let rows = counting(4, 0).train;
        let rows: Vec<&Sequence> = rows.iter().collect();
        let said = classify(&Classification::default(), model, &rows, Batching::packed(4), &mut |_| {}).await;
        return said.expect("logits").0.concat();
    }
    let text = ids(&TEXT, &device);
    if !model.config.is_encoder() {
        return read_f32(model.reading(&TEXT[..7]).logits(text)).await.expect("logits");
    }
    let each = Tensor::<1, Int>::arange(0..TEXT.len() as i64, &device);
    let said = model.classify(model.hidden_states(text, None), each).expect("a classifier");
    read_f32(said).await.expect("logits")
}

/// The base that methods stand on: in few bits, where they keep it so.
pub async fn base_of(methods: &Methods, device: &Device) -> Model {
    let mut base = small(LAYERS, device);
    if let Some(method) = methods.iter().find(|m| m.kind.method().few_bits) {
        let bits = MethodConfig { bits: method.bits, ..suited(MethodKind::Qlora) };
        base.attach(&[bits], SEED).await.expect("LoRA fits");
    }
    base
}

/// Whether all of them change numbers of the model itself.
pub fn in_place(methods: &Methods) -> bool {
    methods.iter().all(|m| m.kind.method().in_place())
}

/// Values as numbers.
pub async fn read(values: Values) -> BTreeMap<String, Vec<f32>> {
    let mut read = BTreeMap::new();
    for (path, (_, value)) in values {
        read.insert(path, read_f32(value).await.expect("a value"));
    }
    read
}
