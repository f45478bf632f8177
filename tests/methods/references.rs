//! What methods do beside a forward pass, written out by hand.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Tensor, TensorData};
use stratune_models::Model;
use stratune_models::nn::{KvCache, Norm};
use stratune_peft::{
    AdapterPlacement, Gradients, MethodConfig, MethodKind, Methods, Param, ParamId, Parameters, UpdateRule,
    VeraMatrices, Visitor, snapshot,
};
use stratune_protocol::{Targets, draws, normals};
use stratune_runtime::read_f32;
use stratune_tests::worst;
use stratune_train::{AdaLora, AdamW, StepKey};

use super::suited;
use crate::models::{LAYERS, moved};
use crate::proofs::numbers;

pub async fn all(device: &Device) {
    adaloras_penalty_is_its_formulas_slope(device).await;
    diff_prunings_penalty_is_its_formulas_slope(device).await;
    adalora_keeps_the_most_important_directions(device).await;
    galore_steps_in_the_gradients_directions(device).await;
    a_ladder_mixes_what_is_below_and_beside(device).await;
    houlsbys_adapters_come_after_attention_and_feed_forward(device).await;
    veras_matrices_are_drawn_as_peft_draws_them(device);
}

type Grid = Vec<Vec<f64>>;

fn grid(values: &[f32], columns: usize) -> Grid {
    values.chunks(columns).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect()
}

/// `‖M Mᵀ − I‖` of rows, in f64.
fn orthogonal_residual(rows: &Grid) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let entry = |i: usize, j: usize| dot(&rows[i], &rows[j]) - f64::from(u8::from(i == j));
    (0..rows.len())
        .flat_map(|i| (0..rows.len()).map(move |j| (i, j)))
        .map(|(i, j)| entry(i, j).powi(2))
        .sum::<f64>()
        .sqrt()
}

fn transposed(of: &Grid) -> Grid {
    (0..of[0].len()).map(|j| of.iter().map(|row| row[j]).collect()).collect()
}

/// What penalties add to gradients of zero, by path.
async fn penalties(model: &mut Model, active: &[bool]) -> BTreeMap<String, Vec<f32>> {
    let mut gradients: Gradients =
        snapshot(model).into_iter().map(|(path, (_, value))| (path, value.zeros_like())).collect();
    model.add_penalties(active, &mut gradients);
    let mut read = BTreeMap::new();
    for (path, gradient) in gradients {
        read.insert(path, read_f32(gradient).await.expect("a gradient"));
    }
    read
}

/// γ times the mean, over the A and B of all matrices that train, of `‖AAᵀ − I‖` and `‖BᵀB − I‖`, as in the authors' and in
/// PEFT's code; beside a diff pruning that has a penalty of its own. Slopes of f64 sums by differences of 1e-5: within 1e-4
/// of the largest, what f32 leaves of the product.
async fn adaloras_penalty_is_its_formulas_slope(device: &Device) {
    let diff = MethodConfig { targets: Some(Targets::listed(&["o_proj"])), ..suited(MethodKind::DiffPruning) };
    let adalora = MethodConfig { penalty: Some(0.3), ..suited(MethodKind::Adalora) };
    let mut model = moved(&Methods(vec![adalora, diff]), device).await;
    let shapes: BTreeMap<String, usize> =
        snapshot(&mut model).into_iter().map(|(path, (shape, _))| (path, shape[shape.len() - 1])).collect();
    let values = numbers(snapshot(&mut model)).await;
    let got = penalties(&mut model, &[true, false, true]).await;
    let factors = |path: &str| (path.ends_with("lora_A") || path.ends_with("lora_B")) && !path.contains("layers.1.");
    let count = values.keys().filter(|path| factors(path)).count();
    assert_eq!(count, 2 * 2 * 7);
    let mut largest = 0.0_f64;
    for (path, value) in values.iter().filter(|(path, _)| factors(path)) {
        let penalty = |values: &[f64]| {
            let rows: Grid = values.chunks(shapes[path]).map(<[f64]>::to_vec).collect();
            let rows = if path.ends_with("lora_A") { rows } else { transposed(&rows) };
            0.3 * orthogonal_residual(&rows) / count as f64
        };
        let exact: Vec<f64> = grid(value, shapes[path]).concat();
        for i in (0..exact.len()).step_by(7) {
            let beside = |h: f64| {
                penalty(&exact.iter().enumerate().map(|(j, v)| v + if i == j { h } else { 0.0 }).collect::<Vec<_>>())
            };
            let slope = (beside(1e-5) - beside(-1e-5)) / 2e-5;
            largest = largest.max(slope.abs());
            assert!((slope - f64::from(got[path][i])).abs() < 1e-6, "{path}[{i}]: {} and {slope}", got[path][i]);
        }
    }
    assert!(largest > 5e-4, "{largest}");
    let others = got.iter().filter(|(path, _)| !factors(path) && !path.contains("diff_switch"));
    assert!(others.flat_map(|(_, g)| g).all(|g| *g == 0.0), "nothing else has a penalty");
}

