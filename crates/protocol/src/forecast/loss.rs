//! How many logits exist at once.

/// Most rows whose logits exist at once.
const ROWS: usize = 256;

/// Most bytes of logits that exist at once: every WebGPU device takes a buffer of so many.
const BYTES: usize = 128 << 20;

/// Rows whose logits exist at once.
pub fn loss_rows(vocabulary: usize) -> usize {
    (BYTES / 4 / vocabulary.max(1)).clamp(1, ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_of_large_vocabularies_are_made_of_fewer_rows() {
        for (vocabulary, rows) in [(0, 256), (49_152, 256), (131_072, 256), (131_073, 255), (151_936, 220)] {
            assert_eq!(loss_rows(vocabulary), rows, "{vocabulary}");
            assert!(4 * rows * vocabulary <= BYTES);
        }
        assert_eq!(loss_rows(usize::MAX), 1);
    }
}
