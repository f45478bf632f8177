//! Attention over one input against its parts, and its kernels against theirs.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Int, Tensor, TensorData};

#[cfg(feature = "wgpu")]
use super::Heads;
use super::self_attention;
use crate::self_test::attended_by_parts;
#[cfg(feature = "wgpu")]
use crate::testing::wgpu;
use crate::testing::{Passed, tensor};
use crate::{AttentionMask, Compute, CosSin, Factors, HeadNorms, Layer, Matrix, Rotary, Scores, group_weights};

type Attended = fn(Tensor<3>, &[Layer; 3], usize, &CosSin, &AttentionMask, Scores, Option<HeadNorms>) -> Tensor<3>;

/// One text a row, or several of unequal lengths that begin elsewhere in each.
fn positions(batch: usize, seq: usize, head_dim: usize, texts: bool, device: &Device) -> (CosSin, AttentionMask) {
    let rotary = Rotary::new(head_dim, seq.max(2), 10_000.0, device);
    if !texts {
        return (rotary.cos_sin_after(0, seq), AttentionMask::causal(seq, device));
    }
    let begin =
        |row: usize, at: usize| [0, seq / 3 + row, seq / 2 + row].into_iter().filter(|b| *b <= at).max().unwrap();
    let begins: Vec<usize> = (0..batch).flat_map(|row| (0..seq).map(move |at| begin(row, at))).collect();
    let position_ids: Vec<i32> = begins.iter().enumerate().map(|(i, begin)| (i % seq - begin) as i32).collect();
    let position_ids = Tensor::<2, Int>::from_data(TensorData::new(position_ids, [batch, seq]), device);
    let first: Vec<f32> = begins.into_iter().map(|begin| begin as f32).collect();
    let first = Tensor::<2>::from_data(TensorData::new(first, [batch, seq]), device);
    (rotary.cos_sin_at(&position_ids), AttentionMask::from_first_keys(first))
}

/// Values, and exactly the gradients that are wanted: heads of pairs that shaders read in fours and of such as they do not,
/// alone and in groups, with updates of all, of some, and of none, and with biases.
fn agrees_with_its_parts(device: &Device) {
    for (batch, heads, kv_heads, seq, head_dim, hidden) in
        [(1, 1, 1, 1, 2, 3), (2, 4, 2, 7, 8, 12), (2, 2, 1, 70, 16, 36), (1, 3, 1, 33, 12, 20)]
    {
        for (ranks, texts, biased) in
            [([4; 3], false, false), ([4; 3], true, false), ([0; 3], true, true), ([4, 0, 4], true, true)]
        {
            // Of x, of a, of b, of biases.
            for tracked in 0..8 {
                let tracked = tracked | u32::from(biased && u32::is_multiple_of(tracked, 3)) << 3;
                let is = |i: u32| tracked >> i & 1 == 1;
                let what =
                    format!("{batch} × {heads} over {kv_heads}, {seq}, {head_dim}, {ranks:?}, {texts}, {tracked:04b}");
                let (cos_sin, mask) = positions(batch, seq, head_dim, texts && seq > 1, device);
                // As Gemma 2 has them, now and then.
                let (mask, scores) = match tracked % 3 {
                    0 => (mask, Scores::of(head_dim)),
                    1 => (mask.sliding_window(5, 0), Scores { scale: 0.4, softcap: None }),
                    _ => (mask.sliding_window(3, 0), Scores { scale: 0.4, softcap: Some(0.9) }),
                };
                let outs = [heads, kv_heads, kv_heads].map(|heads| heads * head_dim);
                // As Qwen 3 has them, and Gemma 3.
                let norms = (tracked % 4 > 1).then(|| HeadNorms {
                    q: tensor([1, head_dim], 60, device).squeeze_dim(0),
                    k: tensor([1, head_dim], 61, device).squeeze_dim(0),
                    offset: [0.0, 1.0][tracked as usize % 2],
                    eps: 1e-6,
                });
                let run = |layer: Attended| {
                    let track = |i: u32, t: Tensor<2>| if is(i) { t.autodiff().require_grad() } else { t };
                    let weights = (0..3).map(|i| Matrix::from(tensor([outs[i], hidden], 10 + i as u32, device)));
                    let weights = group_weights(weights.collect());
                    let x = track(0, tensor([batch * seq, hidden], 1, device));
                    let a = [0, 1, 2].map(|i| track(1, tensor([4, hidden], 20 + i, device)));
                    let b = [0, 1, 2].map(|i| track(2, tensor([outs[i as usize], 4], 30 + i, device)));
                    let biases = [0, 1, 2].map(|i| track(3, tensor([1, outs[i as usize]], 50 + i, device)));
                    let of = [0, 1, 2].map(|i: usize| Layer {
                        weight: weights[i].clone(),
                        update: (ranks[i] > 0).then(|| Factors { a: a[i].clone(), b: b[i].clone(), scale: 0.7 }),
                        bias: biased.then(|| biases[i].clone().squeeze_dim(0)),
                        compute: Compute::default(),
                    });
                    let y = layer(
                        x.clone().reshape([batch, seq, hidden]),
                        &of,
                        head_dim,
                        &cos_sin,
                        &mask,
                        scores,
                        norms.clone(),
                    );
                    let operands: Vec<_> = [x].into_iter().chain(a).chain(b).chain(biases).collect();
                    let wanted = |i: usize| match i {
                        0 => is(0),
                        1..=3 => is(1) && ranks[i - 1] > 0,
                        4..=6 => is(2) && ranks[i - 4] > 0,
                        _ => is(3),
                    };
                    let wanted: Vec<bool> = (0..operands.len()).map(wanted).collect();
                    Passed::back(y, operands, &wanted, &what)
                };
                run(self_attention).is_near(&run(attended_by_parts), &what);
            }
        }
    }
}

