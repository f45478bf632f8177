//! Is a fastfood map what its definition is on this device, and its gradient the adjoint's?

use burn::tensor::{Device, Tensor, TensorData};
use stratune_runtime::read_f32;

use super::Fault;
use super::host::{compare, gradient_of, wave};
use crate::Fastfood;

/// `H x`, by sums and differences of pairs.
pub fn hadamard(mut x: Vec<f64>) -> Vec<f64> {
    let mut half = 1;
    while half < x.len() {
        for pairs in x.chunks_exact_mut(2 * half) {
            let (a, b) = pairs.split_at_mut(half);
            a.iter_mut().zip(b).for_each(|(a, b)| (*a, *b) = (*a + *b, *a - *b));
        }
        half *= 2;
    }
    x
}

/// Of length `n`, a power of two: `dimension` numbers spread over `count`, and what comes back.
pub async fn fastfood_is_right(device: &Device, n: usize, dimension: usize, count: usize) -> Result<(), Fault> {
    let name = format!("fastfood of {n}, {dimension} over {count}");
    let signs: Vec<f32> = wave(n, 0.61).into_iter().map(f32::signum).collect();
    let gains = wave(n, 0.43);
    // Any odd number of steps goes round a power of two.
    let order: Vec<usize> = (0..n).map(|i| (i * 37 + 11) % n).collect();
    let places = order.iter().map(|place| *place as i32).collect();
    let map = Fastfood::new(signs.clone(), places, gains.clone(), device);
    let (v, dy) = (wave(dimension, 0.37), wave(count, 0.83));
    let there = |values: &[f32]| Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
    let x = there(&v).autodiff().require_grad();
    let y = map.spread(x.clone(), count);
    let mut tape = (y.clone() * there(&dy).autodiff()).sum().backward();

    let padded = |values: &[f32]| -> Vec<f64> {
        values.iter().map(|v| f64::from(*v)).chain(std::iter::repeat(0.0)).take(n).collect()
    };
    let scaled = |x: Vec<f64>, by: &[f32]| -> Vec<f64> { x.iter().zip(by).map(|(x, by)| x * f64::from(*by)).collect() };
    let floats = |x: Vec<f64>| -> Vec<f32> { x.into_iter().map(|x| x as f32).collect() };
    let mixed = hadamard(scaled(padded(&v), &signs));
    let ordered = order.iter().map(|from| mixed[*from]).collect();
    let want = floats(hadamard(scaled(ordered, &gains)));
    compare(&name, &read_f32(y.inner()).await?, &want[..count])?;
    let back = scaled(hadamard(padded(&dy)), &gains);
    let mut placed = vec![0.0; n];
    order.iter().zip(back).for_each(|(to, back)| placed[*to] = back);
    let want = floats(scaled(hadamard(placed), &signs));
    compare(&format!("gradient of {name}"), &read_f32(gradient_of(&x, &mut tape)?).await?, &want[..dimension])
}
