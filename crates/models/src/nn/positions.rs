//! Where the tokens are.

use burn::tensor::{Device, Int, Tensor};
use stratune_kernels::{Angles, Rotary, Sight};

/// What the blocks need to know about where the tokens are.
#[derive(Clone, Debug)]
pub struct Positions {
    /// By how many positions come before the tokens, as blocks with a prefix have more of them, and by how far a query sees.
    standings: Vec<(usize, Option<usize>, Standing)>,
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
    /// For `seq` tokens of one text a row, which follow each number in `pasts` of earlier positions and see as far back as
    /// each of `windows`.
    pub fn new(rotary: &Rotary, seq: usize, pasts: &[usize], windows: &[Option<usize>], device: &Device) -> Self {
        let mut standings: Vec<(usize, Option<usize>, Standing)> = Vec::new();
        for &past in pasts {
            if standings.iter().any(|(p, ..)| *p == past) {
                continue;
            }
            let angles = rotary.angles_after(past, seq);
            for &window in windows {
                let sight = match window {
                    // One that is alone is given the keys of its window.
                    Some(window) if seq > 1 && past + seq > window => Sight::whole(seq, device).within(window, past),
                    _ => Sight::whole(seq, device),
                };
                standings.push((past, window, Standing { angles: angles.clone(), sight }));
            }
        }
        Self { standings, side: None }
    }

    /// For rows of several texts, which follow nothing.
    pub fn among(rotary: &Rotary, texts: &Texts, windows: &[Option<usize>]) -> Self {
        let angles = rotary.angles_at(&texts.places);
        let [_, seq] = texts.begins.dims();
        let of = |window: Option<usize>| {
            let sight = Sight::since(texts.begins.clone());
            let sight = match window {
                Some(window) if seq > window => sight.within(window, 0),
                _ => sight,
            };
            (0, window, Standing { angles: angles.clone(), sight })
        };
        Self { standings: windows.iter().map(|window| of(*window)).collect(), side: None }
    }

    /// For tokens that follow `past` positions and see as far back as `window`.
    ///
    /// # Panics
    /// If these positions were not made for that many, or for this window.
    pub fn after(&self, past: usize, window: Option<usize>) -> &Standing {
        let found = self.standings.iter().find(|(p, w, _)| (*p, *w) == (past, window));
        #[allow(clippy::expect_used)] // The model makes them for every past and window that its blocks have.
        found.map(|(.., standing)| standing).expect("a standing for every past and window of the model")
    }
}
