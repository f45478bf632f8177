//! What each method is known for, beyond what all of them pass.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::{Device, Tensor};
use stratune_models::{LoadedTensor, Model, ModelConfig, Weights};
use stratune_peft::{
    Dora, ForwardContext, Gradients, Hiwi, Linear, Lora, MethodConfig, MethodKind, Methods, ModuleId, Param,
    Projection, Site, Values, collect_gradients, named_parameters, require_grad, snapshot,
};
use stratune_protocol::{Role, draws};
use stratune_runtime::read_f32;
use stratune_tests::fixtures::ids;
use stratune_tests::runs::{RecordingCallback, counting, small, with_biases};
use stratune_tests::worst;
use stratune_train::{Batching, Identity, NextToken, RunConfig, Trainer, evaluate};

use super::{dylora, suited};
use crate::models::{LAYERS, TEXT, fresh, moved, moved_on, says};

pub async fn all(device: &Device) {
    rslora_scales_by_the_root_of_the_rank(device).await;
    lora_plus_moves_b_faster(device).await;
    lora_fa_leaves_a_as_drawn(device).await;
    dylora::every_rank_is_usable(device).await;
    dylora::a_slice_is_a_folder_of_its_own(device).await;
    dora_rows_have_the_length_of_their_magnitude(device).await;
    dora_takes_the_rows_length_for_a_constant(device).await;
    vera_shares_its_matrices(device).await;
    pissa_starts_at_the_largest_directions(device).await;
    hiwi_leaves_biases_whose_number_does_not_depend_on_the_rank(device).await;
    hiwi_reads_the_biases_that_there_are(device).await;
    a_prompt_of_real_tokens_is_those_tokens(device).await;
    a_prefix_starts_at_the_beginning_of_a_row(device).await;
    serial_adapters_read_the_output_and_parallel_ones_the_input(device).await;
    pafi_takes_the_same_smallest_weights_and_moves_nothing_else(device).await;
    more_dimensions_steer_further(device).await;
    nothing_but_training_in_place_touches_the_base(device).await;
}

pub fn config(methods: impl Into<Methods>) -> RunConfig {
    let mut config = RunConfig { method: methods.into(), ..RunConfig::default() };
    config.train.steps = 6;
    config.train.learning_rate = 0.01;
    config.train.weight_decay = 0.1;
    config.train.warmup_steps = 0;
    config.train.eval_every = 0;
    config
}

/// A model after a run of `config`.
async fn trained(config: RunConfig, model: Model) -> Model {
    let dataset = Rc::new(counting(40, 0));
    let mut trainer = Trainer::new(config, model, dataset, Vec::new(), Identity::default()).expect("a run");
    RecordingCallback::default().watch(&mut trainer).await.expect("a run to its end");
    trainer.model
}

pub async fn numbers(values: Values) -> BTreeMap<String, Vec<f32>> {
    let mut read = BTreeMap::new();
    for (path, (_, value)) in values {
        read.insert(path, read_f32(value).await.expect("a value"));
    }
    read
}

async fn rslora_scales_by_the_root_of_the_rank(device: &Device) {
    for (kind, scale) in [(MethodKind::Lora, 1.0), (MethodKind::Rslora, 4.0)] {
        let weight = Tensor::ones([16, 20], device);
        let site = Site { weight, ..q_proj(device) };
        let method = MethodConfig { rank: Some(16), alpha: Some(16.0), ..MethodConfig::new(kind) };
        let Ok(Some(delta)) = method.delta_at(&site).await else { panic!("a LoRA") };
        let lora = delta.of::<Lora>().expect("a LoRA");
        assert_eq!(lora.scale, scale, "{kind}");
    }
}

/// A place of its own for a method.
fn q_proj(device: &Device) -> Site {
    let id = ModuleId::new(Some(0), "model.layers.0.self_attn.q_proj");
    let weight = Tensor::ones([8, 6], device);
    Site { id, role: Role::Query, index: 0, weight, bias: None, sites: 1, seed: 3 }
}

