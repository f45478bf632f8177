//! Blocks of few bits as integers and what they are multiplied by, and as floats.
//!
//! A weight is `scale · (code − zero) − minimum`, or `scale · table[code]`. Scales and minimums are f32 and made as the
//! reference makes them: a scale of 8 bits times one of 16 fits into an f32, and so does that times a code, so that no
//! weight is rounded but once, where a minimum is taken away.

use half::{bf16, f16};

use super::block_type::BlockType;

/// What IQ4_NL and IQ4_XS have for each code.
pub const TABLE_IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// What MXFP4 has for each code: twice a float of 4 bits.
pub const TABLE_FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// How a block type's weights are made of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockForm {
    /// Bits of a code.
    pub bits: usize,
    /// Weights that share a scale.
    pub length: usize,
    /// The code of 0.
    pub zero: u8,
    /// Whether there is a minimum beside each scale.
    pub minimum: bool,
    /// What codes stand for, if not for themselves less `zero`.
    pub table: Option<&'static [i8; 16]>,
}

/// Weights in the order of their row: a code each, and a scale for each `form.length` of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocks {
    /// How weights are made of them.
    pub form: BlockForm,
    /// Of each weight.
    pub codes: Vec<u8>,
    /// Of each `form.length` weights.
    pub scales: Vec<f32>,
    /// The same; empty where the form has none.
    pub minimums: Vec<f32>,
}

impl BlockType {
    /// How its weights are made of integers; none of floats.
    pub fn form(self) -> Option<BlockForm> {
        let plain = |bits, length, zero| BlockForm { bits, length, zero, minimum: false, table: None };
        let with_minimum = |bits, length| BlockForm { minimum: true, ..plain(bits, length, 0) };
        let of_table = |table| BlockForm { table: Some(table), ..plain(4, 32, 0) };
        Some(match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::F64 => return None,
            Self::Q4_0 => plain(4, 32, 8),
            Self::Q5_0 => plain(5, 32, 16),
            Self::Q8_0 => plain(8, 32, 128),
            Self::Q3_K => plain(3, 16, 4),
            Self::Q6_K => plain(6, 16, 32),
            Self::TQ1_0 | Self::TQ2_0 => plain(2, 256, 1),
            Self::Q4_1 | Self::Q4_K => with_minimum(4, 32),
            Self::Q5_1 | Self::Q5_K => with_minimum(5, 32),
            Self::Q2_K => with_minimum(2, 16),
            Self::IQ4_NL | Self::IQ4_XS => of_table(&TABLE_IQ4),
            Self::MXFP4 => of_table(&TABLE_FP4),
        })
    }

    /// The weights of whole blocks, as the reference makes them, to the bit. Bytes behind the last whole block are left out.
    pub fn dequantize(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Self::F16 => bytes.chunks_exact(2).map(half).collect(),
            Self::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Self::F64 => bytes
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
                .collect(),
            _ => Blocks::of(self, bytes).map(|blocks| blocks.weights()).unwrap_or_default(),
        }
    }
}

impl Blocks {
    /// Unpacks whole blocks; none if the type is floats. Bytes behind the last whole block are left out.
    pub fn of(of: BlockType, bytes: &[u8]) -> Option<Self> {
        let form = of.form()?;
        let count = bytes.len() / of.bytes() * of.length();
        let mut blocks = Self {
            form,
            codes: Vec::with_capacity(count),
            scales: Vec::with_capacity(count / form.length),
            minimums: Vec::with_capacity(if form.minimum { count / form.length } else { 0 }),
        };
        for block in bytes.chunks_exact(of.bytes()) {
            blocks.add(of, block);
        }
        Some(blocks)
    }

    /// The weights.
    pub fn weights(&self) -> Vec<f32> {
        let BlockForm { length, zero, minimum, table, .. } = self.form;
        let integer = |code: u8| match table {
            Some(table) => f32::from(table[usize::from(code & 15)]),
            None => f32::from(i16::from(code) - i16::from(zero)),
        };
        let mut weights = Vec::with_capacity(self.codes.len());
        for (i, (codes, scale)) in self.codes.chunks(length).zip(&self.scales).enumerate() {
            match minimum {
                true => weights.extend(codes.iter().map(|&code| scale * integer(code) - self.minimums[i])),
                false => weights.extend(codes.iter().map(|&code| scale * integer(code))),
            }
        }
        weights
    }

