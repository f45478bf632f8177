//! Random draws that depend on nothing but their name and place.
//!
//! A draw is keyed by the run's seed, what it is for, and where in the run it happens. So there is no generator state to
//! save: a resumed run draws what the uninterrupted one would have drawn, on every target.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The generator for the draws called `what` at the place `at` (a step, a block …; two numbers at most count).
pub fn draws(seed: u64, what: &str, at: [u64; 2]) -> ChaCha8Rng {
    let mut key = [0_u8; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, fnv1a(what), at[0], at[1]]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Normal numbers with standard deviation `std`, by Box and Muller.
pub fn normals(rng: &mut ChaCha8Rng, count: usize, std: f32) -> Vec<f32> {
    let mut normal = || {
        let (u, v): (f32, f32) = (rng.random_range(f32::EPSILON..1.0), rng.random_range(0.0..1.0));
        std * (-2.0 * u.ln()).sqrt() * (2.0 * std::f32::consts::PI * v).cos()
    };
    (0..count).map(|_| normal()).collect()
}

/// The 64-bit FNV-1a hash: stable for ever, unlike the standard library's.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::Rng;

    use super::*;

    #[test]
    fn every_part_of_the_key_matters_and_nothing_else() {
        let first = |seed, what, at| draws(seed, what, at).next_u64();
        assert_eq!(first(1, "a", [2, 3]), first(1, "a", [2, 3]));
        for other in [first(0, "a", [2, 3]), first(1, "b", [2, 3]), first(1, "a", [0, 3]), first(1, "a", [2, 0])] {
            assert_ne!(first(1, "a", [2, 3]), other);
        }
    }
}
