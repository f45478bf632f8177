//! A matrix's largest directions.

use burn::tensor::{Tensor, TensorData};
use nalgebra::DMatrix;
use rand::RngExt;
use stratune_protocol::{Problem, draws};
use stratune_runtime::read_f32;

use crate::PeftError;

/// Directions beyond the wanted ones that the iteration carries along: they make it converge.
const BEYOND: usize = 8;

/// Iterations. The error falls by (σ of the first left out / σ of the last wanted)² each time.
const ITERATIONS: usize = 60;

/// PiSSA's start (Meng et al. 2024, arXiv 2404.02948, eqs. 2 and 3): A `[rank, in]` and B `[out, rank]` with `scale · BA`
/// the best approximation of `weight` of this rank, both factors holding the square root of the singular values.
///
/// # Errors
/// The device does not answer.
pub(crate) async fn factors(weight: &Tensor<2>, rank: usize, scale: f32) -> Result<(Tensor<2>, Tensor<2>), PeftError> {
    let ([out, inputs], device) = (weight.dims(), weight.device());
    let host = read_f32(weight.clone()).await.map_err(|e| PeftError::Device(Box::new(e)))?;
    let host = DMatrix::from_row_iterator(out, inputs, host.into_iter().map(f64::from));
    let (u, sigma, vt) = largest(&host, rank);
    let root = |k: usize| (sigma[k] / f64::from(scale)).sqrt();
    let a: Vec<f32> =
        (0..rank).flat_map(|k| (0..inputs).map(move |j| (k, j))).map(|(k, j)| (vt[(k, j)] * root(k)) as f32).collect();
    let b: Vec<f32> =
        (0..out).flat_map(|i| (0..rank).map(move |k| (i, k))).map(|(i, k)| (u[(i, k)] * root(k)) as f32).collect();
    Ok((
        Tensor::from_data(TensorData::new(a, [rank, inputs]), &device),
        Tensor::from_data(TensorData::new(b, [out, rank]), &device),
    ))
}

/// The `rank` largest directions of a matrix on its smaller side, as rows: left ones, `[rank, rows]`, of a wide matrix,
/// right ones, `[rank, columns]`, of a tall or square one (GaLore: Zhao et al. 2024, arXiv 2403.03507, eq. 12).
///
/// # Errors
/// The device does not answer.
pub async fn singular_vectors(matrix: &Tensor<2>, rank: usize) -> Result<Tensor<2>, Problem> {
    let ([rows, columns], device) = (matrix.dims(), matrix.device());
    let host = read_f32(matrix.clone()).await?;
    let host = DMatrix::from_row_iterator(rows, columns, host.into_iter().map(f64::from));
    let (u, _, vt) = largest(&host, rank);
    let (side, vectors) = if rows >= columns { (columns, vt) } else { (rows, u.transpose()) };
    let values: Vec<f32> =
        (0..rank).flat_map(|k| (0..side).map(move |j| (k, j))).map(|at| vectors[at] as f32).collect();
    Ok(Tensor::from_data(TensorData::new(values, [rank, side]), &device))
}

/// The `rank` largest singular triplets, by subspace iteration with a Rayleigh-Ritz step at the end
/// (Halko et al. 2011, algorithm 4.4 and §5.1).
fn largest(matrix: &DMatrix<f64>, rank: usize) -> (DMatrix<f64>, Vec<f64>, DMatrix<f64>) {
    let (rows, columns) = matrix.shape();
    let width = (rank + BEYOND).min(rows).min(columns);
    let mut rng = draws(0, "subspace", [0, 0]);
    let start = DMatrix::from_fn(columns, width, |_, _| rng.random_range(-1.0..1.0));
    let mut basis = (matrix * start).qr().q();
    if width < rows.min(columns) {
        for _ in 0..ITERATIONS {
            let right = matrix.tr_mul(&basis).qr().q();
            basis = (matrix * right).qr().q();
        }
    }
    // The small problem: matrix ≈ basis · (basisᵀ matrix).
    let small = basis.tr_mul(matrix).svd(true, true);
    let (u, vt) = (small.u.unwrap_or_default(), small.v_t.unwrap_or_default());
    let u = basis * u;
    (
        u.columns(0, rank).into_owned(),
        small.singular_values.iter().take(rank).copied().collect(),
        vt.rows(0, rank).into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_directions_are_those_of_the_whole_decomposition() {
        let mut rng = draws(3, "matrix", [0, 0]);
        for (rows, columns, rank) in [(40, 24, 5), (24, 40, 5), (12, 9, 9), (6, 6, 1)] {
            let matrix = DMatrix::from_fn(rows, columns, |_, _| rng.random_range(-1.0..1.0));
            let (u, sigma, vt) = largest(&matrix, rank);
            let whole = matrix.clone().svd(true, true);
            for k in 0..rank {
                assert!((sigma[k] - whole.singular_values[k]).abs() < 1e-9 * sigma[0], "{rows}×{columns} {k}");
            }
            // What is left is as small as the first value left out says, in the spectral norm.
            let middle = DMatrix::from_diagonal(&nalgebra::DVector::from_vec(sigma));
            let left = (matrix - u * middle * vt).svd(false, false).singular_values[0];
            let bound = whole.singular_values.get(rank).copied().unwrap_or(0.0);
            assert!((left - bound).abs() < 1e-7, "{left} {bound}");
        }
    }
}