/// AdamW's first step has the length of the learning rate whatever the gradient, so B's is `ratio` times A's.
async fn lora_plus_moves_b_faster(device: &Device) {
    let method = MethodConfig { ratio: Some(16.0), ..suited(MethodKind::LoraPlus) };
    let mut config = config(method.clone());
    config.train.steps = 1;
    config.train.weight_decay = 0.0;
    config.train.clip_norm = 0.0;
    let model = moved(&method.into(), device).await;
    let before = numbers(snapshot(&mut model.clone())).await;
    let after = numbers(snapshot(&mut trained(config, model).await)).await;
    let step = |end: &str| {
        let moves = before.iter().filter(|(path, _)| path.ends_with(end)).map(|(path, v)| worst(v, &after[path]));
        moves.fold(0.0_f32, f32::max)
    };
    let ratio = step("lora_B.weight") / step("lora_A.weight");
    assert!((ratio - 16.0).abs() < 0.05, "{ratio}");
}

async fn lora_fa_leaves_a_as_drawn(device: &Device) {
    let method = suited(MethodKind::LoraFa);
    let model = fresh(&method.clone().into(), device).await;
    let factors = |model: &Model| named_parameters(&mut model.clone());
    let before = numbers(factors(&model)).await;
    let after = numbers(factors(&trained(config(method), model).await)).await;
    for (path, value) in &before {
        assert_eq!(*value == after[path], !path.ends_with("lora_B.weight"), "{path}");
    }
}

async fn dora_rows_have_the_length_of_their_magnitude(device: &Device) {
    let mut model = moved(&suited(MethodKind::Dora).into(), device).await;
    let magnitudes = numbers(snapshot(&mut model)).await;
    model.merge().expect("DoRA merges");
    for (path, magnitude) in magnitudes.iter().filter(|(path, _)| path.ends_with("lora_magnitude_vector")) {
        let weight = named_parameters(&mut model)[&path.replace("lora_magnitude_vector", "weight")].clone();
        let width = weight.0[1];
        let rows = read_f32(weight.1).await.expect("a weight");
        for (row, m) in rows.chunks(width).zip(magnitude) {
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            assert!((length - m.abs()).abs() < 1e-5 * m.abs().max(0.1), "{path}: {length} {m}");
        }
    }
}

/// Gradients beside those of the dense `m ⊙ V / ‖V‖` with the norm read off before (Liu et al. 2024, §4.3).
async fn dora_takes_the_rows_length_for_a_constant(device: &Device) {
    let random = |what: &str, shape: [usize; 2]| {
        let values = stratune_protocol::normals(&mut draws(8, what, [0, 0]), shape[0] * shape[1], 0.5);
        Tensor::<2>::from_data(burn::tensor::TensorData::new(values, shape), device)
    };
    let weight = random("weight", [8, 6]);
    let (x, dy) = (random("x", [10, 6]), random("dy", [10, 8]));
    let site = Site { weight: weight.clone(), ..q_proj(device) };
    let id = site.id.clone();
    let delta = suited(MethodKind::Dora).delta_at(&site).await.expect("DoRA fits");
    let mut dora = delta.and_then(|delta| delta.of::<Dora>().cloned()).expect("DoRA");
    dora.lora.b.value = random("b", dora.lora.b.value.dims());
    dora.magnitude.value = dora.magnitude.value + 0.3;

    let scale = dora.lora.scale;
    let leaves = [dora.lora.a.value.clone(), dora.lora.b.value.clone()].map(|t| t.autodiff().require_grad());
    let magnitude = dora.magnitude.value.clone().autodiff().require_grad();
    let whole = weight.clone().autodiff() + leaves[1].clone().matmul(leaves[0].clone()).mul_scalar(scale);
    let lengths = whole.clone().inner().square().sum_dim(1).sqrt().squeeze_dim::<1>(1).autodiff();
    let dense = whole * (magnitude.clone() / lengths).unsqueeze_dim(1);
    let y = x.clone().autodiff().matmul(dense.transpose());
    let mut tape = (y * dy.clone().autodiff()).sum().backward();
    let taken = |t: Tensor<2>, tape: &mut _| t.grad_remove(tape).expect("a gradient").inner();
    let want = leaves.map(|leaf| taken(leaf, &mut tape));
    let want_m = magnitude.grad_remove(&mut tape).expect("a gradient").inner();

    let mut layer = Linear::new(id, weight);
    layer.deltas.push(Box::new(dora));
    require_grad(&mut layer);
    let y = layer.forward(x.unsqueeze(), &ForwardContext::inference(0, Rc::default()));
    let mut tape = (y * dy.unsqueeze()).sum().backward();
    let mut gradients = Gradients::new();
    collect_gradients(&mut layer, &mut tape, &mut gradients);
    let [want_a, want_b] = want;
    for (end, want) in [
        ("lora_A.weight", want_a.reshape([-1])),
        ("lora_B.weight", want_b.reshape([-1])),
        ("lora_magnitude_vector", want_m),
    ] {
        let want = read_f32(want).await.expect("a gradient");
        let got = read_f32(gradients[&layer.id.param(end).path].clone()).await.expect("a gradient");
        let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        assert!(worst(&got, &want) < 1e-5 * largest, "{end}: {:e} of {largest}", worst(&got, &want));
    }
}

