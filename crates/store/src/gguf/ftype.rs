//! What a file is written in as a whole, which llama.cpp calls its ftype: which of its tensors is of which type.

use stratune_protocol::Problem;

use super::block_type::BlockType;

/// What most of a file's matrices are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum Ftype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8.5 bits.
    Q8_0,
    /// 4.5 bits, scales from the largest numbers.
    Q4_0,
    /// 4.5 bits with searched scales, and 6.5 for those matrices where it matters.
    Q4_K_M,
}

/// Each with its number in files, its name, and the type of most matrices.
const FTYPES: [(Ftype, u32, &str, BlockType); 5] = [
    (Ftype::F32, 0, "F32", BlockType::F32),
    (Ftype::F16, 1, "F16", BlockType::F16),
    (Ftype::Q8_0, 7, "Q8_0", BlockType::Q8_0),
    (Ftype::Q4_0, 2, "Q4_0", BlockType::Q4_0),
    (Ftype::Q4_K_M, 15, "Q4_K_M", BlockType::Q4_K),
];

impl Ftype {
    /// All of them, largest files first.
    pub fn all() -> impl Iterator<Item = Self> {
        FTYPES.into_iter().map(|(of, ..)| of)
    }

    /// The one of this name, in capitals or not.
    ///
    /// # Errors
    /// There is none: the names that there are.
    pub fn named(name: &str) -> Result<Self, Problem> {
        let known = FTYPES.into_iter().find(|(.., known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(of, ..)| of).ok_or_else(|| {
            let names = FTYPES.map(|(.., name, _)| name).join(", ");
            Problem::input(format!("'{name}' is no type of GGUF file that is written")).next(format!("choose {names}"))
        })
    }

    fn facts(self) -> (Ftype, u32, &'static str, BlockType) {
        // Each is in the table, which a test walks.
        FTYPES.into_iter().find(|(of, ..)| *of == self).unwrap_or(FTYPES[0])
    }

    /// Its number, for `general.file_type`.
    pub fn id(self) -> u32 {
        self.facts().1
    }

    /// Its name, such as `Q4_K_M`.
    pub fn name(self) -> &'static str {
        self.facts().2
    }

    /// The type of each tensor of a file, given by its name there and its shape, outermost size first.
    ///
    /// These are llama.cpp's choices for models without experts. Vectors, norms and learned positions are floats. The head,
    /// which is the embedding where there is no `output.weight`, has more bits; in `Q4_K_M` so have the values and the
    /// last product of the MLP in the first eighth of the layers, the last eighth, and every third between. Rows that are
    /// no whole number of blocks go to the type that llama.cpp falls back to.
    pub fn block_types(self, tensors: &[(&str, &[usize])]) -> Vec<BlockType> {
        let most = self.facts().3;
        let layers = tensors.iter().filter_map(|(name, _)| layer(name)).max().map_or(0, |last| last + 1);
        let tied = !tensors.iter().any(|(name, _)| *name == "output.weight");
        let head = if tied { "token_embd.weight" } else { "output.weight" };
        let block_type = |(name, shape): &(&str, &[usize])| {
            if shape.len() < 2 || is_float(name) {
                return BlockType::F32;
            }
            if most.is_float() {
                return most;
            }
            let columns = shape.last().copied().unwrap_or(0);
            let better =
                || BETTER.iter().any(|of| name.ends_with(of)) && layer(name).is_some_and(|i| matters(i, layers));
            let wanted = match self {
                Self::Q4_0 | Self::Q4_K_M if *name == head && columns.is_multiple_of(most.length()) => BlockType::Q6_K,
                _ if *name == head => BlockType::Q8_0,
                Self::Q4_K_M if better() => BlockType::Q6_K,
                _ => most,
            };
            fitting(wanted, columns)
        };
        tensors.iter().map(block_type).collect()
    }
}

/// The matrices of which some layers have more bits in `Q4_K_M`.
const BETTER: [&str; 3] = ["attn_v.weight", "attn_qkv.weight", "ffn_down.weight"];

