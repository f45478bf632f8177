//! Where the tokens are.

use burn::tensor::{Device, Int, Tensor};
use stratune_kernels::{Angles, Rotary, Sight};

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
    fn angles(&self, of: impl Fn(Option<Rope>, &Rotary) -> Angles) -> Vec<(AttentionKind, Angles)> {
        let made = self.tables.iter().map(|(rope, table)| (rope, of(*rope, table))).collect::<Vec<_>>();
        let with = |(rope, angles): &(&Option<Rope>, Angles)| {
            let kinds = self.kinds.iter().filter(|kind| kind.rope == **rope);
            kinds.map(|kind| (*kind, angles.clone())).collect::<Vec<_>>()
        };
        made.iter().flat_map(with).collect()
    }
}

/// What the blocks need to know about where the tokens are.
#[derive(Clone, Debug)]
pub struct Positions {
    /// By how many positions come before the tokens, as blocks with a prefix have more of them, and by the kind of attention.
    standings: Vec<(usize, AttentionKind, Standing)>,
    /// The same for the blocks of a ladder beside the model.
    pub side: Option<Box<Self>>,
}

/// Where the tokens are for one block.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What they are turned by.
    pub angles: Angles,
    /// What they see.
    pub sight: Sight,
}

/// Several texts to a row, one after another, none of which sees another.
#[derive(Clone, Debug)]
pub struct Texts {
    /// The place of each token within its text: `[batch, seq]`.
    pub places: Tensor<2, Int>,
    /// The place within the row where its text begins, as a number: `[batch, seq]`.
    pub begins: Tensor<2>,
}

impl Positions {
    /// For `seq` tokens of one text a row, which follow each number in `pasts` of earlier positions.
    pub fn new(rotaries: &Rotaries, seq: usize, pasts: &[usize], device: &Device) -> Self {
        let mut standings: Vec<(usize, AttentionKind, Standing)> = Vec::new();
        for &past in pasts {
            if standings.iter().any(|(p, ..)| *p == past) {
                continue;
            }
            for (kind, angles) in rotaries.angles(|_, table| table.angles_after(past, seq)) {
                let sight = match kind.window {
                    // One that is alone is given the keys of its window.
                    Some(window) if seq > 1 && past + seq > window => Sight::whole(seq, device).within(window, past),
                    _ => Sight::whole(seq, device),
                };
                standings.push((past, kind, Standing { angles, sight }));
            }
        }
        Self { standings, side: None }
    }

    /// For rows of several texts, which follow nothing.
    pub fn among(rotaries: &Rotaries, texts: &Texts) -> Self {
        let [_, seq] = texts.begins.dims();
        let angles = rotaries.angles(|rope, table| match rope {
            Some(_) => table.angles_at(&texts.places),
            None => table.angles_after(0, seq),
        });
        let of = |(kind, angles): (AttentionKind, Angles)| {
            let sight = Sight::since(texts.begins.clone());
            let sight = match kind.window {
                Some(window) if seq > window => sight.within(window, 0),
                _ => sight,
            };
            (0, kind, Standing { angles, sight })
        };
        Self { standings: angles.into_iter().map(of).collect(), side: None }
    }

    /// For tokens that follow `past` positions, in a block of this kind.
    ///
    /// # Panics
    /// If these positions were not made for that many, or for this kind.
    pub fn after(&self, past: usize, kind: AttentionKind) -> &Standing {
        let found = self.standings.iter().find(|(p, k, _)| (*p, *k) == (past, kind));
        #[allow(clippy::expect_used)] // The model makes them for every past and kind that its blocks have.
        found.map(|(.., standing)| standing).expect("a standing for every past and kind of the model")
    }
}
