//! Where the tokens are.

use burn::tensor::{Device, Int, Tensor, TensorData};
use stratune_kernels::{AttentionMask, CosSin, Rotary, mask_between_texts};

use super::{Encoded, Rope};

/// What one block's attention makes of positions: the blocks of a model may differ in it.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionKind {
    /// Rotary positions; none: queries and keys are not rotated.
    pub rope: Option<Rope>,
    /// How many positions a query sees, its own among them; none: all before it.
    pub window: Option<usize>,
    /// Whether a query sees those behind it, too: all of its text.
    pub bidirectional: bool,
}

/// What queries attend to.
#[derive(Clone, Debug)]
pub enum Mask {
    /// Those of their text that this lets them see.
    Text(AttentionMask),
    /// What this, which is added to the scores, lets them see: `[batch or 1, heads or 1, seq or 1, keys]`.
    Added(Tensor<4>),
}

/// The tables of angles that a model's blocks need.
#[derive(Clone, Debug)]
pub struct Rotaries {
    /// Each kind once.
    kinds: Vec<AttentionKind>,
    /// Each rope of them once.
    tables: Vec<Table>,
}

/// The angles of one rope.
#[derive(Clone, Debug)]
struct Table {
    rope: Option<Rope>,
    /// How many numbers of a head are rotated.
    width: usize,
    /// Of a text.
    usual: Rotary,
    /// Of a text of more positions than this, where that differs; none: by its length.
    beyond: Option<(usize, Option<Rotary>)>,
}

impl Table {
    fn new(rope: Option<&Rope>, width: usize, positions: usize, device: &Device) -> Self {
        let Some(of) = rope else {
            return Self { rope: None, width, usual: Rotary::none(width, device), beyond: None };
        };
        let switch = of.switches_after().filter(|switch| *switch < positions);
        let usual = of.rotary(width, [switch.unwrap_or(positions), 0], device);
        let all = |switch| (switch, (!of.is_dynamic()).then(|| of.rotary(width, [positions; 2], device)));
        Self { rope: rope.cloned(), width, usual, beyond: switch.map(all) }
    }

    /// That of a text of `longest` positions.
    fn of(&self, longest: usize, device: &Device) -> Rotary {
        match (&self.beyond, &self.rope) {
            (Some((switch, Some(beyond))), _) if longest > *switch => beyond.clone(),
            (Some((switch, None)), Some(rope)) if longest > *switch => rope.rotary(self.width, [longest; 2], device),
            _ => self.usual.clone(),
        }
    }
}

impl Rotaries {
    /// Those of blocks of these kinds, with heads of which `width` numbers are rotated, for `positions` positions.
    pub fn of(of_blocks: &[AttentionKind], width: usize, positions: usize, device: &Device) -> Self {
        let (mut kinds, mut tables) = (Vec::new(), Vec::<Table>::new());
        for kind in of_blocks {
            if !kinds.contains(kind) {
                kinds.push(kind.clone());
            }
            if !tables.iter().any(|table| table.rope == kind.rope) {
                tables.push(Table::new(kind.rope.as_ref(), width, positions, device));
            }
        }
        Self { kinds, tables }
    }

    /// Whether keys of a text of `before` positions are to be rotated anew for one of `after`. Those whose frequencies change
    /// with each token stay as they were, as they do in transformers.
    pub fn differ(&self, before: usize, after: usize) -> bool {
        let switches = self.tables.iter().filter_map(|table| table.beyond.as_ref());
        let switches = switches.filter_map(|(switch, beyond)| beyond.as_ref().map(|_| *switch));
        switches.into_iter().any(|switch| (before <= switch) != (after <= switch))
    }

    /// Each kind with its angles in a text of `longest` positions, which `of` makes of its table once.
    fn cos_sin(
        &self,
        longest: usize,
        device: &Device,
        of: impl Fn(&Option<Rope>, &Rotary) -> CosSin,
    ) -> Vec<(AttentionKind, CosSin)> {
        let with = |table: &Table| {
            let cos_sin = of(&table.rope, &table.of(longest, device));
            let kinds = self.kinds.iter().filter(|kind| kind.rope == table.rope);
            kinds.map(|kind| (kind.clone(), cos_sin.clone())).collect::<Vec<_>>()
        };
        self.tables.iter().flat_map(with).collect()
    }
}

