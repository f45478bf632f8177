//! Losses of rows of logits in CubeCL, a cube for each row.

use burn::backend::TensorMetadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cube::{cube_for_each, max_of_cube, sharing, sum_of_cube};

#[cube(launch_unchecked)]
fn losses<F: Float>(
    logits: &mut [F],
    targets: &[i32],
    losses: &mut [F],
    rows: usize,
    vocabulary: usize,
    scale: f32,
    #[comptime] units: usize,
    #[define(F)] _kind: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let start = row * vocabulary;
    // The largest that this unit has seen, and the sum of exponentials of what lies below it.
    let mut own_most = f32::new(-3.4e38);
    let mut own_sum = 0.0_f32;
    for c in range_stepped(UNIT_POS as usize, vocabulary, units) {
        let v = f32::cast_from(logits[start + c]);
        // The lower of the two exponentials; the other is 1.
        let lower = (-(v - own_most).abs()).exp();
        own_sum = select(v > own_most, own_sum * lower + 1.0, own_sum + lower);
        own_most = max(own_most, v);
    }
    let most = max_of_cube(own_most, units);
    let sum = sum_of_cube(own_sum * (own_most - most).exp(), units);
    let target = targets[row] as usize;
    for c in range_stepped(UNIT_POS as usize, vocabulary, units) {
        let v = f32::cast_from(logits[start + c]);
        let p = (v - most).exp() / sum;
        if c == target {
            losses[row] = F::cast_from(most + sum.ln() - v);
        }
        logits[start + c] = F::cast_from(scale * select(c == target, p - 1.0, p));
    }
}

/// The losses, and the gradient in the place of the logits, which are nobody else's and floats of this kind.
pub fn put_gradient(logits: CubeTensor, targets: CubeTensor, scale: f32, kind: ElemType) -> (CubeTensor, CubeTensor) {
    let (logits, targets) = (into_contiguous(logits), into_contiguous(targets));
    let [rows, vocabulary] = [0, 1].map(|side| logits.shape()[side]);
    let of_rows =
        empty_device_contiguous_dtype(logits.client.clone(), logits.device.clone(), [rows].into(), logits.dtype);
    let units = sharing(vocabulary, &logits);
    // SAFETY: there are `rows` rows of logits, targets and losses; a unit touches every `units`th place of its cube's row.
    unsafe {
        losses::launch_unchecked(
            &logits.client,
            cube_for_each(rows),
            CubeDim::new_1d(units),
            logits.clone().into_buffer_arg(),
            targets.into_buffer_arg(),
            of_rows.clone().into_buffer_arg(),
            rows,
            vocabulary,
            scale,
            units as usize,
            kind,
        );
    }
    (of_rows, logits)
}

#[cfg(all(test, feature = "wgpu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{FloatDType, Int, Tensor, TensorData};
    use burn_cubecl::CubeBackend;

    use super::*;
    use crate::cross_entropy::reference;
    use crate::cube::floats;
    use crate::testing::{assert_close, kinds, of_kind, on_device, wgpu};

    /// Against the reference, for vocabularies below and above a cube, small and large logits, and every kind of float. An
    /// odd vocabulary beyond 65,535 the reference gets wrong on llvmpipe, which ends its loops.
    #[test]
    fn losses_and_gradients_are_the_references() {
        let Some(device) = wgpu() else { return };
        for (rows, vocabulary) in [(1_usize, 1_usize), (3, 7), (5, 64), (67, 131), (70_000, 3), (2, 5000), (2, 65_001)]
        {
            for ((dtype, moved), most) in kinds(&device).into_iter().flat_map(|kind| [(kind, 0.1), (kind, 40.0)]) {
                let logits = || of_kind(on_device([rows, vocabulary], 1, most, &device), dtype);
                let ids: Vec<i32> = (0..rows).map(|i| ((i * 5 + 2) % vocabulary) as i32).collect();
                let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows]), &device);
                let targets = targets.try_into_primitive::<CubeBackend>().unwrap();
                let in_full = of_kind(logits(), FloatDType::F32);
                let want = reference::cross_entropy::<CubeBackend>(in_full, targets.clone(), 0.25);
                let kind = floats([&logits()]).unwrap();
                let got = put_gradient(logits(), targets, 0.25, kind);
                let name = format!("{rows} × {vocabulary} of {dtype:?}, ±{most}");
                // Exponentials and a sum of 65,001 of them.
                assert_close(got.0, want.0, moved + 1e-5, 1e-3, &format!("loss of {name}"));
                assert_close(got.1, want.1, moved + 1e-5, 1e-3, &format!("gradient of {name}"));
            }
        }
    }
}