    /// Unpacks one block, which has the bytes of its type.
    fn add(&mut self, of: BlockType, b: &[u8]) {
        let d = half(b);
        match of {
            BlockType::F32 | BlockType::F16 | BlockType::BF16 | BlockType::F64 => {}
            BlockType::Q4_0 | BlockType::IQ4_NL => {
                self.scales.push(d);
                self.nibbles(&b[2..]);
            }
            BlockType::Q4_1 => {
                self.scales.push(d);
                self.minimums.push(-half(&b[2..]));
                self.nibbles(&b[4..]);
            }
            BlockType::Q5_0 => {
                self.scales.push(d);
                self.nibbles_and_bits(&b[6..], &b[2..6]);
            }
            BlockType::Q5_1 => {
                self.scales.push(d);
                self.minimums.push(-half(&b[2..]));
                self.nibbles_and_bits(&b[8..], &b[4..8]);
            }
            BlockType::Q8_0 => {
                self.scales.push(d);
                self.codes.extend(b[2..].iter().map(|q| q ^ 0x80));
            }
            BlockType::MXFP4 => {
                self.scales.push(half_power_of_two(b[0]));
                self.nibbles(&b[1..]);
            }
            BlockType::Q2_K => self.q2_k(b),
            BlockType::Q3_K => self.q3_k(b),
            BlockType::Q4_K | BlockType::Q5_K => self.q4_or_5_k(b),
            BlockType::Q6_K => self.q6_k(b),
            BlockType::IQ4_XS => {
                let high = u16::from_le_bytes([b[2], b[3]]);
                for i in 0..8 {
                    let low = b[4 + i / 2] >> (4 * (i % 2)) & 15;
                    let scale = i16::from(low) | ((high >> (2 * i) & 3) << 4) as i16;
                    self.scales.push(d * f32::from(scale - 32));
                    self.nibbles(&b[8 + 16 * i..24 + 16 * i]);
                }
            }
            BlockType::TQ1_0 => {
                self.scales.push(half(&b[52..]));
                self.threes(&b[..32], 5);
                self.threes(&b[32..48], 5);
                self.threes(&b[48..52], 4);
            }
            BlockType::TQ2_0 => {
                self.scales.push(half(&b[64..]));
                for bytes in b[..64].chunks_exact(32) {
                    for shift in [0, 2, 4, 6] {
                        self.codes.extend(bytes.iter().map(|q| q >> shift & 3));
                    }
                }
            }
        }
    }

    /// 32 codes in 16 bytes: the low halves, then the high ones.
    fn nibbles(&mut self, bytes: &[u8]) {
        self.codes.extend(bytes.iter().map(|q| q & 15));
        self.codes.extend(bytes.iter().map(|q| q >> 4));
    }

    /// The same with a fifth bit of each.
    fn nibbles_and_bits(&mut self, bytes: &[u8], bits: &[u8]) {
        let fifth = |i: usize| (bits[i / 8] >> (i % 8) & 1) << 4;
        self.codes.extend(bytes.iter().enumerate().map(|(i, q)| q & 15 | fifth(i)));
        self.codes.extend(bytes.iter().enumerate().map(|(i, q)| q >> 4 | fifth(i + 16)));
    }

    fn q2_k(&mut self, b: &[u8]) {
        let (d, minimum) = (half(&b[80..]), half(&b[82..]));
        for scale in &b[..16] {
            self.scales.push(d * f32::from(scale & 15));
            self.minimums.push(minimum * f32::from(scale >> 4));
        }
        for bytes in b[16..80].chunks_exact(32) {
            for shift in [0, 2, 4, 6] {
                self.codes.extend(bytes.iter().map(|q| q >> shift & 3));
            }
        }
    }

    fn q3_k(&mut self, b: &[u8]) {
        let (high, low, packed, d) = (&b[..32], &b[32..96], &b[96..108], half(&b[108..]));
        for i in 0..16 {
            let four = if i < 8 { packed[i] & 15 } else { packed[i - 8] >> 4 };
            let two = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
            self.scales.push(d * f32::from(i16::from(four | two << 4) - 32));
        }
        for (side, bytes) in low.chunks_exact(32).enumerate() {
            for t in 0..4 {
                let code = |(q, h): (&u8, &u8)| q >> (2 * t) & 3 | (h >> (4 * side + t) & 1) << 2;
                self.codes.extend(bytes.iter().zip(high).map(code));
            }
        }
    }

