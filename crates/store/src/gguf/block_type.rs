//! How GGUF files write numbers: floats, and blocks of few bits, each with its number, its size and its name.

/// How a tensor of a GGUF file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types)]
pub enum BlockType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats of IEEE 754.
    F16,
    /// The upper halves of 32-bit floats.
    BF16,
    /// 64-bit floats.
    F64,
    /// 4 bits, a scale for 32.
    Q4_0,
    /// 4 bits, a scale and a minimum for 32.
    Q4_1,
    /// 5 bits, a scale for 32.
    Q5_0,
    /// 5 bits, a scale and a minimum for 32.
    Q5_1,
    /// 8 bits, a scale for 32.
    Q8_0,
    /// 2 bits, a scale and a minimum for 16.
    Q2_K,
    /// 3 bits, a scale for 16.
    Q3_K,
    /// 4 bits, a scale and a minimum for 32.
    Q4_K,
    /// 5 bits, a scale and a minimum for 32.
    Q5_K,
    /// 6 bits, a scale for 16.
    Q6_K,
    /// 4 bits that point into a table, a scale for 32.
    IQ4_NL,
    /// The same with scales of 6 bits, for 32 each, and one for 256.
    IQ4_XS,
    /// Floats of 4 bits, which point into a table, a power of two for 32.
    MXFP4,
    /// Three values, five of them in a byte, a scale for 256.
    TQ1_0,
    /// Three values in 2 bits, a scale for 256.
    TQ2_0,
}

use BlockType::{
    BF16, F16, F32, F64, IQ4_NL, IQ4_XS, MXFP4, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, TQ1_0,
    TQ2_0,
};

/// A type's number in files, its name, the numbers in a block and the bytes of one.
const TYPES: [(BlockType, u32, &str, usize, usize); 19] = [
    (F32, 0, "F32", 1, 4),
    (F16, 1, "F16", 1, 2),
    (Q4_0, 2, "Q4_0", 32, 18),
    (Q4_1, 3, "Q4_1", 32, 20),
    (Q5_0, 6, "Q5_0", 32, 22),
    (Q5_1, 7, "Q5_1", 32, 24),
    (Q8_0, 8, "Q8_0", 32, 34),
    (Q2_K, 10, "Q2_K", 256, 84),
    (Q3_K, 11, "Q3_K", 256, 110),
    (Q4_K, 12, "Q4_K", 256, 144),
    (Q5_K, 13, "Q5_K", 256, 176),
    (Q6_K, 14, "Q6_K", 256, 210),
    (IQ4_NL, 20, "IQ4_NL", 32, 18),
    (IQ4_XS, 23, "IQ4_XS", 256, 136),
    (F64, 28, "F64", 1, 8),
    (BF16, 30, "BF16", 1, 2),
    (TQ1_0, 34, "TQ1_0", 256, 54),
    (TQ2_0, 35, "TQ2_0", 256, 66),
    (MXFP4, 39, "MXFP4", 32, 17),
];

/// The types that are not read: their numbers, names, and which of those that are read is near.
const UNREAD: [(u32, &str, &str); 24] = [
    (4, "Q4_2, which llama.cpp removed", "Q4_0"),
    (5, "Q4_3, which llama.cpp removed", "Q4_1"),
    (9, "Q8_1", "Q8_0"),
    (15, "Q8_K", "Q8_0"),
    (16, "IQ2_XXS", "Q2_K"),
    (17, "IQ2_XS", "Q2_K"),
    (18, "IQ3_XXS", "Q3_K"),
    (19, "IQ1_S", "TQ1_0"),
    (21, "IQ3_S", "Q3_K"),
    (22, "IQ2_S", "Q2_K"),
    (24, "I8", "Q8_0"),
    (25, "I16", "F32"),
    (26, "I32", "F32"),
    (27, "I64", "F32"),
    (29, "IQ1_M", "TQ1_0"),
    (31, "Q4_0_4_4, which llama.cpp removed", "Q4_0"),
    (32, "Q4_0_4_8, which llama.cpp removed", "Q4_0"),
    (33, "Q4_0_8_8, which llama.cpp removed", "Q4_0"),
    (36, "IQ4_NL_4_4, which llama.cpp removed", "IQ4_NL"),
    (37, "IQ4_NL_4_8, which llama.cpp removed", "IQ4_NL"),
    (38, "IQ4_NL_8_8, which llama.cpp removed", "IQ4_NL"),
    (40, "NVFP4", "MXFP4"),
    (41, "Q1_0", "TQ1_0"),
    (42, "Q2_0", "TQ2_0"),
];

impl BlockType {
    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.into_iter().map(|(of, ..)| of)
    }

    /// The type of this number in a file.
    ///
    /// # Errors
    /// What the number stands for, and what is near that is read.
    pub(super) fn from_id(id: u32) -> Result<Self, (String, String)> {
        if let Some((of, ..)) = TYPES.iter().find(|(_, number, ..)| *number == id) {
            return Ok(*of);
        }
        match UNREAD.iter().find(|(number, ..)| *number == id) {
            Some((_, name, near)) => {
                Err((format!("is written as {name}"), format!("use a copy of the model in {near} or in more bits")))
            }
            None => Err((
                format!("is written as number {id}, a type that is not known"),
                "use a copy of the model in Q4_K_M, Q8_0 or F16".into(),
            )),
        }
    }

    /// Its number in files.
    pub(super) fn id(self) -> u32 {
        self.facts().1
    }

    fn facts(self) -> (BlockType, u32, &'static str, usize, usize) {
        // Each type is in the table, which a test walks.
        TYPES.into_iter().find(|(of, ..)| *of == self).unwrap_or(TYPES[0])
    }

    /// Its name, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.facts().2
    }

    /// Numbers in a block, which lie in one row.
    pub fn length(self) -> usize {
        self.facts().3
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        self.facts().4
    }

    /// The bytes of so many numbers; none if they are no whole blocks, or too many.
    pub fn bytes_of(self, count: u64) -> Option<u64> {
        let length = self.length() as u64;
        if !count.is_multiple_of(length) {
            return None;
        }
        (count / length).checked_mul(self.bytes() as u64)
    }

    /// Whether it is floats, each by itself.
    pub fn is_float(self) -> bool {
        self.length() == 1
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_in_the_table_once() {
        for of in BlockType::all() {
            let (same, id, name, length, bytes) = of.facts();
            assert_eq!((same, name), (of, format!("{of:?}").as_str()));
            assert_eq!(BlockType::from_id(id), Ok(of));
            assert_eq!(of.bytes_of(3 * length as u64), Some(3 * bytes as u64));
            assert!(length == 1 || of.bytes_of(length as u64 + 1).is_none());
        }
        assert_eq!(Q6_K.bytes_of(u64::MAX / 256 * 256), Some(u64::MAX / 256 * 210));
        assert_eq!(F64.bytes_of(u64::MAX), None);
    }

    #[test]
    fn other_types_are_named_with_what_is_near() {
        for (id, name, near) in UNREAD {
            assert!(TYPES.iter().any(|(_, _, known, ..)| *known == near));
            let (what, next) = BlockType::from_id(id).unwrap_err();
            assert!(what.contains(name) && next.contains(near));
        }
        assert!(BlockType::from_id(999).unwrap_err().0.contains("999"));
    }
}
