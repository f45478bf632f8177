//! Where the tokens are.

use burn::tensor::{Device, Int, Tensor};
use stratune_kernels::{Angles, Rotary, Sight};

/// What the blocks need to know about where the tokens are.
#[derive(Clone, Debug)]
pub struct Positions {
    /// By how many positions come before the tokens: blocks with a prefix have more of them.
    standings: Vec<(usize, Standing)>,
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
    pub fn new(rotary: &Rotary, seq: usize, pasts: &[usize], device: &Device) -> Self {
        let mut standings: Vec<(usize, Standing)> = Vec::new();
        for &past in pasts {
            if !standings.iter().any(|(p, _)| *p == past) {
                let angles = rotary.angles_after(past, seq);
                standings.push((past, Standing { angles, sight: Sight::whole(seq, device) }));
            }
        }
        Self { standings, side: None }
    }

    /// For rows of several texts, which follow nothing.
    pub fn among(rotary: &Rotary, texts: &Texts) -> Self {
        let standing = Standing { angles: rotary.angles_at(&texts.places), sight: Sight::since(texts.begins.clone()) };
        Self { standings: vec![(0, standing)], side: None }
    }

    /// For tokens that follow `past` positions.
    ///
    /// # Panics
    /// If these positions were not made for that many.
    pub fn after(&self, past: usize) -> &Standing {
        let found = self.standings.iter().find(|(p, _)| *p == past);
        #[allow(clippy::expect_used)] // The model makes them for every past that its blocks have.
        found.map(|(_, standing)| standing).expect("a standing for every past of the model")
    }
}
