//! Packing is a matter of layout: what a batch says and teaches stays, whatever the method.

use burn::tensor::Device;
use stratune_data::{Sequence, pack};
use stratune_models::{ForwardOptions, Model};
use stratune_peft::{MethodKind, Methods};
use stratune_runtime::read_f32;
use stratune_tests::checks::{examples, packed_is_apart};
use stratune_tests::runs::{RecordingCallback, trainer};
use stratune_train::{Batching, DeviceBatch, Event, RunConfig};

use super::models::moved;
use super::suited;

/// Loss and gradients of every method, packed and apart: 165 tokens' f32 sums in another order, within 2e-5 of the largest.
/// A method with positions before the text, and only that, has a row for each example.
pub async fn same_loss_and_gradients(name: &str, mut methods: Methods, device: &Device) {
    methods.set(Some(0.3), |m| &mut m.dropout);
    let model = moved(&methods, device).await;
    let before_text = methods.iter().any(|m| matches!(m.kind, MethodKind::Prefix | MethodKind::Prompt));
    assert_eq!(model.can_pack(), !before_text, "{name}");
    packed_is_apart(name, &model, 2e-5).await;
}

/// What is proven of packing beside that.
pub async fn all(device: &Device) {
    neighbours_do_not_see_each_other(device).await;
    runs_stay_the_same(device).await;
    rows_with_adapters_of_their_own_stay_apart(device).await;
    a_packed_batch_is_smaller(device).await;
}

async fn states(model: &Model, rows: &[Sequence]) -> Vec<f32> {
    let batch = DeviceBatch::new(&pack(&rows.iter().collect::<Vec<_>>()), &model.device());
    assert_eq!(batch.tokens.dims(), [1, 32], "they share a row");
    let options = ForwardOptions { context: &|i| model.inference_context(i), alter: None };
    let at = batch.model_positions(model);
    let x = model.forward_blocks(model.embed_with_prompt(batch.tokens.clone(), &at), &at, None, options);
    read_f32(x).await.expect("states")
}

/// Another neighbour, before or behind, changes no bit of an example's states: its sums are the same.
async fn neighbours_do_not_see_each_other(device: &Device) {
    let model = moved(&suited(MethodKind::Lora).into(), device).await;
    let rows = examples(&[20, 11], 32);
    let plain = states(&model, &rows).await;
    let texts = [0..20 * model.config.hidden_size, 20 * model.config.hidden_size..31 * model.config.hidden_size];
    for (changed, stays) in [(0, 1), (1, 0)] {
        let mut rows = rows.clone();
        rows[changed].tokens.iter_mut().for_each(|token| *token = (*token + 7) % 32);
        let after = states(&model, &rows).await;
        assert_ne!(after[texts[changed].clone()], plain[texts[changed].clone()]);
        assert_eq!(after[texts[stays].clone()], plain[texts[stays].clone()], "{stays} has seen {changed}");
    }
}

/// Thirty steps with dropout, packed and apart: the same batches and the same losses. Adam divides by the size of the
/// gradient, so that rounding of 1e-7 in a small one moves a parameter; the losses, near 3, stay within 1e-4.
async fn runs_stay_the_same(device: &Device) {
    let mut config = RunConfig { method: suited(MethodKind::Lora).into(), ..RunConfig::default() };
    config.method.set(Some(0.1), |m| &mut m.dropout);
    config.train.steps = 30;
    config.train.eval_every = 10;
    config.train.learning_rate = 5e-3;
    let mut runs = Vec::new();
    for packing in [false, true] {
        config.train.packing = packing;
        let mut recording = RecordingCallback::default();
        recording.watch(&mut trainer(&config, 3, device)).await.expect("a run to its end");
        runs.push(recording);
    }
    let told = |run: &RecordingCallback| {
        let of = |event: &Event| match event {
            Event::Step(step) => Some((step.loss, step.tokens, step.positions)),
            Event::Validation { loss, .. } => Some((*loss, 0, 0)),
            _ => None,
        };
        run.events.iter().filter_map(of).collect::<Vec<_>>()
    };
    let (apart, packed) = (told(&runs[0]), told(&runs[1]));
    assert_eq!((apart.len(), packed.len()), (34, 34), "thirty steps and four validations");
    for ((loss, tokens, positions), (packed_loss, packed_tokens, packed_positions)) in apart.iter().zip(&packed) {
        assert!((loss - packed_loss).abs() < 1e-4, "{packed_loss} packed, {loss} apart");
        assert_eq!(tokens, packed_tokens);
        assert!(packed_positions <= positions && packed_tokens <= packed_positions);
    }
    let room = |run: &[(f64, u64, u64)]| run.iter().map(|(_, _, positions)| positions).sum::<u64>();
    assert!(room(&packed) * 3 < room(&apart) * 2, "{} packed, {} apart", room(&packed), room(&apart));
}

/// A model that gives each row an adapter cannot let two examples share one.
async fn rows_with_adapters_of_their_own_stay_apart(device: &Device) {
    let model = moved(&suited(MethodKind::Lora).into(), device).await;
    assert!(model.can_pack() && !model.for_rows(&[0, 1]).can_pack());
}

/// What graphs need room for is counted of the packed batch.
async fn a_packed_batch_is_smaller(device: &Device) {
    let methods: Methods = suited(MethodKind::Lora).into();
    let model = moved(&methods, device).await;
    let rows = examples(&[10; 6], 32);
    let rows: Vec<&Sequence> = rows.iter().collect();
    let [apart, packed] = [false, true].map(|packing| Batching { size: 6, packing }.to_device(&model, &rows).size());
    assert_eq!((apart, packed), (6 * 32, 2 * 32));
}