async fn vera_shares_its_matrices(device: &Device) {
    let methods: Methods = suited(MethodKind::Vera).into();
    let (one, other) = (moved(&methods, device).await, moved(&methods, device).await);
    assert_eq!(says(&one).await, says(&other).await, "the seed makes the matrices");
    let trained: Vec<String> = snapshot(&mut one.clone()).into_keys().collect();
    assert!(trained.iter().all(|p| p.ends_with("vera_lambda_b") || p.ends_with("vera_lambda_d")), "{trained:?}");
    let shared = one.shared.vera.expect("matrices");
    assert_eq!((shared.a.value.dims(), shared.b.value.dims()), ([3, 24], [24, 3]));
}

/// What is taken off is the best approximation of the rank: what is left has the next singular value as its norm, and
/// the factors' own norms are the roots of the values.
async fn pissa_starts_at_the_largest_directions(device: &Device) {
    let mut model = fresh(&suited(MethodKind::Pissa).into(), device).await;
    let linear = model.layers[0].linear_mut(Role::Gate).expect("gate_proj");
    let lora = linear.deltas[0].of::<Lora>().expect("a LoRA");
    let squared = |t: Tensor<2>| t.square().sum().into_scalar::<f32>();
    let product = lora.b.value.clone().matmul(lora.a.value.clone()).mul_scalar(lora.scale);
    let weight = linear.weight.dense();
    // ‖W‖² = ‖top‖² + ‖rest‖² holds for the best approximation, and ‖A‖² = ‖B‖² for factors that share the roots.
    let (whole, top, rest) = (squared(weight.clone()), squared(product.clone()), squared(weight - product));
    assert!((whole - top - rest).abs() < 1e-4 * whole, "{whole} {top} {rest}");
    let (a, b) = (squared(lora.a.value.clone()), squared(lora.b.value.clone()));
    assert!((a - b).abs() < 1e-4 * a, "{a} {b}");
    assert!(squared(lora.update()) == 0.0, "the start changes nothing");
}

async fn hiwi_leaves_biases_whose_number_does_not_depend_on_the_rank(device: &Device) {
    let mut stored = Vec::new();
    for rank in [2, 9] {
        let methods: Methods = MethodConfig { rank: Some(rank), ..suited(MethodKind::Hiwi) }.into();
        let mut model = moved(&methods, device).await;
        let training = says(&model).await;
        let kept = model.finalize(&methods).await.expect("what is kept");
        assert_eq!(kept[0].kind, MethodKind::Bitfit);
        assert_eq!(says(&model).await, training, "bit for bit, the network thrown away");
        let values = numbers(snapshot(&mut model)).await;
        stored.push(values.values().map(Vec::len).sum::<usize>());
        model.merge().expect("biases merge");
        let json = model.config.to_json();
        assert!(json["mlp_bias"] == true && json["attention_bias"] != true, "{json}");
        let off = worst(&says(&model).await, &training);
        assert!(off < 1e-6, "{off:e}");
        // As a model folder that knows of biases.
        let config = ModelConfig::from_json(&model.config.to_json(), "config.json").expect("a sound config.json");
        let mut weights = Weights::of(&config);
        let tensors = named_parameters(&mut model).into_iter();
        weights.extend(tensors.map(|(path, (_, value))| (path, vec![LoadedTensor::Floats(value)])));
        let again = Model::from_weights(config, weights, device).expect("every tensor of the layout");
        assert_eq!(says(&again).await, says(&model).await);
    }
    assert_eq!(stored, [LAYERS * (24 + 16); 2]);
}

