//! Norms of heads with their rotary embedding by `shaders/head_norm.wgsl`, forward and backward, in one dispatch each. Where
//! heads are no multiple of eight wide, or do not lie in one buffer, of their parts.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use stratune_runtime::span;

use super::HeadNorm;
use super::reference::{self, HeadNormOps};
use crate::shader::{Bound, Shader, fours, suit};
use crate::sharing::{grid_of_rows, lanes};
use crate::tensor_list::{TensorList, common_buffer, empty_tensors};

impl HeadNormOps for CubeBackend {
    fn norm_rotary(
        heads: TensorList<Self>,
        weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        norm: HeadNorm,
    ) -> TensorList<Self> {
        let _span = span("norms of heads and rotary, forward");
        let made = by_shader(&heads.0, None, &weights.0, [&cosines, &sines], norm, None);
        made.unwrap_or_else(|| reference::norm_rotary::<Self>(heads, weights, cosines, sines, norm))
    }

    fn norm_rotary_backward(
        operands: TensorList<Self>,
        weights: TensorList<Self>,
        cosines: FloatTensor<Self>,
        sines: FloatTensor<Self>,
        norm: HeadNorm,
    ) -> TensorList<Self> {
        let _span = span("norms of heads and rotary, backward");
        let (x, dy) = operands.0.split_at(2.min(operands.0.len()));
        let made = by_shader(x, Some(dy), &weights.0, [&cosines, &sines], norm, None);
        made.unwrap_or_else(|| reference::norm_rotary_backward::<Self>(operands, weights, cosines, sines, norm))
    }
}

/// `[batch, heads, seq, width]` with the heads of a position side by side, or the other way round.
fn heads_last(x: &CubeTensor) -> CubeTensor {
    CubeBackend::float_swap_dims(x.clone(), 1, 2)
}

/// One tensor that has all of these heads within it, and where each begins, in fours.
fn lying(heads: &[CubeTensor]) -> Option<(CubeTensor, Vec<u32>)> {
    let lying: Vec<CubeTensor> = heads.iter().map(heads_last).collect();
    let (whole, begins) = common_buffer(&lying.iter().collect::<Vec<_>>())?;
    suit([&whole]).then(|| (whole, begins.into_iter().map(fours).collect()))
}

