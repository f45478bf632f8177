//! What the CPU's own versions of the operations share: slices of tensors, both cores, and the widest vectors there are.

mod bands;
mod product;

pub use bands::{QuantizedMatrix, Right, Term, sum_of_products, sums_of_products};
pub use product::{Matrix, product, product_at};

use burn::tensor::{Shape, TensorData};
use burn_flex::FlexTensor;

/// The numbers of a contiguous f32 tensor; none of another type.
pub fn floats(tensor: &FlexTensor) -> Option<&[f32]> {
    (tensor.dtype() == burn::tensor::DType::F32).then(|| tensor.as_slice::<f32>())?
}

/// The same to write to: a tensor that shares its memory, or has its numbers in another order, gets memory of its own.
pub fn floats_mut(of: &mut FlexTensor) -> Option<&mut [f32]> {
    if !of.is_contiguous() || of.layout().start_offset() > 0 {
        let values = floats(&of.to_contiguous())?.to_vec();
        *of = tensor(values, of.layout().shape().clone());
    }
    let count = of.layout().num_elements();
    (of.dtype() == burn::tensor::DType::F32).then(|| of.storage_mut::<f32>().get_mut(..count))?
}

/// The numbers of a contiguous i32 tensor; none of another type.
pub fn integers(tensor: &FlexTensor) -> Option<&[i32]> {
    (tensor.dtype() == burn::tensor::DType::I32).then(|| tensor.as_slice::<i32>())?
}

/// A tensor of numbers.
pub fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Something to do on one part of an output, whose loops are to be made of the widest vectors that the machine has.
pub trait Part: Sync {
    /// Makes part `i`.
    fn make(&self, i: usize, out: &mut [f32]);
}

/// Makes an output in parts of equal size, on all cores.
pub fn in_parts(out: &mut [f32], size: usize, part: &impl Part) {
    if size > 0 {
        let parts = out.chunks_mut(size).enumerate().collect();
        each(parts, |(i, out): (usize, &mut [f32])| {
            widest(
                #[inline(always)]
                || part.make(i, out),
            )
        });
    }
}

/// Least multiplications for which another core is worth waking.
pub const WORTH_A_CORE: usize = 1 << 16;

/// Works on each of some parts, on all cores.
#[cfg(not(target_family = "wasm"))]
pub fn each<T: Send>(parts: Vec<T>, work: impl Fn(T) + Send + Sync) {
    use rayon::iter::{IntoParallelIterator, ParallelIterator};
    // With one thread in the pool, this one would wake it and sleep, and no more would be done at a time.
    if parts.len() > 1 && rayon::current_num_threads() > 1 {
        parts.into_par_iter().for_each(work);
    } else {
        parts.into_iter().for_each(work);
    }
}

/// In the tab there is one core.
#[cfg(target_family = "wasm")]
pub fn each<T>(parts: Vec<T>, work: impl Fn(T)) {
    parts.into_iter().for_each(work);
}

/// Work that is compiled once for each width of vectors, and runs in the widest that the machine has.
#[cfg(not(target_family = "wasm"))]
#[inline]
pub fn widest(work: impl FnOnce()) {
    pulp::Arch::new().dispatch(work);
}

/// In the tab the whole program is compiled for vectors.
#[cfg(target_family = "wasm")]
#[inline]
pub fn widest(work: impl FnOnce()) {
    work();
}

/// Numbers that a sum is kept in, side by side, so that it is made of vectors.
pub const LANES: usize = 16;

/// Σ a[i] · b[i].
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    rest + lanes.iter().sum::<f32>()
}

/// out[i] += times · x[i].
#[inline(always)]
pub fn add_scaled(out: &mut [f32], x: &[f32], times: f32) {
    for (o, x) in out.iter_mut().zip(x) {
        *o += times * x;
    }
}

/// eˣ within 2 units in the last place, without branches, so that loops of it are made of vectors; 0 below −87, where
/// f32's normal numbers end, and no more than at 88.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Cody and Waite: x = n ln 2 + r, |r| ≤ ln 2 / 2, and eʳ by its series, Horner's way.
    const SHIFT: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to a whole number.
    let clamped = x.clamp(-87.3, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = clamped - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let series =
        1.0 + r * (1.0 + r * (0.5 + r * (0.166_666_66 + r * (0.041_666_62 + r * (0.008_333_7 + r * 0.001_393)))));
    let scale = f32::from_bits(
        ((shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32).wrapping_add(127) << 23) as u32,
    );
    if x < -87.3 { 0.0 } else { series * scale }
}

