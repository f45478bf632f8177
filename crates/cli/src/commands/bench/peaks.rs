//! What the device can do at best: measured, not looked up.

use burn::tensor::{Device, Tensor};
use stratune_kernels::linear;
use stratune_protocol::Problem;
use stratune_runtime::{Stopwatch, read_f32};

/// Side of the product that is timed.
const SIDE: usize = 1024;
/// Floats that are copied.
const FLOATS: usize = 1 << 24;
/// The fastest of so many counts.
const RUNS: usize = 8;
/// Seconds after which those that have been made are enough: a software adapter takes as long for one.
const ENOUGH: f64 = 1.0;

/// The best that was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Floating-point operations a second, in a linear layer of 1024 × 1024 on 1024 rows.
    pub flops: f64,
    /// Bytes read and written a second, in adding a number to 64 MiB.
    pub bytes: f64,
}

impl Peaks {
    /// Measures.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn measure(device: &Device) -> Result<Self, Problem> {
        let x = Tensor::<3>::full([1, SIDE, SIDE], 0.5, device);
        let weight = Tensor::<2>::full([SIDE, SIDE], 0.25, device);
        let long = Tensor::<1>::zeros([FLOATS], device);
        let (mut product, mut copy) = (f64::MAX, f64::MAX);
        let whole = Stopwatch::start();
        for run in 0..RUNS {
            if run > 0 && whole.seconds() > ENOUGH {
                break;
            }
            let clock = Stopwatch::start();
            // Reading one number waits for all of them.
            read_f32(linear(x.clone(), weight.clone()).slice([0..1, 0..1, 0..1])).await?;
            product = product.min(clock.seconds());
            let clock = Stopwatch::start();
            read_f32(long.clone().add_scalar(1.0).narrow(0, 0, 1)).await?;
            copy = copy.min(clock.seconds());
        }
        Ok(Self { flops: 2.0 * (SIDE as f64).powi(3) / product, bytes: 8.0 * FLOATS as f64 / copy })
    }
}