/// Forward, `x` are the three; backward, queries and keys, and `dy` the three. `sharing` invocations to a row, or as many
/// as suit the adapter.
fn by_shader(
    x: &[CubeTensor],
    dy: Option<&[CubeTensor]>,
    weights: &[CubeTensor],
    [cosines, sines]: [&CubeTensor; 2],
    norm: HeadNorm,
    sharing: Option<u32>,
) -> Option<TensorList<CubeBackend>> {
    let (of_x, in_x) = lying(x)?;
    let of_dy = match dy {
        Some(dy) => Some(lying(dy)?),
        None => None,
    };
    let [of_q, of_k] = weights else { return None };
    let shapes: Vec<[usize; 4]> =
        dy.unwrap_or(x).iter().map(|heads| [0, 2, 1, 3].map(|side| heads.shape()[side])).collect();
    let [batch, seq, _, width] = *shapes.first()?;
    let alike = shapes.len() == 3 && shapes.iter().all(|[b, s, _, w]| [*b, *s, *w] == [batch, seq, width]);
    if !alike || !width.is_multiple_of(8) || !suit([of_q, of_k, cosines, sines]) {
        return None;
    }
    let outputs = empty_tensors(&of_x, &shapes);
    let (y, in_y) = common_buffer(&outputs.iter().collect::<Vec<_>>())?;
    let [of_q, of_k, cosines, sines] = [of_q, of_k, cosines, sines].map(|tensor| into_contiguous(tensor.clone()));
    let mut of_parts = Vec::new();
    let mut rows = 0;
    for (i, [_, _, heads, _]) in shapes.iter().enumerate() {
        let place = |begins: Option<&Vec<u32>>| begins.and_then(|begins| begins.get(i)).copied().unwrap_or(0);
        let in_dy = place(of_dy.as_ref().map(|(_, begins)| begins));
        of_parts.extend([rows, *heads as u32, 0, 0, place(Some(&in_x)), in_dy, fours(in_y[i]), 0]);
        rows += (batch * seq * heads) as u32;
    }
    let half = (width / 8) as u32;
    let each_row = u32::from(cosines.shape()[0] > 1);
    let mut numbers = vec![rows, seq as u32, half, each_row, (norm.eps as f32).to_bits(), norm.offset.to_bits(), 0, 0];
    numbers.extend(of_parts);
    let mut bound = vec![&of_x, &of_q, &of_k, &cosines, &sines].into_iter().map(Bound::In).collect::<Vec<_>>();
    bound.push(Bound::Out(&y));
    bound.extend(of_dy.as_ref().map(|(dy, _)| Bound::In(dy)));
    let lanes = sharing.unwrap_or_else(|| lanes(&of_x, half));
    Shader::new("head_norm", include_str!("../../../../shaders/head_norm.wgsl"))
        .shared_by(lanes)
        .with("numbers_binding", bound.len())
        .unrolled("$forward", u32::from(dy.is_none()))
        .unrolled("$backward", u32::from(dy.is_some()))
        .launch(&bound, &numbers, grid_of_rows(rows, lanes));
    Some(TensorList(outputs.iter().map(heads_last).collect()))
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::sharing::ways;
    use crate::tensor_list::copied_to_one_buffer;
    use crate::testing::{assert_close, on_device, wgpu};

    /// Against the parts, in the form for each kind of adapter, in memory full of values that are no numbers: values and
    /// gradients of grouped heads, with angles for all rows of the batch or for each, and gains that are 1 + weight.
    #[test]
    fn values_and_gradients_are_those_of_the_parts() {
        let Some(device) = wgpu() else { return };
        for [batch, heads, kv_heads, seq, width] in
            [[1, 1, 1, 1, 8], [2, 4, 2, 7, 16], [3, 3, 1, 5, 24], [1, 4, 2, 33, 128], [2, 2, 2, 9, 256]]
        {
            for (rows, offset) in [(1, 0.0), (batch, 1.0)] {
                let what = format!("{batch} × {heads} over {kv_heads}, {seq} × {width}, {rows}, {offset}");
                let norm = HeadNorm { offset, eps: 1e-6 };
                let table = |seed: u32| on_device([rows, 1, seq, width / 2], seed, 1.0, &device);
                let (cosines, sines) = (table(1), table(2));
                let weights = [3, 4].map(|seed| on_device([width], seed, 1.0, &device)).to_vec();
                let beside = |seed: u32| {
                    let each = [heads, kv_heads, kv_heads].into_iter().zip(seed..);
                    let each = each.map(|(heads, seed)| on_device([batch, seq, heads, width], seed, 2.0, &device));
                    copied_to_one_buffer(each.collect(), 1).iter().map(heads_last).collect::<Vec<_>>()
                };
                let (x, dy) = (beside(5), beside(9));
                let want = reference::norm_rotary::<CubeBackend>(
                    TensorList(x.clone()),
                    TensorList(weights.clone()),
                    cosines.clone(),
                    sines.clone(),
                    norm,
                );
                let back = reference::norm_rotary_backward::<CubeBackend>(
                    TensorList(x[..2].iter().chain(&dy).cloned().collect()),
                    TensorList(weights.clone()),
                    cosines.clone(),
                    sines.clone(),
                    norm,
                );
                for lanes in ways((width / 8) as u32) {
                    drop(Tensor::<1>::full([4 * batch * heads * seq * width + 256], f32::NAN, &device));
                    let angles = [&cosines, &sines];
                    let forward = by_shader(&x, None, &weights, angles, norm, Some(lanes)).unwrap();
                    let backward = by_shader(&x[..2], Some(&dy), &weights, angles, norm, Some(lanes)).unwrap();
                    for (i, (got, want)) in forward.0.into_iter().zip(want.0.clone()).enumerate() {
                        // A root and a sum of 256 squares in another order.
                        assert_close(got, want, 1e-5, 1e-3, &format!("{what}, {lanes} to a row, {i}"));
                    }
                    for (i, (got, want)) in backward.0.into_iter().zip(back.0.clone()).enumerate() {
                        assert_close(got, want, 2e-5, 1e-2, &format!("{what}, {lanes} to a row, gradient of {i}"));
                    }
                }
            }
        }
    }

    /// Other widths, and heads that lie apart, are for the parts.
    #[test]
    fn what_the_shader_does_not_take_is_made_of_parts() {
        let Some(device) = wgpu() else { return };
        for (width, beside) in [(12, true), (16, false)] {
            let each: Vec<CubeTensor> = [2, 1, 1]
                .into_iter()
                .zip(1..)
                .map(|(h, seed)| on_device([1, 3, h, width], seed, 1.0, &device))
                .collect();
            let each = if beside { copied_to_one_buffer(each, 1) } else { each };
            let x: Vec<CubeTensor> = each.iter().map(heads_last).collect();
            let weights = [3, 4].map(|seed| on_device([width], seed, 1.0, &device)).to_vec();
            let table = on_device([1, 1, 3, width / 2], 7, 1.0, &device);
            let norm = HeadNorm { offset: 0.0, eps: 1e-6 };
            assert!(by_shader(&x, None, &weights, [&table, &table], norm, None).is_none(), "{width}, {beside}");
            let TensorList(made) =
                CubeBackend::norm_rotary(TensorList(x), TensorList(weights), table.clone(), table.clone(), norm);
            assert_eq!(made.len(), 3);
        }
    }
}
