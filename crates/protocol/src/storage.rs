//! How the weights of a model are stored on a device.

use crate::{AdapterInfo, BaseDtype};

/// How the weights of a model are stored on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightStorage {
    /// As what.
    pub dtype: BaseDtype,
    /// Most bytes of one buffer, where there is a limit.
    pub buffer: Option<u64>,
}

/// In buffers of any size.
impl From<BaseDtype> for WeightStorage {
    fn from(dtype: BaseDtype) -> Self {
        Self { dtype, buffer: None }
    }
}

impl AdapterInfo {
    /// How this device stores weights of `dtype`.
    pub fn weight_storage(&self, dtype: BaseDtype) -> WeightStorage {
        WeightStorage { dtype, buffer: self.limits.buffer }
    }
}

/// Rows of a matrix that a launch on WebGPU always reaches: 65,535 workgroups of at least eight.
const LAUNCHED: u64 = 65_535 * 8;

impl WeightStorage {
    /// Most rows of a piece of the embedding or the output layer: all of them if one buffer takes them and one launch
    /// reaches them, else as many as do, in fours and at least four. Kernels read what is quantized in fours of rows,
    /// and would have to dequantize all of a piece that has others.
    pub fn rows_of_a_piece(self, [rows, columns]: [usize; 2]) -> usize {
        let row = self.dtype.of_embeddings().bytes(1.0, columns as f64) as u64;
        let most = self.buffer.map_or(usize::MAX, |bytes| (bytes / row.max(1)).min(LAUNCHED) as usize);
        let whole = rows <= most && (self.dtype == BaseDtype::F32 || rows.is_multiple_of(4));
        if whole { rows.max(1) } else { (most.min(rows) / 4 * 4).max(4) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of 1024 is 4096 bytes as floats, and 32 blocks of 36 with 8 bits, which embeddings also have where the
    /// rest has 4.
    #[test]
    fn pieces_by_hand() {
        let limit = Some(128 << 20);
        for (dtype, buffer, rows, of_a_piece) in [
            (BaseDtype::F32, None, 151_936, 151_936),
            (BaseDtype::F32, limit, 32_768, 32_768),
            (BaseDtype::F32, limit, 32_769, 32_768),
            (BaseDtype::Int8, limit, 116_508, 116_508),
            (BaseDtype::Int8, limit, 151_936, 116_508),
            (BaseDtype::Int4, limit, 151_936, 116_508),
            (BaseDtype::F32, Some(7 * 4096), 30, 4),
            (BaseDtype::F32, None, 50_257, 50_257),
            (BaseDtype::Int8, None, 50_257, 50_256),
            (BaseDtype::Int8, None, 50_256, 50_256),
            (BaseDtype::Int8, None, 3, 4),
            (BaseDtype::F32, Some(1), 30, 4),
            (BaseDtype::F32, limit, 0, 1),
            (BaseDtype::F32, Some(1 << 40), 524_280, 524_280),
            (BaseDtype::F32, Some(1 << 40), 524_281, 524_280),
            (BaseDtype::F32, None, 524_281, 524_281),
        ] {
            assert_eq!(
                WeightStorage { dtype, buffer }.rows_of_a_piece([rows, 1024]),
                of_a_piece,
                "{dtype} {buffer:?} {rows}"
            );
        }
    }
}
