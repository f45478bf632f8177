//! What the frozen weights are kept as.

use serde::{Deserialize, Serialize};

use crate::Problem;

/// What the matrices of the model that a run tunes are kept as; norms and biases stay f32, and so does all arithmetic. From
/// float to few bits: less memory, and a base that is less exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaseDtype {
    /// As the model's files have them: the blocks of a GGUF file in their own bits, all else in 32.
    #[default]
    File,
    /// 32 bits.
    F32,
    /// Half floats.
    F16,
    /// Blocks of 32 integers of 8 bits with a scale.
    Int8,
    /// The same with 4 bits in the blocks' matrices; embedding and output layer, which every token meets, have 8.
    Int4,
}

impl BaseDtype {
    /// All, from most bits to fewest, and before them what depends on the model.
    pub const ALL: [Self; 5] = [Self::File, Self::F32, Self::F16, Self::Int8, Self::Int4];

    /// Whether what is kept so can train: floats of 32 bits, and what becomes such when a method trains it.
    pub fn can_train(self) -> bool {
        matches!(self, Self::File | Self::F32)
    }

    /// What it comes to for a model whose files have no blocks of few bits, or some.
    pub fn resolved(self, has_blocks: bool) -> Self {
        if self == Self::File && !has_blocks { Self::F32 } else { self }
    }

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// What the embedding and the output layer are kept as.
    pub fn of_embeddings(self) -> Self {
        if self == Self::Int4 { Self::Int8 } else { self }
    }

    /// Bytes of a matrix, of a file's blocks at most: rows in blocks of 32, the last one filled up, with a scale of 4 bytes if they are integers.
    pub fn bytes(self, rows: f64, columns: f64) -> f64 {
        let blocks = rows * (columns / 32.0).ceil();
        match self {
            Self::File | Self::F32 => 4.0 * rows * columns,
            Self::F16 => 64.0 * blocks,
            Self::Int8 => 36.0 * blocks,
            Self::Int4 => 20.0 * blocks,
        }
    }
}

impl std::str::FromStr for BaseDtype {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == text).ok_or_else(|| {
            Problem::input(format!("unknown base_dtype '{text}'")).next("use file, f32, f16, int8 or int4")
        })
    }
}

impl std::fmt::Display for BaseDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_configurations_write() {
        for dtype in BaseDtype::ALL {
            assert_eq!(serde_json::to_value(dtype).unwrap(), dtype.name());
            assert_eq!(dtype.name().parse::<BaseDtype>().unwrap(), dtype);
        }
        assert!("bf16".parse::<BaseDtype>().unwrap_err().next.contains("int4"));
    }

    #[test]
    fn a_row_is_whole_blocks() {
        let of = |dtype: BaseDtype, columns| dtype.bytes(3.0, columns);
        assert_eq!([of(BaseDtype::F32, 33.0), of(BaseDtype::F16, 33.0)], [396.0, 384.0]);
        assert_eq!([of(BaseDtype::Int8, 64.0), of(BaseDtype::Int4, 64.0)], [216.0, 120.0]);
    }
}