/// λ Σ σ(α − log(−γ/ζ)) with γ = −1.5 and ζ = 1.5: each switch by itself, whatever else trains.
async fn diff_prunings_penalty_is_its_formulas_slope(device: &Device) {
    let method = MethodConfig { penalty: Some(0.02), ..suited(MethodKind::DiffPruning) };
    let mut model = moved(&method.into(), device).await;
    let values = numbers(snapshot(&mut model)).await;
    let got = penalties(&mut model, &[true; LAYERS]).await;
    for (path, value) in values.iter().filter(|(path, _)| path.ends_with("diff_switch")) {
        for (alpha, got) in value.iter().zip(&got[path]) {
            let (gamma, zeta) = (-1.5_f64, 1.5_f64);
            let open = |a: f64| 0.02 / (1.0 + (-(a - (-gamma / zeta).ln())).exp());
            let slope = (open(f64::from(*alpha) + 1e-5) - open(f64::from(*alpha) - 1e-5)) / 2e-5;
            // Near an open switch f32 has four digits of 1 − σ.
            assert!((slope - f64::from(*got)).abs() < 1e-4 * slope, "{path}: {got} and {slope}");
        }
    }
    assert!(
        values
            .iter()
            .filter(|(path, _)| path.ends_with("diff_values"))
            .all(|(path, _)| got[path].iter().all(|g| *g == 0.0))
    );
}

/// Three steps of random gradients: Ī and Ū by equations 8 to 10 in f64, a direction's importance by equation 11, and as many
/// gains as the budget has left.
async fn adalora_keeps_the_most_important_directions(device: &Device) {
    let method =
        MethodConfig { initial_rank: Some(5), rank: Some(2), interval: Some(3), ..suited(MethodKind::Adalora) };
    let mut rank_allocator = AdaLora::of(&method).expect("a budget");
    let mut model = moved(&method.into(), device).await;
    let values = numbers(snapshot(&mut model)).await;
    let mut means: BTreeMap<String, Vec<[f64; 2]>> = BTreeMap::new();
    for step in 0..3 {
        let mut gradients = Gradients::new();
        for (i, (path, value)) in values.iter().enumerate() {
            let gradient = normals(&mut draws(6, "gradient", [step, i as u64]), value.len(), 1.0);
            let means = means.entry(path.clone()).or_insert_with(|| vec![[0.0; 2]; value.len()]);
            for ((mean, spread), now) in means
                .iter_mut()
                .map(|[mean, spread]| (mean, spread))
                .zip(value.iter().zip(&gradient).map(|(v, g)| (f64::from(*v) * f64::from(*g)).abs()))
            {
                *mean = 0.85 * *mean + 0.15 * now;
                *spread = 0.85 * *spread + 0.15 * (now - *mean).abs();
            }
            gradients.insert(path.clone(), Tensor::from_floats(gradient.as_slice(), device));
        }
        rank_allocator.update_importance(&mut model, &gradients);
    }
    rank_allocator.allocate(&mut model, 3, 8).await.expect("an answer");
    let score = |path: &str| -> Vec<f64> { means[path].iter().map(|[mean, spread]| mean * spread).collect() };
    let mut all: Vec<(f64, String, usize)> = Vec::new();
    for path in values.keys().filter_map(|path| path.strip_suffix(".lora_E")) {
        let (e, a, b) =
            (score(&format!("{path}.lora_E")), score(&format!("{path}.lora_A")), score(&format!("{path}.lora_B")));
        let (inputs, outputs) = (a.len() / 5, b.len() / 5);
        for k in 0..5 {
            let of_a = a[k * inputs..][..inputs].iter().sum::<f64>() / inputs as f64;
            let of_b = (0..outputs).map(|o| b[o * 5 + k]).sum::<f64>() / outputs as f64;
            all.push((e[k] + of_a + of_b, path.to_string(), k));
        }
    }
    // 8 steps: the first tenth is none, the cubic ends at step 6; half of its way an eighth of the 3 ranks is left.
    let left = (2.0 + 3.0 * 0.125) * (LAYERS * 7) as f64;
    all.sort_by(|one, other| other.0.total_cmp(&one.0));
    let want: BTreeSet<(String, usize)> =
        all.into_iter().take(left.round() as usize).map(|(_, path, k)| (path, k)).collect();
    let after = numbers(snapshot(&mut model)).await;
    let gains = after.iter().filter_map(|(path, gains)| Some((path.strip_suffix(".lora_E")?, gains)));
    let open = gains.flat_map(|(path, gains)| {
        gains.iter().enumerate().filter(|(_, e)| **e != 0.0).map(move |(k, _)| (path.to_string(), k))
    });
    assert_eq!(open.collect::<BTreeSet<_>>(), want);
}

