//! How fast a row is multiplied with a matrix in the bits of a GGUF file, as generating a text has it: numbers of the matrix a
//! nanosecond, on one core.
//!
//! ```sh
//! cargo run --release --package stratune-kernels --no-default-features --features cpu --example quantized_rows
//! ```

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use stratune_kernels::{BlockFormat, Matrix, Quantized, linear};

/// A layer of a small model: more than a cache holds.
const SIDES: [usize; 2] = [4608, 1536];
/// Products at a time, and times, of which the fastest counts.
const TURNS: [usize; 2] = [5, 9];

fn main() {
    // SAFETY: no other thread is there yet.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    let device = Device::flex();
    let x = Tensor::<3>::random([1, 1, SIDES[1]], Distribution::Default, &device);
    for format in BlockFormat::ALL {
        let (numbers, bytes) = format.in_file();
        let all = SIDES[0] * SIDES[1];
        // Any bytes take as long; these are small scales.
        let blocks = vec![0x22; all / numbers * bytes];
        let matrix = Matrix::Quantized(Quantized::of_blocks(&blocks, SIDES, format, &device));
        let product = || black_box(linear(x.clone(), matrix.clone()).into_data());
        product();
        let turn = |_| {
            let clock = Instant::now();
            (0..TURNS[0]).for_each(|_| drop(product()));
            clock.elapsed().as_secs_f64() / TURNS[0] as f64
        };
        let fastest = (0..TURNS[1]).map(turn).fold(f64::MAX, f64::min);
        println!("{:7} {:5.1} numbers a nanosecond", format.name(), all as f64 / fastest / 1e9);
    }
}