#[cfg(feature = "cpu")]
#[test]
fn agrees_with_its_parts_on_the_cpu() {
    agrees_with_its_parts(&Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn agrees_with_its_parts_on_wgpu() {
    if let Some(device) = wgpu() {
        agrees_with_its_parts(&device);
    }
}

/// What a GPU is given to do, in memory full of values that are no numbers: products rotated where they are made
/// against products and rotary embedding, and gradients rotated back where they are made against attention's and
/// rotating back.
#[cfg(feature = "wgpu")]
#[test]
fn kernels_apply_rotary_too() {
    use burn::backend::ops::FloatTensorOps;
    use burn_cubecl::CubeBackend;
    use burn_cubecl::tensor::CubeTensor;

    use super::reference::{heads, heads_with_rotary_backward};
    use crate::attention::AttentionOps;
    use crate::attention::launch::attention_rotary_backward;
    use crate::linear::epilogue::{Epilogue, Rotary};
    use crate::linear::products::{LowRank, Product, Products};
    use crate::linear::size::{Orientation, Reading};
    use crate::linear::weight::Weight;
    use crate::rotary::RotaryOps;
    use crate::tensor_list::{TensorList, copied_to_one_buffer};
    use crate::testing;

    let Some(device) = wgpu() else { return };
    let on = |shape: [usize; 2], seed: u32| testing::on_device(shape, seed, 1.0, &device);
    let plain = |t: Tensor<4>| t.try_into_primitive::<CubeBackend>().unwrap();
    let tiles = testing::tiles(&device);
    for (batch, count, kv, seq, head_dim, hidden) in
        [(1, 1, 1, 1, 8, 4), (2, 4, 2, 7, 8, 12), (2, 3, 3, 66, 24, 20), (1, 3, 1, 130, 64, 36), (1, 2, 1, 9, 128, 16)]
    {
        let of_floats = [(0, false), (8, false)].map(|(rank, texts)| (rank, texts, tiles[0]));
        for (rank, texts, half) in of_floats.into_iter().chain(tiles.iter().map(|tiles| (8, true, *tiles))) {
            let what = format!("{batch} × {count} over {kv}, {seq} × {head_dim}, rank {rank}, texts {texts}, {half:?}");
            let (cos_sin, mask) = positions(batch, seq, head_dim, texts && seq > 1, &device);
            // In windows, with another scale, where there are texts.
            let (mask, scores) = match texts {
                false => (mask, Scores::of(head_dim)),
                true => (mask.sliding_window(20, 0), Scores { scale: 0.4, softcap: None }),
            };
            // Those of one position do not lie together by themselves.
            let tables = copied_to_one_buffer(cos_sin.tensors().map(plain).to_vec(), 1);
            let [cosines, sines] = [0, 1].map(|i: usize| tables[i].clone());
            let outs = [count, kv, kv].map(|heads| heads * head_dim);
            let x = on([batch * seq, hidden], 1);
            let weights =
                copied_to_one_buffer(outs.into_iter().zip(2..).map(|(out, seed)| on([out, hidden], seed)).collect(), 1);
            let factors = outs.into_iter().zip(10..).filter(|_| rank > 0);
            let factors = copied_to_one_buffer(
                factors.flat_map(|(out, seed)| [on([rank, hidden], seed), on([out, rank], seed + 9)]).collect(),
                1,
            );
            // Rows of several texts with updates of queries and values alone, and biases.
            let update = |i: usize| {
                let (down, up) = (factors.get(2 * i)?.clone(), factors[2 * i + 1].clone());
                (!texts || i != 1).then_some(LowRank { down, up, scale: 0.7 })
            };
            let biases =
                copied_to_one_buffer(outs.into_iter().zip(40..).map(|(out, seed)| on([1, out], seed)).collect(), 1);
            let bias = |i: usize| CubeBackend::float_reshape(biases[i].clone(), [outs[i]].into());
            let product = |(i, weight): (usize, CubeTensor)| Product {
                update: update(i),
                bias: texts.then(|| bias(i)),
                ..Product::new(x.clone(), Weight::Floats(weight))
            };
            let apart = Products::new(Orientation::Nt, weights.into_iter().enumerate().map(product));
            let apart = Products { half, ..apart };
            let sizes = apart.sizes().unwrap();
            let made = apart.clone().launch(Reading::Tiled, &sizes);
            let of_heads = |t: &CubeTensor| heads::<CubeBackend>(t.clone(), [batch, seq], head_dim);
            let [q, k, v] = [0, 1, 2].map(|i: usize| of_heads(&made.outputs[i]));
            let TensorList(want) = CubeBackend::apply_rotary(q, k, v, cosines.clone(), sines.clone());
            let rotary = Rotary { cosines: cosines.clone(), sines: sines.clone(), products: 2 };
            let rotated = Products { epilogue: Epilogue::Rotary(Box::new(rotary)), ..apart.clone() };
            let got = rotated.in_order().at_once(Reading::Tiled, &sizes).unwrap();
            for (i, (got, want)) in got.outputs.iter().zip(want).enumerate() {
                testing::assert_close(of_heads(got), want, 2e-6, 1e-3, &format!("{what}, {i}"));
            }
            for (got, want) in got.low.iter().zip(made.low) {
                testing::assert_close(got.clone(), want, 1e-6, 1e-3, &format!("{what}, low"));
            }

            let [q, k, v] = [0, 1, 2].map(|i: usize| of_heads(&got.outputs[i]));
            let first = mask.first().try_into_primitive::<CubeBackend>().unwrap();
            let (y, saved) =
                CubeBackend::attention_forward_saving(q.clone(), k.clone(), v.clone(), first, mask.options(scores));
            let dy = of_heads(&on([batch * seq, outs[0]], 30));
            let operands = TensorList(vec![q, k, v, saved, y, dy]);
            let TensorList(want) = heads_with_rotary_backward::<CubeBackend>(
                operands.clone(),
                TensorList(Vec::new()),
                cosines.clone(),
                sines.clone(),
                Heads { width: head_dim, options: mask.options(scores), norm: None, rotates: true },
            );
            drop(Tensor::<1>::full([batch * seq * outs[0] * 3 + 256], f32::NAN, &device));
            let TensorList(got) = attention_rotary_backward(&operands, &cosines, &sines, mask.options(scores)).unwrap();
            for (i, (got, want)) in got.into_iter().zip(want).enumerate() {
                testing::assert_close(got, want, 2e-5, 1.0, &format!("{what}, back, {i}"));
            }
        }
    }
}

/// Sliding windows cost what they show by the one dispatch for GPUs, too: of 2,048 keys 64 are a sixteenth of the mean, and
/// take at most half of the time, however busy the machine is.
#[cfg(feature = "wgpu")]
#[test]
fn keys_outside_of_a_window_take_no_time_in_one_dispatch() {
    use burn_cubecl::CubeBackend;

    use super::reference::heads;
    use crate::attention::AttentionOps;
    use crate::attention::launch::attention_rotary_backward;
    use crate::tensor_list::{TensorList, copied_to_one_buffer};
    use crate::testing;

    let Some(device) = wgpu() else { return };
    let (seq, width) = (2048, 16);
    let rows = |seed| testing::on_device([seq, width], seed, 1.0, &device);
    let made = copied_to_one_buffer([1, 2, 3].map(rows).to_vec(), 1).into_iter().chain([rows(4)]);
    let made: Vec<_> = made.map(|rows| heads::<CubeBackend>(rows, [1, seq], width)).collect();
    let [q, k, v, dy] = [0, 1, 2, 3].map(|i: usize| made[i].clone());
    let (cos_sin, mask) = positions(1, seq, width, false, &device);
    let plain = |t: Tensor<4>| t.try_into_primitive::<CubeBackend>().unwrap();
    let tables = copied_to_one_buffer(cos_sin.tensors().map(plain).to_vec(), 1);
    let scores = Scores::of(width);
    let seconds = |window: usize| {
        let mask = mask.clone().sliding_window(window, 0);
        let first = mask.first().try_into_primitive::<CubeBackend>().unwrap();
        let (y, saved) =
            CubeBackend::attention_forward_saving(q.clone(), k.clone(), v.clone(), first, mask.options(scores));
        testing::numbers(y.clone());
        let operands = TensorList(vec![q.clone(), k.clone(), v.clone(), saved, y, dy.clone()]);
        let turn = || {
            let clock = stratune_runtime::Stopwatch::start();
            let TensorList(back) =
                attention_rotary_backward(&operands, &tables[0], &tables[1], mask.options(scores)).unwrap();
            back.into_iter().for_each(|gradient| drop(testing::numbers(gradient)));
            clock.seconds()
        };
        (0..4).map(|_| turn()).fold(f64::MAX, f64::min)
    };
    let (all, few) = (seconds(seq), seconds(64));
    println!("{all:.4} s, in a window {few:.4} s");
    assert!(few < 0.5 * all, "{all} s, in a window {few} s");
}
