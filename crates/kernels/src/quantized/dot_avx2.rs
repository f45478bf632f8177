//! The steps of a row's product where AVX2 is the widest there is: as plain loops they are compiled into packing and unpacking
//! of bytes, at half the speed.

use std::arch::x86_64::{
    __m256i, _mm_cvtsi32_si128, _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi32, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sll_epi32,
    _mm256_sra_epi32, _mm256_srl_epi32, _mm256_storeu_ps,
};

use super::blocks::Layout;
use super::dot::{LANES, Lanes, Steps};

/// Numbers of a vector.
const WIDE: usize = 8;

/// With AVX2 and FMA.
pub struct Avx2;

impl Steps for Avx2 {
    #[inline(always)]
    unsafe fn steps(layout: Layout, low_bits: &[i32; LANES], high_bits: &[i32; LANES], x: &[Lanes]) -> Lanes {
        let mut sums = [0.0; LANES];
        for from in [0, WIDE] {
            // SAFETY: the features are there, as the caller says; each slice has `LANES` numbers of which eight are taken from 0 or
            // from 8.
            unsafe {
                let of = |words: &[i32; LANES]| _mm256_loadu_si256(words.as_ptr().add(from).cast());
                let bits = Bits::new(layout, of(low_bits), of(high_bits));
                let mut sum = _mm256_setzero_ps();
                for (t, x) in x.iter().enumerate() {
                    let numbers = _mm256_cvtepi32_ps(bits.of_step(t));
                    sum = _mm256_fmadd_ps(numbers, _mm256_loadu_ps(x.as_ptr().add(from)), sum);
                }
                _mm256_storeu_ps(sums.as_mut_ptr().add(from), sum);
            }
        }
        sums
    }
}

/// The words of eight lanes, from which each step takes a number.
struct Bits {
    layout: Layout,
    low: __m256i,
    high: __m256i,
    /// Where numbers of 4 low bits have high ones: a byte each, those of even steps and those of odd ones.
    bytes: [__m256i; 2],
}

impl Bits {
    #[inline(always)]
    unsafe fn new(layout: Layout, low: __m256i, high: __m256i) -> Self {
        // SAFETY: the caller's.
        unsafe {
            let mut bits = Self { layout, low, high, bytes: [_mm256_setzero_si256(); 2] };
            if layout.low == 4 && layout.high > 0 {
                let each = layout.high as i32;
                // The bits of steps 0 to 3 in the lower half of the word, those of 4 to 7 in the upper one.
                let apart = _mm256_or_si256(high, left(high, 16 - 4 * each));
                let apart = _mm256_and_si256(apart, _mm256_set1_epi32(((1 << (4 * each)) - 1) * 0x0001_0001));
                let place = _mm256_set1_epi32((((1 << each) - 1) << 4) * 0x0001_0001);
                let next = _mm256_set1_epi32(((((1 << each) - 1) << 12) * 0x0001_0001_u32) as i32);
                for (odd, bytes) in [0, 1].into_iter().zip(&mut bits.bytes) {
                    let first = _mm256_and_si256(left(apart, 4 - odd * each), place);
                    let second = _mm256_and_si256(left(apart, 12 - (2 + odd) * each), next);
                    let low = _mm256_and_si256(right(low, 4 * odd), _mm256_set1_epi32(0x0f0f_0f0f));
                    *bytes = _mm256_or_si256(low, _mm256_or_si256(first, second));
                }
            }
            bits
        }
    }

    /// The integers of a step.
    #[inline(always)]
    unsafe fn of_step(&self, t: usize) -> __m256i {
        let Layout { low, high, .. } = self.layout;
        let (bits, step) = (low as i32, t as i32);
        // SAFETY: the caller's.
        unsafe {
            if low == 8 {
                // The sign of bytes comes along.
                return _mm256_sra_epi32(left(self.low, 24 - 8 * step), _mm_cvtsi32_si128(24));
            }
            if low == 4 && high > 0 {
                return _mm256_and_si256(right(self.bytes[t % 2], step / 2 * 8), _mm256_set1_epi32(0xff));
            }
            let lower = _mm256_and_si256(right(self.low, bits * step), _mm256_set1_epi32((1 << bits) - 1));
            if high == 0 {
                return lower;
            }
            let (each, mask) = (high as i32, ((1 << high) - 1) << low);
            let by = bits - each * step;
            let upper = if by >= 0 { left(self.high, by) } else { right(self.high, -by) };
            _mm256_or_si256(lower, _mm256_and_si256(upper, _mm256_set1_epi32(mask)))
        }
    }
}

#[inline(always)]
unsafe fn left(words: __m256i, by: i32) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_sll_epi32(words, _mm_cvtsi32_si128(by)) }
}

#[inline(always)]
unsafe fn right(words: __m256i, by: i32) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_srl_epi32(words, _mm_cvtsi32_si128(by)) }
}