/// The layer that a tensor is of.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// Whether more bits go to this layer.
fn matters(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// Whether it stays in floats, whatever its shape.
fn is_float(name: &str) -> bool {
    !name.ends_with("weight")
        || name.ends_with("_norm.weight")
        || name.ends_with("ffn_gate_inp.weight")
        || ["position_embd.weight", "token_types.weight"].contains(&name)
}

/// The type, or if rows of so many numbers are no whole blocks of it, the one that comes nearest.
fn fitting(wanted: BlockType, columns: usize) -> BlockType {
    let smaller = match wanted {
        BlockType::Q4_K => BlockType::Q5_0,
        BlockType::Q6_K => BlockType::Q8_0,
        other => other,
    };
    let fits = |of: &BlockType| columns.is_multiple_of(of.length());
    [wanted, smaller].into_iter().find(fits).unwrap_or(BlockType::F16)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Three matrices and a norm of each layer, with an embedding, and a head if it is not the embedding.
    fn types(of: Ftype, layers: usize, [width, inner]: [usize; 2], tied: bool) -> Vec<(String, BlockType)> {
        let mut tensors = vec![("token_embd.weight".to_string(), vec![99, width])];
        for i in 0..layers {
            tensors.push((format!("blk.{i}.attn_norm.weight"), vec![width]));
            tensors.push((format!("blk.{i}.attn_q.weight"), vec![width, width]));
            tensors.push((format!("blk.{i}.attn_v.weight"), vec![width, width]));
            tensors.push((format!("blk.{i}.ffn_down.weight"), vec![width, inner]));
        }
        if !tied {
            tensors.push(("output.weight".into(), vec![99, width]));
        }
        let given: Vec<(&str, &[usize])> = tensors.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
        let types = of.block_types(&given);
        tensors.iter().map(|(name, _)| name.clone()).zip(types).collect()
    }

    fn of<'a>(types: &'a [(String, BlockType)], end: &str) -> Vec<&'a str> {
        types.iter().filter(|(name, _)| name.ends_with(end)).map(|(_, of)| of.name()).collect()
    }

    fn once<'a>(types: &'a [(String, BlockType)], end: &str) -> Vec<&'a str> {
        let mut found = of(types, end);
        found.dedup();
        found
    }

    #[test]
    fn more_bits_are_where_llama_cpp_has_them() {
        // As llama-quantize has them for 18 layers.
        let types = types(Ftype::Q4_K_M, 18, [640, 2048], true);
        let better = [0, 1, 4, 7, 10, 13, 15, 16, 17];
        for (i, (down, v)) in of(&types, "ffn_down.weight").into_iter().zip(of(&types, "attn_v.weight")).enumerate() {
            assert_eq!((down, v), if better.contains(&i) { ("Q6_K", "Q8_0") } else { ("Q4_K", "Q5_0") }, "{i}");
        }
        assert_eq!(once(&types, "attn_q.weight"), ["Q5_0"]);
        assert_eq!(once(&types, "token_embd.weight"), ["Q8_0"]);
        assert_eq!(once(&types, "norm.weight"), ["F32"]);
    }

    #[test]
    fn the_head_has_more_bits() {
        for (ftype, tied, embedding, head, other) in [
            (Ftype::Q4_K_M, false, "Q4_K", "Q6_K", "Q4_K"),
            (Ftype::Q4_K_M, true, "Q6_K", "", "Q4_K"),
            (Ftype::Q4_0, false, "Q4_0", "Q6_K", "Q4_0"),
            (Ftype::Q8_0, true, "Q8_0", "", "Q8_0"),
            (Ftype::F16, false, "F16", "F16", "F16"),
            (Ftype::F32, true, "F32", "", "F32"),
        ] {
            let types = types(ftype, 2, [512, 512], tied);
            assert_eq!(of(&types, "token_embd.weight"), [embedding], "{ftype:?}");
            assert_eq!(of(&types, "output.weight"), if tied { vec![] } else { vec![head] }, "{ftype:?}");
            assert_eq!(once(&types, "attn_q.weight"), [other], "{ftype:?}");
        }
        // The embedding is the head, and its rows are whole blocks of 32 alone.
        assert_eq!(once(&types(Ftype::Q4_0, 1, [96, 96], true), "token_embd.weight"), ["Q8_0"]);
    }

    #[test]
    fn rows_that_are_no_blocks_are_floats() {
        for ftype in [Ftype::Q8_0, Ftype::Q4_0, Ftype::Q4_K_M] {
            let types = types(ftype, 1, [40, 40], false);
            assert_eq!(once(&types, "attn_q.weight"), ["F16"]);
            assert_eq!(once(&types, "output.weight"), ["F16"]);
            assert_eq!(once(&types, "norm.weight"), ["F32"]);
        }
    }

    #[test]
    fn some_matrices_are_floats_always() {
        for name in
            ["position_embd.weight", "blk.0.ffn_gate_inp.weight", "blk.0.attn_q.bias", "blk.0.attn_q_norm.weight"]
        {
            assert_eq!(Ftype::Q8_0.block_types(&[(name, &[64, 64])]), [BlockType::F32], "{name}");
        }
    }

    #[test]
    fn each_is_found_by_its_name() {
        for ftype in Ftype::all() {
            assert_eq!(ftype.name(), format!("{ftype:?}"));
            assert_eq!(Ftype::named(&ftype.name().to_lowercase()).unwrap(), ftype);
        }
        let problem = Ftype::named("Q2_K").err().unwrap();
        assert!(problem.what.contains("'Q2_K'") && problem.next.contains("Q4_K_M"));
    }
}
