//! Rotary embedding by `shaders/rotary.wgsl`, forward and backward: heads are read where they lie and written side by
//! side. Where it cannot be taken, by `cube.rs`.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::cube;
use super::reference::{self, RotaryOps};
use crate::cube::floats;
use crate::shader::{Bound, INVOCATIONS, Shader, empty, grid, strides, suit};
use crate::tensor_list::{TensorList, common_buffer, empty_tensors};

impl RotaryOps for CubeBackend {
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        match floats([&x, &cos, &sin]) {
            Some(_) if suit([&x, &cos, &sin]) => rotate_one(x, cos, sin, 1.0),
            Some(kind) => cube::rotated(x, cos, sin, 1.0, kind),
            None => reference::rotate::<Self>(x, cos, sin),
        }
    }

    fn rotate_backward(dy: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        match floats([&dy, &cos, &sin]) {
            Some(_) if suit([&dy, &cos, &sin]) => rotate_one(dy, cos, sin, -1.0),
            Some(kind) => cube::rotated(dy, cos, sin, -1.0, kind),
            None => reference::rotate::<Self>(dy, cos, Self::float_neg(sin)),
        }
    }

    fn apply_rotary(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> TensorList<Self> {
        // Values come along: a view of them would keep all three as they were.
        let rotated = rotate_together(&[&q, &k, &v], 2, &cos, &sin, 1.0);
        TensorList(rotated.unwrap_or_else(|| {
            let [q, k] = [q, k].map(|x| Self::rotate(x, cos.clone(), sin.clone()));
            vec![q, k, v]
        }))
    }

    fn apply_rotary_backward(
        dq: FloatTensor<Self>,
        dk: FloatTensor<Self>,
        dv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> TensorList<Self> {
        let back = rotate_together(&[&dq, &dk, &dv], 2, &cos, &sin, -1.0);
        TensorList(back.unwrap_or_else(|| {
            let [dq, dk] = [dq, dk].map(|dy| Self::rotate_backward(dy, cos.clone(), sin.clone()));
            vec![dq, dk, dv]
        }))
    }
}

/// `[batch, heads, seq, width]` with the heads of a position side by side, or the other way round.
fn heads_last(x: CubeTensor) -> CubeTensor {
    CubeBackend::float_swap_dims(x, 1, 2)
}

fn rotate_one(x: CubeTensor, cos: CubeTensor, sin: CubeTensor, sign: f32) -> CubeTensor {
    let (x, strides) = strides(x);
    let [batch, heads, seq, width] = [0, 1, 2, 3].map(|side| x.shape()[side]);
    let y = empty(&x, [batch, seq, heads, width]);
    rotate_parts(
        &x,
        &y,
        &[Part { heads, strides, from: 0, to: 0, rotated: true }],
        [batch, seq, width],
        [&cos, &sin],
        sign,
    );
    heads_last(y)
}

/// Tensors that lie in one buffer, heads side by side: the first `rotated` of them rotated, the others as they are, in
/// another buffer; all in one dispatch.
fn rotate_together(
    x: &[&CubeTensor],
    rotated: usize,
    cos: &CubeTensor,
    sin: &CubeTensor,
    sign: f32,
) -> Option<Vec<CubeTensor>> {
    if !x.iter().all(|x| suit([x])) || !suit([cos, sin]) {
        return None;
    }
    let lying: Vec<CubeTensor> = x.iter().map(|x| heads_last((*x).clone())).collect();
    let (whole, begins) = common_buffer(&lying.iter().collect::<Vec<_>>())?;
    let shapes: Vec<[usize; 4]> = lying.iter().map(|x| [0, 1, 2, 3].map(|side| x.shape()[side])).collect();
    let [batch, seq, _, width] = *shapes.first()?;
    if shapes.iter().any(|[b, s, _, w]| [*b, *s, *w] != [batch, seq, width]) {
        return None;
    }
    let outputs = empty_tensors(&whole, &shapes);
    let (y, ends) = common_buffer(&outputs.iter().collect::<Vec<_>>())?;
    let part = |i: usize| {
        let heads = shapes[i][2];
        let strides = [seq * heads * width, width, heads * width].map(|stride| stride as u32);
        Part { heads, strides, from: (begins[i] / 4) as u32, to: (ends[i] / 4) as u32, rotated: i < rotated }
    };
    let parts: Vec<Part> = (0..x.len()).map(part).collect();
    rotate_parts(&whole, &y, &parts, [batch, seq, width], [cos, sin], sign);
    Some(outputs.into_iter().map(heads_last).collect())
}

/// A tensor within the one that is bound; numbers are counted.
struct Part {
    heads: usize,
    /// Between rows of the batch, heads and positions.
    strides: [u32; 3],
    from: u32,
    to: u32,
    rotated: bool,
}

fn rotate_parts(
    x: &CubeTensor,
    y: &CubeTensor,
    parts: &[Part],
    [batch, seq, width]: [usize; 3],
    angles: [&CubeTensor; 2],
    sign: f32,
) {
    let [cos, sin] = angles.map(|angles| into_contiguous(angles.clone()));
    let half = (width / 2) as u32;
    let counted = parts.iter().flat_map(|part| part.strides.into_iter().chain([part.from, part.to, half]));
    let fours = counted.clone().all(|numbers| numbers.is_multiple_of(4));
    let (of, count) = if fours { ("vec4<f32>", 4) } else { ("f32", 1) };
    let each_row = u32::from(cos.shape()[0] > 1);
    let mut first = 0;
    let mut of_parts = Vec::new();
    for Part { heads, strides, from, to, rotated } in parts {
        let [row, head, position] = strides.map(|stride| stride / count);
        of_parts.extend([first, *heads as u32, u32::from(*rotated), 0, row, head, position, 0]);
        of_parts.extend([from / count, to / count, 0, 0]);
        first += (batch * seq * heads) as u32 * (half / count);
    }
    let mut numbers = vec![first, seq as u32, half / count, each_row, sign.to_bits(), 0, 0, 0];
    numbers.extend(of_parts);
    Shader::new("rotary", include_str!("../../../../shaders/rotary.wgsl"))
        .with("of", of)
        .with("parts", parts.len())
        .launch(
            &[Bound::In(x), Bound::In(&cos), Bound::In(&sin), Bound::Out(y)],
            &numbers,
            grid(first.div_ceil(INVOCATIONS)),
        );
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers, of_values, on_device, wgpu};

    /// Against the reference, for numbers in order and for heads that are a view of them, with angles for all rows of the
    /// batch or for each; and back again.
    #[test]
    fn rotated_as_the_reference_and_back() {
        let Some(device) = wgpu() else { return };
        for [batch, heads, seq, head_dim] in [[1, 1, 1, 2], [2, 3, 5, 8], [3, 4, 17, 10], [1, 9, 65, 64]] {
            for rows in [1, batch] {
                let angles = numbers(on_device([rows, 1, seq, head_dim / 2], 1, 3.0, &device));
                let table = |f: fn(f32) -> f32| {
                    let values = of_values(angles.iter().map(|a| f(*a)).collect(), &device);
                    CubeBackend::float_reshape(values, [rows, 1, seq, head_dim / 2].into())
                };
                let (cos, sin) = (table(f32::cos), table(f32::sin));
                let in_order = on_device([batch, heads, seq, head_dim], 2, 2.0, &device);
                let view =
                    CubeBackend::float_swap_dims(on_device([batch, seq, heads, head_dim], 3, 2.0, &device), 1, 2);
                for x in [in_order, view] {
                    let y = CubeBackend::rotate(x.clone(), cos.clone(), sin.clone());
                    let want = reference::rotate::<CubeBackend>(x.clone(), cos.clone(), sin.clone());
                    assert_close(y.clone(), want, 1e-6, 1.0, "rotated");
                    let back = CubeBackend::rotate_backward(y, cos.clone(), sin.clone());
                    assert_close(back, x, 1e-6, 1.0, "and back");
                }
            }
        }
    }

    /// Queries, keys and values in one buffer, forth and back in one dispatch each, as each by itself; values stay.
    #[test]
    fn rotated_together_as_each_by_itself() {
        let Some(device) = wgpu() else { return };
        for [batch, heads, kv_heads, seq, width] in
            [[1, 1, 1, 1, 2], [2, 3, 1, 5, 8], [3, 4, 2, 17, 10], [1, 9, 3, 65, 64]]
        {
            let like = on_device([1, 1, seq, width / 2], 1, 1.0, &device);
            let (cos, sin) = (like.clone(), on_device([1, 1, seq, width / 2], 2, 1.0, &device));
            let shapes = [heads, kv_heads, kv_heads].map(|heads| [batch, seq, heads, width]);
            let apart = [3, 4, 5].map(|seed| seed as u32);
            let apart: Vec<CubeTensor> =
                shapes.iter().zip(apart).map(|(shape, seed)| on_device(*shape, seed, 2.0, &device)).collect();
            let beside = crate::tensor_list::copied_to_one_buffer(apart.clone(), 1);
            let [q, k, v] = [0, 1, 2].map(|i: usize| heads_last(beside[i].clone()));
            let each = |sign: f32| [&q, &k].map(|x| rotate_one(x.clone(), cos.clone(), sin.clone(), sign));
            for sign in [1.0, -1.0] {
                let x = [&q, &k, &v];
                let got = rotate_together(&x, 2, &cos, &sin, sign).expect("they lie in one buffer");
                let want = each(sign).into_iter().chain([v.clone()]);
                for (i, (got, want)) in got.into_iter().zip(want).enumerate() {
                    assert_close(got, want, 1e-7, 1.0, &format!("{i} of {heads} and {kv_heads} heads, {sign}"));
                }
            }
            let apart: Vec<CubeTensor> = apart.into_iter().map(heads_last).collect();
            assert!(rotate_together(&[&apart[0], &apart[1]], 2, &cos, &sin, 1.0).is_none());
        }
    }
}