    fn q4_or_5_k(&mut self, b: &[u8]) {
        let (d, minimum, packed) = (half(b), half(&b[2..]), &b[4..16]);
        // A fifth bit of each code lies before the others.
        let (fifth, codes) = b[16..].split_at(b.len() - 16 - 128);
        for j in 0..8 {
            let (scale, least) = match j {
                0..4 => (packed[j] & 63, packed[j + 4] & 63),
                _ => (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4),
            };
            self.scales.push(d * f32::from(scale));
            self.minimums.push(minimum * f32::from(least));
            for l in 0..32 {
                let four = codes[32 * (j / 2) + l] >> (4 * (j % 2)) & 15;
                self.codes.push(four | fifth.get(l).map_or(0, |bits| (bits >> j & 1) << 4));
            }
        }
    }

    fn q6_k(&mut self, b: &[u8]) {
        let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(&b[208..]));
        self.scales.extend(scales.iter().map(|&scale| d * f32::from(scale as i8)));
        for side in 0..2 {
            for t in 0..4 {
                for l in 0..32 {
                    let four = low[64 * side + 32 * (t & 1) + l] >> (4 * (t / 2)) & 15;
                    self.codes.push(four | (high[32 * side + l] >> (2 * t) & 3) << 4);
                }
            }
        }
    }

    /// So many digits of base three of each byte, the first of all bytes before the second of any.
    fn threes(&mut self, bytes: &[u8], digits: u32) {
        for n in 0..digits {
            let digit = |byte: &u8| ((u16::from(byte.wrapping_mul(3_u8.pow(n))) * 3) >> 8) as u8;
            self.codes.extend(bytes.iter().map(digit));
        }
    }
}

/// The f16 at the front of these bytes.
fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// 2^(e − 128).
fn half_power_of_two(e: u8) -> f32 {
    // The two smallest have no exponent of their own.
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}

#[cfg(all(test, not(target_family = "wasm")))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::rc::Rc;

    use pollster::block_on;

    use super::*;
    use crate::disk::DiskFolder;
    use crate::gguf::Gguf;

    /// Blocks of every type, and what the reference makes of each.
    fn fixture() -> Gguf {
        let folder = DiskFolder::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/gguf")).unwrap();
        block_on(Gguf::open(Rc::new(folder), vec!["blocks.gguf".into()])).unwrap()
    }

    fn bytes(of: &Gguf, name: &str) -> Vec<u8> {
        block_on(of.bytes(name, 0..of.size(name))).unwrap()
    }

    #[test]
    fn every_type_gives_the_bits_of_the_reference() {
        let file = fixture();
        for of in BlockType::all() {
            let name = of.name();
            if of == BlockType::F32 {
                continue;
            }
            assert_eq!(file.block_type(name), Some(of));
            let want = BlockType::F32.dequantize(&bytes(&file, &format!("{name}.f32")));
            let have = of.dequantize(&bytes(&file, name));
            assert_eq!(have.len(), want.len(), "{name}");
            let first = have.iter().zip(&want).position(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(first, None, "{name}: {:?} and {:?}", &have[first.unwrap_or(0)], &want[first.unwrap_or(0)]);
        }
    }

    #[test]
    fn the_form_says_how_weights_are_made() {
        let file = fixture();
        for of in BlockType::all().filter(|of| !of.is_float()) {
            let blocks = Blocks::of(of, &bytes(&file, of.name())).unwrap();
            let form = blocks.form;
            let count = blocks.codes.len();
            assert_eq!(Some(form), of.form());
            assert_eq!(blocks.scales.len() * form.length, count, "{of:?}");
            assert_eq!(blocks.minimums.len(), if form.minimum { blocks.scales.len() } else { 0 });
            let largest = blocks.codes.iter().copied().max().unwrap();
            assert!(u32::from(largest) < 1 << form.bits, "{of:?}: {largest} in {} bits", form.bits);
            // All bits are of use: the fixture has every code.
            assert!(usize::from(largest) >= if of == BlockType::TQ1_0 { 2 } else { (1 << form.bits) - 1 }, "{of:?}");
        }
        assert!(Blocks::of(BlockType::F16, &[0; 4]).is_none());
    }

    #[test]
    fn the_lowest_number_of_eight_bits_survives() {
        let mut block = [0_u8; 34];
        block[..2].copy_from_slice(&f16::from_f32(-0.5).to_le_bytes());
        block[2] = 0x80;
        assert_eq!(BlockType::Q8_0.dequantize(&block)[0], 64.0);
        // The smallest scale of E8M0 is no normal f32.
        let mut block = [0_u8; 17];
        block[1] = 1;
        assert_eq!(BlockType::MXFP4.dequantize(&block)[0], 2.0_f32.powi(-128));
    }
}
