//! A tensor in host memory, and how its numbers are written in a file.

use half::{bf16, f16};
use stratune_protocol::{Problem, ProblemKind};

/// A tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The numbers in row-major order.
    pub data: Vec<f32>,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// 32-bit IEEE 754.
    F32,
    /// 16-bit IEEE 754.
    F16,
    /// The upper half of an f32.
    BF16,
    /// 32-bit integers: indices, not weights. Those that a float holds exactly, up to 2²⁴.
    I32,
}

/// The largest whole number up to which floats hold all.
const EXACT: f32 = 16_777_216.0;

impl Stored {
    /// The safetensors name of a format that weights have; `None` for the formats that are not read here.
    pub(crate) fn from_dtype(dtype: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::BF16].into_iter().find(|s| s.dtype() == dtype)
    }

    /// The name safetensors has for it.
    pub(crate) fn dtype(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I32 => "I32",
        }
    }

    /// The name `config.json` has for it.
    pub(crate) fn config_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::I32 => "int32",
        }
    }

    /// Bytes of one number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Reads little-endian numbers, of which the first is the tensor's number `from`. NaN and infinite values are errors: no
    /// training recovers from them.
    pub(crate) fn decode(self, bytes: &[u8], from: usize, name: &str, at: &str) -> Result<Vec<f32>, Problem> {
        let data: Vec<f32> = match self {
            Self::I32 => return whole_numbers(bytes, name, at),
            Self::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Self::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Self::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        };
        match first_not_finite(&data) {
            None => Ok(data),
            Some(i) => Err(Problem::input(format!("tensor '{name}' holds {} at index {}", data[i], from + i))
                .at(at)
                .next("the file is damaged or its training diverged; use another copy")),
        }
    }

    /// Appends the numbers to `out`, little-endian. What would read back as NaN or infinite is an error.
    pub(crate) fn encode(self, data: &[f32], name: &str, out: &mut Vec<u8>) -> Result<(), Problem> {
        if let Some(i) = first_not_finite(data) {
            return Err(Problem::new(ProblemKind::Numeric, format!("tensor '{name}' holds {} at index {i}", data[i]))
                .next("nothing was written; train again with a lower learning rate"));
        }
        let too_large = |i: usize| {
            let format = self.config_name();
            Problem::input(format!("tensor '{name}' holds {} at index {i}, which {format} cannot hold", data[i]))
                .next("write it as float32")
        };
        out.reserve(data.len() * self.bytes());
        for (i, &x) in data.iter().enumerate() {
            match self {
                Self::F32 => out.extend_from_slice(&x.to_le_bytes()),
                Self::F16 if f16::from_f32(x).is_finite() => out.extend_from_slice(&f16::from_f32(x).to_le_bytes()),
                Self::BF16 if bf16::from_f32(x).is_finite() => out.extend_from_slice(&bf16::from_f32(x).to_le_bytes()),
                Self::I32 if x.fract() == 0.0 && x.abs() <= EXACT => out.extend_from_slice(&(x as i32).to_le_bytes()),
                Self::F16 | Self::BF16 | Self::I32 => return Err(too_large(i)),
            }
        }
        Ok(())
    }
}

fn whole_numbers(bytes: &[u8], name: &str, at: &str) -> Result<Vec<f32>, Problem> {
    let one = |b: &[u8]| {
        let whole = i32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let exact = (whole as f32).abs() <= EXACT && whole as f32 as i32 == whole;
        exact.then_some(whole as f32).ok_or_else(|| {
            Problem::input(format!("tensor '{name}' holds {whole}, which is no place in a matrix that is read here"))
                .at(at)
                .next("the file is damaged, or of a model with more than 16 million rows or columns")
        })
    };
    bytes.chunks_exact(4).map(one).collect()
}

pub(crate) fn first_not_finite(data: &[f32]) -> Option<usize> {
    data.iter().position(|x| !x.is_finite())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let data = [0.0, -0.0, 1.5, -2.25, 65504.0, 6.103_515_6e-5];
        // 65504 is the largest f16; bf16 keeps 8 bits of it and rounds up.
        let bf16_data = [0.0, -0.0, 1.5, -2.25, 65536.0, 6.103_515_6e-5];
        for (stored, want) in [(Stored::F32, data), (Stored::F16, data), (Stored::BF16, bf16_data)] {
            let mut bytes = Vec::new();
            stored.encode(&data, "w", &mut bytes).unwrap();
            assert_eq!(bytes.len(), data.len() * stored.bytes());
            assert_eq!(stored.decode(&bytes, 0, "w", "file").unwrap(), want, "{stored:?}");
        }
    }

    #[test]
    fn what_would_not_read_back_is_refused() {
        let cases = [
            (Stored::F32, f32::NAN, "NaN at index 1"),
            (Stored::F32, f32::INFINITY, "inf at index 1"),
            (Stored::F16, 70_000.0, "float16 cannot hold"),
            (Stored::BF16, f32::MAX, "bfloat16 cannot hold"),
        ];
        for (stored, value, want) in cases {
            let problem = stored.encode(&[1.0, value], "w", &mut Vec::new()).unwrap_err();
            assert!(problem.what.contains(want), "{problem:?}");
            assert!(!problem.next.is_empty());
        }
    }

    #[test]
    fn a_nan_in_a_file_is_named() {
        let bytes = [1.0f32, f32::NAN].map(f32::to_le_bytes).concat();
        let problem = Stored::F32.decode(&bytes, 0, "model.norm.weight", "model.safetensors").unwrap_err();
        assert_eq!(problem.what, "tensor 'model.norm.weight' holds NaN at index 1");
    }
}
