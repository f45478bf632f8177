//! A row of a GGUF file's blocks as words.

use super::blocks::{BlockFormat, Layout, Scales};

/// What the bytes of a block say.
struct Block {
    /// The word of one or two f16.
    head: u32,
    /// A signed byte for each part.
    scales: [u8; 16],
    minima: [u8; 16],
    /// The integers.
    q: [u8; 256],
}

/// Appends the words of a row. Blocks that lie in pairs are followed by zeros where there is no second.
pub fn row(format: BlockFormat, row: &[u8], words: &mut Vec<i32>) {
    let (numbers, bytes) = format.in_file();
    let layout = format.layout();
    for together in row.chunks(layout.block / numbers * bytes) {
        let mut block = Block { head: 0, scales: [0; 16], minima: [0; 16], q: [0; 256] };
        // The second of a pair is zeros where it is not there, which integers that are taken off would not be: its scale is.
        for (i, bytes) in together.chunks_exact(bytes).enumerate() {
            read(format, bytes, i, &mut block);
        }
        append(layout, &block, words);
    }
}

fn append(layout: Layout, block: &Block, words: &mut Vec<i32>) {
    let parts = layout.block / layout.part;
    words.push(block.head as i32);
    let mut bytes =
        |bytes: &[u8]| words.extend(bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    if matches!(layout.scales, Scales::Parts | Scales::PartsAndMinima) {
        bytes(&block.scales[..parts]);
    }
    if layout.scales == Scales::PartsAndMinima {
        bytes(&block.minima[..parts]);
    }
    for (bits, shift) in [(layout.low, 0), (layout.high, layout.low)].into_iter().filter(|(bits, _)| *bits > 0) {
        let field = |q: &u8| u32::from(*q) >> shift & ((1 << bits) - 1);
        words.extend(
            block.q[..layout.block]
                .chunks_exact(32 / bits)
                .map(|some| some.iter().enumerate().fold(0, |word, (i, q)| word | field(q) << (bits * i)) as i32),
        );
    }
}

/// The f16 that begins here, as bits.
fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from(bytes[at]) | u32::from(bytes[at + 1]) << 8
}

/// Nibbles of 16 bytes: low ones first, then high ones.
fn nibbles(bytes: &[u8], q: &mut [u8]) {
    let (low, high) = q.split_at_mut(16);
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
}

/// Adds the bits of a word to the integers, above the four that they have.
fn fifth(word: &[u8], q: &mut [u8]) {
    q[..32].iter_mut().enumerate().for_each(|(j, q)| *q |= (word[j / 8] >> (j % 8) & 1) << 4);
}

/// Scales and minima of Q4_K and Q5_K: six bits each in twelve bytes.
fn six_bits(s: &[u8], block: &mut Block) {
    for j in 0..4 {
        (block.scales[j], block.minima[j]) = (s[j] & 63, s[j + 4] & 63);
        block.scales[j + 4] = s[j + 8] & 15 | s[j] >> 6 << 4;
        block.minima[j + 4] = s[j + 8] >> 4 | s[j + 4] >> 6 << 4;
    }
}

/// Two bits of each number, as Q2_K, Q3_K, Q6_K and TQ2_0 have them: number 128 h + 32 t + l in byte 32 h + l, at 2 t.
fn two_bits(bytes: &[u8], mut put: impl FnMut(usize, u8)) {
    for i in 0..256 {
        let (h, t, l) = (i / 128, i / 32 % 4, i % 32);
        put(i, bytes[32 * h + l] >> (2 * t) & 3);
    }
}

/// Reads the `i`th block of those that lie together.
fn read(format: BlockFormat, b: &[u8], i: usize, block: &mut Block) {
    let of_pair = half(b, 0) << (16 * i);
    let q = &mut block.q;
    match format {
        BlockFormat::Q4_0 | BlockFormat::Iq4Nl => {
            block.head |= of_pair;
            nibbles(&b[2..], &mut q[32 * i..]);
        }
        BlockFormat::Q5_0 => {
            block.head |= of_pair;
            nibbles(&b[6..], &mut q[32 * i..]);
            fifth(&b[2..6], &mut q[32 * i..]);
        }
        BlockFormat::Q8_0 => {
            block.head |= of_pair;
            q[32 * i..][..32].copy_from_slice(&b[2..]);
        }
        BlockFormat::Q4_1 => {
            block.head = half(b, 0) | half(b, 2) << 16;
            nibbles(&b[4..], q);
        }
        BlockFormat::Q5_1 => {
            block.head = half(b, 0) | half(b, 2) << 16;
            nibbles(&b[8..], q);
            fifth(&b[4..8], q);
        }
        BlockFormat::Q2K => {
            block.head = half(b, 80) | half(b, 82) << 16;
            for (j, byte) in b[..16].iter().enumerate() {
                (block.scales[j], block.minima[j]) = (byte & 15, byte >> 4);
            }
            two_bits(&b[16..80], |i, bits| q[i] = bits);
        }
        BlockFormat::Q3K => {
            block.head = half(b, 108);
            let s = &b[96..108];
            for j in 0..16 {
                let low = if j < 8 { s[j] & 15 } else { s[j - 8] >> 4 };
                block.scales[j] = (low | (s[8 + j % 4] >> (2 * (j / 4)) & 3) << 4).wrapping_sub(32);
            }
            two_bits(&b[32..96], |i, bits| q[i] = bits | (b[i % 32] >> (i / 32) & 1) << 2);
        }
        BlockFormat::Q4K | BlockFormat::Q5K => {
            block.head = half(b, 0) | half(b, 2) << 16;
            let five = format == BlockFormat::Q5K;
            let low = if five { 48 } else { 16 };
            for (i, q) in q.iter_mut().enumerate() {
                let (j, l) = (i / 32, i % 32);
                let nibble = b[low + 32 * (j / 2) + l] >> (4 * (j % 2)) & 15;
                *q = nibble | if five { (b[16 + l] >> j & 1) << 4 } else { 0 };
            }
            six_bits(&b[4..16], block);
        }
        BlockFormat::Q6K => {
            block.head = half(b, 208);
            block.scales.copy_from_slice(&b[192..208]);
            two_bits(&b[128..192], |i, high| {
                let (h, t, l) = (i / 128, i / 32 % 4, i % 32);
                q[i] = b[64 * h + 32 * (t & 1) + l] >> (4 * (t / 2)) & 15 | high << 4;
            });
        }
        BlockFormat::Iq4Xs => {
            block.head = half(b, 0);
            let high = half(b, 2);
            for j in 0..8 {
                let low = b[4 + j / 2] >> (4 * (j % 2)) & 15;
                block.scales[j] = (low | ((high >> (2 * j) & 3) as u8) << 4).wrapping_sub(32);
                nibbles(&b[8 + 16 * j..][..16], &mut q[32 * j..]);
            }
        }
        BlockFormat::Tq2_0 => {
            block.head = half(b, 64);
            two_bits(&b[..64], |i, bits| q[i] = bits);
        }
        BlockFormat::Tq1_0 => {
            block.head = half(b, 52);
            let digit = |byte: u8, n: u32| ((u16::from(byte.wrapping_mul(3_u8.pow(n))) * 3) >> 8) as u8;
            let mut at = 0;
            for (bytes, digits) in [(&b[..32], 5), (&b[32..48], 5), (&b[48..52], 4)] {
                for n in 0..digits {
                    for byte in bytes {
                        q[at] = digit(*byte, n);
                        at += 1;
                    }
                }
            }
        }
    }
}