/// A matrix that trains as GaLore's do.
struct Alone(Param<2>);

impl Parameters for Alone {
    fn each(&mut self, visitor: &mut impl Visitor) {
        visitor.visit(&ParamId { block: None, path: "w".into() }, &mut self.0);
    }
}

/// Orthonormal rows: cosines of rising frequency. Of a power of two none is zero, of which AdamW would make a whole step of
/// either sign.
fn cosine(k: usize, n: usize) -> Vec<f64> {
    let scale = if k == 0 { (1.0 / n as f64).sqrt() } else { (2.0 / n as f64).sqrt() };
    (0..n).map(|i| scale * (std::f64::consts::PI * (i as f64 + 0.5) * k as f64 / n as f64).cos()).collect()
}

/// Algorithm 2 in f64 on gradients whose singular directions are known: two steps, AdamW's moments in the directions of the
/// first gradient, the step back on the whole matrix times 0.25, weight decay on the whole. f32 and a subspace iteration on
/// one side: within 1e-5 of a step of 1e-2.
async fn galore_steps_in_the_gradients_directions(device: &Device) {
    for (rows, columns) in [(8, 4), (4, 8), (8, 8)] {
        let (rate, decay, scale, rank) = (1e-2, 0.1, 0.25, 2);
        let size = rows * columns;
        let weight: Vec<f32> = normals(&mut draws(7, "weight", [rows as u64, 0]), size, 1.0);
        // The second gradient is any.
        let first: Vec<f64> = {
            let sum = |i: usize, j: usize| {
                let of = |k: usize, sigma: f64| sigma * cosine(k, rows)[i] * cosine(k + 1, columns)[j];
                of(0, 3.0) + of(1, 2.0) + of(2, 0.5)
            };
            (0..size).map(|at| sum(at / columns, at % columns)).collect()
        };
        let second = normals(&mut draws(7, "gradient", [rows as u64, 0]), size, 1.0);
        let second: Vec<f64> = second.iter().map(|g| f64::from(*g)).collect();

        // P: the right directions of a tall or square matrix, the left ones of a wide one.
        let tall = rows >= columns;
        let p: Grid = (0..rank).map(|k| if tall { cosine(k + 1, columns) } else { cosine(k, rows) }).collect();
        let longer = rows.max(columns);
        let narrow = |g: &[f64]| -> Vec<f64> {
            let entry = |l: usize, k: usize| match tall {
                true => (0..columns).map(|j| g[l * columns + j] * p[k][j]).sum::<f64>(),
                false => (0..rows).map(|i| g[i * columns + l] * p[k][i]).sum(),
            };
            (0..longer * rank).map(|at| entry(at / rank, at % rank)).collect()
        };
        let mut want: Vec<f64> = weight.iter().map(|w| f64::from(*w)).collect();
        let (mut m, mut v) = (vec![0.0; longer * rank], vec![0.0; longer * rank]);
        for (t, gradient) in [(1, &first), (2, &second)] {
            let step: Vec<f64> = narrow(gradient)
                .iter()
                .enumerate()
                .map(|(i, g)| {
                    m[i] = 0.9 * m[i] + 0.1 * g;
                    v[i] = 0.999 * v[i] + 0.001 * g * g;
                    let (m, v) = (m[i] / (1.0 - 0.9_f64.powi(t)), v[i] / (1.0 - 0.999_f64.powi(t)));
                    -rate * m / (v.sqrt() + 1e-8)
                })
                .collect();
            for (at, w) in want.iter_mut().enumerate() {
                let (i, j) = (at / columns, at % columns);
                let (long, short) = if tall { (i, j) } else { (j, i) };
                let wide: f64 = (0..rank).map(|k| step[long * rank + k] * p[k][short]).sum();
                *w = *w * (1.0 - rate * decay) + scale * wide;
            }
        }

        let mut param = Param::trainable(Tensor::from_data(TensorData::new(weight, [rows, columns]), device));
        param.rule = UpdateRule::Projected { rank, interval: 100, scale: scale as f32 };
        let mut alone = Alone(param);
        let mut adam = AdamW::new(decay as f32);
        for gradient in [first, second] {
            let gradient: Vec<f32> = gradient.iter().map(|g| *g as f32).collect();
            let gradients = [("w".to_string(), Tensor::from_floats(gradient.as_slice(), device))].into();
            adam.choose_directions(&mut alone, &gradients).await.expect("directions");
            adam.step(&mut alone, gradients, 0.0, |_| rate, StepKey::default());
        }
        let got = read_f32(alone.0.value).await.expect("numbers");
        let want: Vec<f32> = want.iter().map(|w| *w as f32).collect();
        assert!(worst(&got, &want) < 1e-5 * scale as f32, "{rows} × {columns}: {:e}", worst(&got, &want));
    }
}