/// Where the base has biases its network reads them, `b + U relu(D b)`, and elsewhere a vector that is no bias.
async fn hiwi_reads_the_biases_that_there_are(device: &Device) {
    for (base, biased) in [(with_biases(LAYERS, device), true), (small(LAYERS, device), false)] {
        let mut model = moved_on(base, &suited(MethodKind::Hiwi).into()).await;
        let linear = model.layers[1].linear_mut(Role::Up).expect("up_proj").clone();
        let hiwi = linear.deltas[0].of::<Hiwi>().expect("HiWi");
        let read = read_f32(hiwi.input.clone()).await.expect("numbers");
        assert!(read.iter().any(|v| *v != 0.0));
        let Some(bias) = linear.bias.filter(|_| biased) else { continue };
        let bias = read_f32(bias.value).await.expect("numbers");
        assert_eq!(read, bias);
        let numbers = async |param: &Param<2>| read_f32(param.value.clone()).await.expect("numbers");
        let (down, up) = (numbers(&hiwi.down).await, numbers(&hiwi.up).await);
        let dot = |row: &[f32], x: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        let narrow: Vec<f32> = down.chunks(bias.len()).map(|row| dot(row, &bias).max(0.0)).collect();
        let want: Vec<f32> = up.chunks(narrow.len()).zip(&bias).map(|(row, b)| b + dot(row, &narrow)).collect();
        model.merge().expect("biases merge");
        let merged = model.layers[1].linear_mut(Role::Up).and_then(|linear| linear.bias.clone()).expect("a bias");
        let off = worst(&read_f32(merged.value).await.expect("numbers"), &want);
        assert!(off < 1e-6, "{off:e}");
    }
}

/// What the text says after the first tokens of some row, it says after the prefix that starts there, with a network and
/// without: the base's own keys and values of these tokens.
async fn a_prefix_starts_at_the_beginning_of_a_row(device: &Device) {
    let dataset = Rc::new(counting(40, 0));
    let base = small(LAYERS, device);
    for width in [0, 6] {
        let config = config(MethodConfig { width: Some(width), ..suited(MethodKind::Prefix) });
        let model = fresh(&config.method, device).await;
        let mut trainer = Trainer::new(config, model, dataset.clone(), Vec::new(), Identity::default()).expect("a run");
        trainer.prepare(&mut RecordingCallback::default()).await.expect("a choice");
        let said = says(&trainer.model).await;
        let mut offs = Vec::new();
        for row in &dataset.train {
            let whole: Vec<u32> = row.tokens.iter().take(4).chain(&TEXT).copied().collect();
            let plain = read_f32(base.logits(ids(&whole, device))).await.expect("logits");
            offs.push(worst(&said, &plain[4 * base.config.vocab_size..]));
        }
        offs.sort_by(f32::total_cmp);
        assert!(offs[0] < 1e-6 && offs[39] > 1e-4, "{offs:?}");
    }
}

async fn a_prompt_of_real_tokens_is_those_tokens(device: &Device) {
    let mut model = fresh(&suited(MethodKind::Prompt).into(), device).await;
    let before: Vec<u32> = vec![5, 6, 7, 28];
    if let Some(prompt) = &mut model.prompt {
        prompt.value = small(LAYERS, device).embed(ids(&before, device)).squeeze_dim(0);
    }
    let whole: Vec<u32> = before.iter().chain(&TEXT).copied().collect();
    let base = small(LAYERS, device);
    let plain = read_f32(base.logits(ids(&whole, device))).await.expect("logits");
    let after = &plain[before.len() * base.config.vocab_size..];
    assert!(worst(&says(&model).await, after) < 1e-6);
}