/// What the blocks need to know about where the tokens are.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    /// By how many positions come before the tokens, as blocks with a prefix have more of them, and by the kind of attention.
    by_block: Vec<(usize, AttentionKind, BlockPositions)>,
    /// The same for the blocks of a ladder beside the model.
    pub side: Option<Box<Self>>,
    /// The positions of the text themselves, `[batch or 1, seq]`, where a model has embeddings of them.
    pub position_ids: Option<Tensor<2, Int>>,
    /// Which text of a pair each token is of, `[batch, seq]`; none: all are of the first.
    pub type_ids: Option<Tensor<2, Int>>,
    /// The patches of images, `[batch, patches, numbers of a patch]`, which stand in the places behind the first token.
    pub patches: Option<Tensor<3>>,
    /// What a decoder's blocks read of another text; none: nothing.
    pub encoded: Option<Encoded>,
}

/// Where the tokens are for one block.
#[derive(Clone, Debug)]
pub struct BlockPositions {
    /// Cosines and sines of their positions.
    pub cos_sin: CosSin,
    /// What they attend to.
    pub mask: Mask,
}

/// Several texts to a row, one after another, none of which sees another.
#[derive(Clone, Debug)]
pub struct PackedTexts {
    /// The position of each token within its text: `[batch, seq]`.
    pub position_ids: Tensor<2, Int>,
    /// The position within the row where its text begins, as a number: `[batch, seq]`.
    pub starts: Tensor<2>,
    /// Positions of the longest of them.
    pub longest: usize,
}

impl PackedTexts {
    /// The same texts, one a row, with so many positions before each of them that are its own.
    pub fn behind(&self, length: usize) -> Self {
        let [rows, _] = self.starts.dims();
        let device = self.starts.device();
        let before = Tensor::<1, Int>::arange(0..length as i64, &device).unsqueeze::<2>().expand([rows, length]);
        let shifted = |t: Tensor<2>| t.clone() + t.clamp_max(1.0).mul_scalar(length as f32);
        Self {
            position_ids: Tensor::cat(vec![before, self.position_ids.clone().add_scalar(length as i64)], 1),
            // A text begins at 0, and what is of none stays by itself.
            starts: Tensor::cat(vec![Tensor::zeros([rows, length], &device), shifted(self.starts.clone())], 1),
            longest: self.longest + length,
        }
    }
}

impl Positions {
    /// For `seq` tokens of one text a row, which follow each number in `pasts` of earlier positions; the last `padding` of them
    /// are of no text.
    pub fn new(rotaries: &Rotaries, [seq, padding]: [usize; 2], pasts: &[usize], device: &Device) -> Self {
        let mut by_block: Vec<(usize, AttentionKind, BlockPositions)> = Vec::new();
        for &past in pasts {
            if by_block.iter().any(|(p, ..)| *p == past) {
                continue;
            }
            let longest = past + seq - padding.min(seq);
            for (kind, cos_sin) in rotaries.cos_sin(longest, device, |_, table| table.cos_sin_after(past, seq)) {
                let mask = match kind.window {
                    _ if kind.bidirectional => match past {
                        0 => Mask::Text(AttentionMask::within_texts(Tensor::zeros([1, seq], device))),
                        _ => Mask::Added(Tensor::zeros([1, 1, 1, past + seq], device)),
                    },
                    // One that is alone is given the keys of its window.
                    Some(window) if seq > 1 && past + seq > window => {
                        Mask::Text(AttentionMask::causal(seq, device).sliding_window(window, past))
                    }
                    _ => Mask::Text(AttentionMask::causal(seq, device)),
                };
                by_block.push((past, kind, BlockPositions { cos_sin, mask }));
            }
        }
        Self { by_block, ..Self::default() }
    }

    /// For rows of several texts, which follow nothing but each number in `pasts` of positions that all of them see.
    pub fn of_packed(rotaries: &Rotaries, texts: &PackedTexts, pasts: &[usize]) -> Self {
        let [_, seq] = texts.starts.dims();
        let cos_sin = rotaries.cos_sin(texts.longest, &texts.starts.device(), |rope, table| match rope {
            Some(_) => table.cos_sin_at(&texts.position_ids),
            None => table.cos_sin_after(0, seq),
        });
        let of = |past: usize, (kind, cos_sin): (AttentionKind, CosSin)| {
            let mask = match kind.window {
                _ if kind.bidirectional => match past {
                    0 => Mask::Text(AttentionMask::within_texts(texts.starts.clone())),
                    _ => Mask::Added(after(past, mask_between_texts(texts.starts.clone()))),
                },
                Some(window) if seq > window => {
                    Mask::Text(AttentionMask::from_first_keys(texts.starts.clone()).sliding_window(window, 0))
                }
                _ => Mask::Text(AttentionMask::from_first_keys(texts.starts.clone())),
            };
            (past, kind, BlockPositions { cos_sin, mask })
        };
        let mut pasts = pasts.to_vec();
        pasts.sort_unstable();
        pasts.dedup();
        let by_block = pasts.iter().flat_map(|past| cos_sin.iter().cloned().map(|at| of(*past, at))).collect();
        Self { by_block, ..Self::default() }
    }