/// Each of its blocks reads `μ h + (1 − μ) D x`, μ = σ(α / 0.1), of what the block below it says and what the model's says
/// beside it; what the last one says is widened (Sung et al. 2022, §3.2).
async fn a_ladder_mixes_what_is_below_and_beside(device: &Device) {
    let mut model = moved(&suited(MethodKind::Ladder).into(), device).await;
    if let Some(ladder) = &mut model.ladder {
        for (i, mix) in ladder.mix.iter_mut().enumerate() {
            mix.value = Tensor::from_floats([0.03 * (i as f32 - 0.5)], device);
        }
    }
    let ladder = model.ladder.as_ref().expect("a ladder");
    let states: Vec<Tensor<3>> = (0..=LAYERS as u64)
        .map(|i| {
            let values = normals(&mut draws(9, "state", [i, 0]), 6 * 16, 1.0);
            Tensor::from_data(TensorData::new(values, [1, 6, 16]), device)
        })
        .collect();
    let at = model.positions(6, 0);
    let side = at.side.as_ref().expect("positions in its heads");
    let context = model.inference_context(LAYERS);
    let narrow = |x: &Tensor<3>, down: &Param<2>| x.clone().matmul(down.value.clone().transpose().unsqueeze());
    let mut h = narrow(&states[0], &ladder.down[0]);
    let mut mixes = Vec::new();
    for (i, block) in ladder.blocks.iter().enumerate() {
        let alpha = read_f32(ladder.mix[i].value.clone()).await.expect("a number")[0];
        let mix = 1.0 / (1.0 + (-f64::from(alpha) / 0.1).exp());
        mixes.push(mix);
        let beside = narrow(&states[i + 1], &ladder.down[i + 1]);
        let mixed = h.mul_scalar(mix) + beside.mul_scalar(1.0 - mix);
        h = block.forward(mixed, side, None::<&mut KvCache>, &context);
    }
    assert!(mixes.iter().all(|mix| (mix - 0.5).abs() > 0.03), "{mixes:?}");
    let want = h.matmul(ladder.up.value.clone().transpose().unsqueeze());
    let (got, want) = (
        read_f32(ladder.forward(&states, side, None, &context)).await.expect("numbers"),
        read_f32(want).await.expect("numbers"),
    );
    let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!(largest > 1e-3 && worst(&got, &want) < 1e-5 * largest, "{:e} of {largest}", worst(&got, &want));
}

/// `x + h + a(h)` of the attention's output h before it is added to the residual stream, and the same of the feed-forward's
/// (Houlsby et al. 2019, §2.1).
async fn houlsbys_adapters_come_after_attention_and_feed_forward(device: &Device) {
    let model = moved(&suited(MethodKind::Houlsby).into(), device).await;
    let (block, context, at) = (&model.layers[1], model.inference_context(1), model.positions(7, 0));
    let values = normals(&mut draws(9, "x", [0, 0]), 7 * 16, 1.0);
    let x = Tensor::<3>::from_data(TensorData::new(values, [1, 7, 16]), device);
    let adapted = |place: AdapterPlacement, h: Tensor<3>| {
        let of: Vec<_> = block.adapters.iter().filter(|adapter| adapter.place == place).collect();
        let [adapter] = of[..] else { panic!("{} adapters there", of.len()) };
        h.clone() + adapter.forward(h, &context)
    };
    let normed = |norm: &Option<Norm>, x| norm.as_ref().expect("a norm before it").forward(x, &context);
    let h = block.self_attn.forward(normed(&block.attention_norm, x.clone()), None, &at, None, &context);
    let middle = x.clone() + adapted(AdapterPlacement::AfterAttention, h);
    let fed = block.mlp.forward(&normed(&block.mlp_norm, middle.clone()), None, &context);
    let want = read_f32(middle + adapted(AdapterPlacement::AfterMlp, fed)).await.expect("numbers");
    let got = read_f32(block.forward(x, &at, None, &context)).await.expect("numbers");
    assert!(worst(&got, &want) < 1e-5, "{:e}", worst(&got, &want));
}

/// Uniform within ±√(6 / fan-in), PEFT's `_kaiming_init` with its gain of √2: 4,096 draws come within 2 % of the bound.
fn veras_matrices_are_drawn_as_peft_draws_them(device: &Device) {
    let matrices = VeraMatrices::new(64, [48, 80], 3, device);
    for (matrix, fan_in) in [(matrices.a.value, 80.0_f32), (matrices.b.value, 64.0)] {
        let bound = (6.0 / fan_in).sqrt();
        let largest = matrix.abs().max().into_scalar::<f32>();
        assert!(largest <= bound && largest > 0.98 * bound, "{largest} of {bound}");
    }
}