/// With the feed-forward's output made zero, what a serial adapter reads is zero, and what a parallel one reads is not.
async fn serial_adapters_read_the_output_and_parallel_ones_the_input(device: &Device) {
    for (kind, moves) in [(MethodKind::Pfeiffer, false), (MethodKind::Parallel, true)] {
        let silenced = |mut model: Model| {
            for block in &mut model.layers {
                let down = block.linear_mut(Role::Down).expect("down_proj");
                down.weight = Tensor::<2>::zeros(down.shape(), device).into();
                for adapter in &mut block.adapters {
                    adapter.down_bias.value = Tensor::zeros([5], device);
                    adapter.up_bias.value = Tensor::zeros([16], device);
                }
            }
            model
        };
        let base = says(&silenced(small(LAYERS, device))).await;
        let adapted = says(&silenced(moved(&suited(kind).into(), device).await)).await;
        assert_eq!(worst(&base, &adapted) > 1e-4, moves, "{kind}");
    }
}

async fn pafi_takes_the_same_smallest_weights_and_moves_nothing_else(device: &Device) {
    let method = suited(MethodKind::Pafi);
    let base = numbers(named_parameters(&mut small(LAYERS, device))).await;
    let mut places: Vec<BTreeMap<String, Vec<usize>>> = Vec::new();
    for seed in [1, 2] {
        let mut model = small(LAYERS, device);
        model.attach(std::slice::from_ref(&method), seed).await.expect("PaFi fits");
        let mut config = config(method.clone());
        config.train.seed = seed;
        let mut model = trained(config, model).await;
        model.merge().expect("PaFi merges");
        let after = numbers(named_parameters(&mut model)).await;
        let mut moved = BTreeMap::new();
        for (path, weights) in base.iter().filter(|(path, _)| path.ends_with("_proj.weight")) {
            let kept = (weights.len() as f64 * 0.1).round() as usize;
            let mut sizes: Vec<f32> = weights.iter().map(|w| w.abs()).collect();
            sizes.sort_by(f32::total_cmp);
            let at: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] != after[path][*i]).collect();
            assert!(!at.is_empty() && at.len() <= kept, "{path}: {} of {kept} moved", at.len());
            assert!(at.iter().all(|i| weights[*i].abs() <= sizes[kept - 1]), "{path}: only the smallest move");
            moved.insert(path.clone(), at);
        }
        places.push(moved);
    }
    assert_eq!(places[0], places[1], "one choice for all seeds");
}

/// The curve that d₉₀ is read from rises with the dimension.
async fn more_dimensions_steer_further(device: &Device) {
    let dataset = counting(40, 0);
    let rows: Vec<_> = dataset.train.iter().collect();
    for kind in [MethodKind::Did, MethodKind::Said] {
        let mut losses = Vec::new();
        for dimension in [30, 120, 600] {
            let projection = Some(Projection::Sparse);
            let mut config = config(MethodConfig { dimension: Some(dimension), projection, ..MethodConfig::new(kind) });
            config.train.steps = 150;
            config.train.learning_rate = 0.05;
            config.train.weight_decay = 0.0;
            let model = fresh(&config.method, device).await;
            losses.push(
                evaluate(&NextToken, &trained(config, model).await, &rows, Batching::packed(8), None)
                    .await
                    .expect("a loss")
                    .loss,
            );
        }
        assert!(losses.is_sorted_by(|a, b| a > b), "{kind}: {losses:?}");
    }
}

/// Bit for bit, with weight decay on.
async fn nothing_but_training_in_place_touches_the_base(device: &Device) {
    let paths = small(LAYERS, device).config.base_paths();
    for kind in MethodKind::ALL {
        let method = suited(kind);
        let model = fresh(&method.clone().into(), device).await;
        let before = numbers(named_parameters(&mut model.clone())).await;
        let after = numbers(named_parameters(&mut trained(config(method), model).await)).await;
        let touched =
            before.iter().filter(|(path, _)| paths.contains(*path)).any(|(path, value)| after[path] != *value);
        assert_eq!(touched, kind.method().in_place(), "{kind}");
    }
}