    /// For one token a row, each of which follows another number of positions, `pasts`. Beside these come as many as each
    /// of `before` before all of them, by which they are found.
    pub fn of_rows(rotaries: &Rotaries, pasts: &[usize], before: &[usize], device: &Device) -> Self {
        let mut by_block: Vec<(usize, AttentionKind, BlockPositions)> = Vec::new();
        for &before in before {
            if by_block.iter().any(|(b, ..)| *b == before) {
                continue;
            }
            let ids: Vec<i32> = pasts.iter().map(|past| (before + past) as i32).collect();
            let longest = pasts.iter().map(|past| before + past + 1).max().unwrap_or(0);
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [pasts.len(), 1]), device);
            let cos_sin = rotaries.cos_sin(longest, device, |rope, table| match rope {
                Some(_) => table.cos_sin_at(&ids),
                None => table.cos_sin_after(0, 1),
            });
            let of = |(kind, cos_sin)| {
                (before, kind, BlockPositions { cos_sin, mask: Mask::Text(AttentionMask::causal(1, device)) })
            };
            by_block.extend(cos_sin.into_iter().map(of));
        }
        Self { by_block, ..Self::default() }
    }

    /// For blocks that know positions by what is added to the scores alone: of each kind how many tokens come before, and what
    /// that is, `[batch or 1, heads, seq, keys]`. All see as many positions as each of `before` before the text.
    pub fn of_masks(
        rotaries: &Rotaries,
        masks: &[(AttentionKind, usize, Tensor<4>)],
        before: &[usize],
        device: &Device,
    ) -> Self {
        let mut by_block: Vec<(usize, AttentionKind, BlockPositions)> = Vec::new();
        for &before in before {
            if by_block.iter().any(|(b, ..)| *b == before) {
                continue;
            }
            for (kind, past, added) in masks {
                let seq = added.dims()[2];
                let cos_sin = rotaries.cos_sin(1, device, |_, table| table.cos_sin_after(0, seq)).into_iter();
                let cos_sin = cos_sin.filter(|(of, _)| of == kind).map(|(_, cos_sin)| cos_sin);
                let mask = || Mask::Added(after(before, added.clone()));
                by_block.extend(
                    cos_sin.map(|cos_sin| (before + past, kind.clone(), BlockPositions { cos_sin, mask: mask() })),
                );
            }
        }
        Self { by_block, ..Self::default() }
    }

    /// What is added to the scores of blocks of this kind after `past` positions, to be changed; none where scores have
    /// nothing added.
    pub fn added_mut(&mut self, past: usize, kind: &AttentionKind) -> Option<&mut Tensor<4>> {
        let found = self.by_block.iter_mut().find(|(p, k, _)| *p == past && k == kind);
        match &mut found?.2.mask {
            Mask::Added(added) => Some(added),
            Mask::Text(_) => None,
        }
    }

    /// For tokens that follow `past` positions, in a block of this kind.
    ///
    /// # Panics
    /// If these positions were not made for that many, or for this kind.
    pub fn after(&self, past: usize, kind: &AttentionKind) -> &BlockPositions {
        let found = self.by_block.iter().find(|(p, k, _)| (*p, k) == (past, kind));
        #[allow(clippy::expect_used)] // The model makes them for every past and kind that its blocks have.
        found.map(|(.., positions)| positions).expect("a standing for every past and kind of the model")
    }
}

/// A mask `[batch, 1, seq, keys]` with as many keys before them that every query sees.
fn after(past: usize, mask: Tensor<4>) -> Tensor<4> {
    if past == 0 {
        return mask;
    }
    let [batch, heads, seq, _] = mask.dims();
    Tensor::cat(vec![Tensor::zeros([batch, heads, seq, past], &mask.device()), mask], 3)
}
