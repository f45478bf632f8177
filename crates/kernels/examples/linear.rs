//! How fast a linear layer is on the graphics adapter: burn's own matmul, and ours, in one run; in half precision too,
//! where the adapter has it.
//!
//! `cargo run --release -p stratune-kernels --features cpu,wgpu --example linear`

use std::error::Error;

use burn::tensor::{Device, Distribution, Tensor};
use stratune_kernels::{Compute, Matrix, compute_dtypes, linear, linear_by_pieces};
use stratune_protocol::ComputeDtype;
use stratune_runtime::{Stopwatch, block_on, open_wgpu, read_f32};

/// Rows, inputs and outputs; the last four are those of adapters of rank 16 and 32.
const SIZES: [[usize; 3]; 7] = [
    [256, 256, 256],
    [512, 512, 512],
    [1024, 576, 1536],
    [256, 512, 16],
    [256, 16, 512],
    [256, 512, 32],
    [256, 32, 512],
];

/// For hardware alone: a software adapter would take minutes.
const LARGE: [[usize; 3]; 3] = [[1024, 1024, 1024], [2048, 2048, 2048], [4096, 4096, 4096]];

/// Runs of which the fastest counts.
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let opened = block_on(open_wgpu())?;
    println!("{}", opened.info.name);
    println!("rows × in × out, GFLOP/s, the engine's → ours");
    let large = if opened.info.software { &LARGE[..0] } else { &LARGE[..] };
    for [rows, features, out] in SIZES.iter().chain(large).copied() {
        let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &opened.device);
        let x = random([rows, features]);
        let weight = random([out, features]);
        let dy = random([rows, out]);
        let batch = x.clone().unsqueeze::<3>();

        let engine = seconds(&opened.device, || Some(x.clone().matmul(weight.clone().transpose())))?;
        let ours = seconds(&opened.device, || Some(linear(batch.clone(), weight.clone()).squeeze_dim(0)))?;
        let backward = |product: &dyn Fn(Tensor<3>, Tensor<2>) -> Tensor<3>| {
            seconds(&opened.device, || {
                let (x, weight) = (batch.clone().autodiff().require_grad(), weight.clone().autodiff().require_grad());
                let y = product(x, weight.clone()).squeeze_dim::<2>(0);
                let gradients = (y * dy.clone().autodiff()).sum().backward();
                weight.grad(&gradients)
            })
        };
        let engine_step = backward(&|x, w| x.squeeze_dim::<2>(0).matmul(w.transpose()).unsqueeze())?;
        let ours_step = backward(&|x, w| linear(x, w))?;

        let work = 2e-9 * (rows * features * out) as f64;
        println!(
            "{rows}×{features}×{out}: forward {:.2} → {:.2}, forward and both gradients {:.2} → {:.2}",
            work / engine,
            work / ours,
            3.0 * work / engine_step,
            3.0 * work / ours_step
        );
        // What is narrower stays f32.
        let wide = rows.min(features).min(out) > 32;
        let half = |dtype: &ComputeDtype| wide && *dtype != ComputeDtype::F32;
        for dtype in compute_dtypes(&opened.device).into_iter().filter(half) {
            let (pieces, compute) = ([Matrix::from(weight.clone())], Compute::new(dtype));
            let product = || linear_by_pieces(batch.clone(), &pieces, compute);
            let ours = seconds(&opened.device, || Some(product().squeeze_dim(0)))?;
            println!("  in {dtype}: forward {:.2}", work / ours);
        }
    }
    Ok(())
}

/// The fastest of some runs, after one that compiles. A value is read, because only that waits for the device.
fn seconds(device: &Device, run: impl Fn() -> Option<Tensor<2>>) -> Result<f64, Box<dyn Error>> {
    let mut fastest = f64::INFINITY;
    for i in 0..=RUNS {
        device.sync()?;
        let clock = Stopwatch::start();
        let result = run().ok_or("no gradient")?;
        block_on(read_f32(result.narrow(0, 0, 1).narrow(1, 0, 1)))?;
        if i > 0 {
            fastest = fastest.min(clock.seconds());
        }
    }
    Ok(fastest)
}
