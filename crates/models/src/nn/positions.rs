//! Where the tokens are.

use burn::tensor::{Device, Int, Tensor};
use stratune_kernels::{AttentionMask, CosSin, Rotary};

use super::Rope;

/// What one block's attention makes of positions: the blocks of a model may differ in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionKind {
    /// Rotary positions; none: queries and keys are not rotated.
    pub rope: Option<Rope>,
    /// How many positions a query sees, its own among them; none: all before it.
    pub window: Option<usize>,
}

/// The tables of angles that a model's blocks need.
#[derive(Clone, Debug)]
pub struct Rotaries {
    /// Each kind once.
    kinds: Vec<AttentionKind>,
    /// Each rope of them once.
    tables: Vec<(Option<Rope>, Rotary)>,
}

impl Rotaries {
    /// Those of blocks of these kinds, with heads of `head_dim`, for `positions` positions.
    pub fn of(of_blocks: &[AttentionKind], head_dim: usize, positions: usize, device: &Device) -> Self {
        let (mut kinds, mut tables) = (Vec::new(), Vec::<(Option<Rope>, Rotary)>::new());
        for &kind in of_blocks {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
            if !tables.iter().any(|(rope, _)| *rope == kind.rope) {
                let table = match kind.rope {
                    Some(rope) => rope.rotary(head_dim, positions, device),
                    None => Rotary::none(head_dim, device),
                };
                tables.push((kind.rope, table));
            }
        }
        Self { kinds, tables }
    }

    /// Each kind with its angles, which `of` makes of its table once.
    fn cos_sin(&self, of: impl Fn(Option<Rope>, &Rotary) -> CosSin) -> Vec<(AttentionKind, CosSin)> {
        let made = self.tables.iter().map(|(rope, table)| (rope, of(*rope, table))).collect::<Vec<_>>();
        let with = |(rope, cos_sin): &(&Option<Rope>, CosSin)| {
            let kinds = self.kinds.iter().filter(|kind| kind.rope == **rope);
            kinds.map(|kind| (*kind, cos_sin.clone())).collect::<Vec<_>>()
        };
        made.iter().flat_map(with).collect()
    }
}

/// What the blocks need to know about where the tokens are.
#[derive(Clone, Debug)]
pub struct Positions {
    /// By how many positions come before the tokens, as blocks with a prefix have more of them, and by the kind of attention.
    by_block: Vec<(usize, AttentionKind, BlockPositions)>,
    /// The same for the blocks of a ladder beside the model.
    pub side: Option<Box<Self>>,
}

/// Where the tokens are for one block.
#[derive(Clone, Debug)]
pub struct BlockPositions {
    /// Cosines and sines of their positions.
    pub cos_sin: CosSin,
    /// What they attend to.
    pub mask: AttentionMask,
}

/// Several texts to a row, one after another, none of which sees another.
#[derive(Clone, Debug)]
pub struct PackedTexts {
    /// The position of each token within its text: `[batch, seq]`.
    pub position_ids: Tensor<2, Int>,
    /// The position within the row where its text begins, as a number: `[batch, seq]`.
    pub starts: Tensor<2>,
}

impl Positions {
    /// For `seq` tokens of one text a row, which follow each number in `pasts` of earlier positions.
    pub fn new(rotaries: &Rotaries, seq: usize, pasts: &[usize], device: &Device) -> Self {
        let mut by_block: Vec<(usize, AttentionKind, BlockPositions)> = Vec::new();
        for &past in pasts {
            if by_block.iter().any(|(p, ..)| *p == past) {
                continue;
            }
            for (kind, cos_sin) in rotaries.cos_sin(|_, table| table.cos_sin_after(past, seq)) {
                let mask = match kind.window {
                    // One that is alone is given the keys of its window.
                    Some(window) if seq > 1 && past + seq > window => {
                        AttentionMask::causal(seq, device).sliding_window(window, past)
                    }
                    _ => AttentionMask::causal(seq, device),
                };
                by_block.push((past, kind, BlockPositions { cos_sin, mask }));
            }
        }
        Self { by_block, side: None }
    }

    /// For rows of several texts, which follow nothing.
    pub fn of_packed(rotaries: &Rotaries, texts: &PackedTexts) -> Self {
        let [_, seq] = texts.starts.dims();
        let cos_sin = rotaries.cos_sin(|rope, table| match rope {
            Some(_) => table.cos_sin_at(&texts.position_ids),
            None => table.cos_sin_after(0, seq),
        });
        let of = |(kind, cos_sin): (AttentionKind, CosSin)| {
            let mask = AttentionMask::from_first_keys(texts.starts.clone());
            let mask = match kind.window {
                Some(window) if seq > window => mask.sliding_window(window, 0),
                _ => mask,
            };
            (0, kind, BlockPositions { cos_sin, mask })
        };
        Self { by_block: cos_sin.into_iter().map(of).collect(), side: None }
    }

    /// For tokens that follow `past` positions, in a block of this kind.
    ///
    /// # Panics
    /// If these positions were not made for that many, or for this kind.
    pub fn after(&self, past: usize, kind: AttentionKind) -> &BlockPositions {
        let found = self.by_block.iter().find(|(p, k, _)| (*p, *k) == (past, kind));
        #[allow(clippy::expect_used)] // The model makes them for every past and kind that its blocks have.
        found.map(|(.., positions)| positions).expect("a standing for every past and kind of the model")
    }
}