/// tanh x within 4 units in the last place, without branches.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // Near 0 its series (Cephes' `tanhf`), for the other formula takes a small difference of numbers near 1.
    let z = x * x;
    let series = x + x
        * z
        * (-0.333_332_8 + z * (0.133_314_42 + z * (-0.053_739_716 + z * (0.020_639_088 + z * -0.005_704_988_8))));
    let e = exp(2.0 * x.abs());
    let far = (1.0 - 2.0 / (e + 1.0)).copysign(x);
    if x.abs() < 0.625 { series } else { far }
}

/// erf x within 2 units in the last place, without branches.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    // Minimax polynomials (N. Juffa): near 0 of erf itself, beyond it of the logarithm of what is left to 1.
    let far = x.abs().min(10.0);
    let z = far * far;
    let near = x + x
        * (0.128_379_17
            + z * (-0.376_125_34
                + z * (0.112_819_93 + z * (-0.026_768_135 + z * (0.004_991_194_4 + z * -0.000_596_761_7)))));
    let (high, low) = (3.831_971_3e-4 + far * -1.728_534_7e-5, 0.024_254_622 + far * -0.003_883_964_4);
    let log = far * (-0.128_717_51 + far * (-0.634_846_7 + far * (-0.106_777_88 + far * (low + z * high)))) - far;
    let beyond = (1.0 - exp(log)).copysign(x);
    if far < 0.927_734_4 { near } else { beyond }
}

/// A fixed sequence of numbers between ± `most`, and the tensor of them.
#[cfg(test)]
pub fn wave(shape: impl Into<Shape>, seed: f32, most: f32) -> FlexTensor {
    let shape = shape.into();
    let values = (0..shape.num_elements()).map(|i| ((i as f32 * 0.731 + seed) * 1.3).sin() * most).collect();
    tensor(values, shape)
}

/// Panics if two tensors differ by more than `allowed` of their largest number.
#[cfg(test)]
pub fn assert_close(got: &FlexTensor, want: &FlexTensor, allowed: f32, what: &str) {
    assert_close_among(got, want, allowed, 1e-3, what);
}

/// The same where numbers of size `among` are added up and may cancel.
#[cfg(test)]
pub fn assert_close_among(got: &FlexTensor, want: &FlexTensor, allowed: f32, among: f32, what: &str) {
    let (got, want) = (got.to_contiguous(), want.to_contiguous());
    let (got, want) = (floats(&got).unwrap_or_default(), floats(&want).unwrap_or_default());
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(among, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= allowed * largest, "{what}, {i}: {g} for {w}, of {largest}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_the_last_digits() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got / want - 1.0).abs() < 4e-7, "{x}: {got} {want}");
        }
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY), exp(-100.0)), (1.0, 0.0, 0.0));
        assert!(exp(1000.0).is_finite());
    }

    #[test]
    fn tangents_are_right_to_the_last_digits() {
        for i in -20_000..20_000 {
            let x = i as f32 / 1000.0;
            let (got, want) = (f64::from(tanh(x)), f64::from(x).tanh());
            assert!((got - want).abs() <= 2.4e-7 * want.abs(), "{x}: {got} {want}");
        }
        assert_eq!([0.0, 50.0, -50.0, f32::INFINITY].map(tanh), [0.0, 1.0, -1.0, 1.0]);
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn error_functions_are_right_to_the_last_digits() {
        // Python's math.erf of these numbers in f32.
        let points: [(f32, f64); 10] = [
            (0.001, 0.0011283788445643173),
            (0.1, 0.11246291768297051),
            (0.5, 0.5204998778130465),
            (0.9, 0.7969082004549685),
            (0.95, 0.8208908018180313),
            (1.2, 0.9103139909776066),
            (1.7, 0.9837904615810698),
            (2.3, 0.9988568231313698),
            (3.0, 0.9999779095030014),
            (3.7, 0.9999998328490031),
        ];
        for (x, want) in points {
            assert!((f64::from(erf(x)) - want).abs() <= 2.4e-7 * want, "{x}: {} {want}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!([0.0, 5.0, -5.0, f32::INFINITY].map(erf), [0.0, 1.0, -1.0, 1.0]);
    }

    #[test]
    fn dots_of_any_length() {
        for length in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let want: f32 = a.iter().map(|x| x * 2.0).sum();
            assert_eq!(dot(&a, &vec![2.0; length]), want);
        }
    }
}
