//! Where the tokens are.

use burn::tensor::Device;
use stratune_kernels::{CausalMask, Rotary};

/// What the blocks need to know about where the tokens are.
#[derive(Clone, Debug)]
pub struct Positions {
    /// Angles of the positions.
    pub rotary: Rotary,
    /// Who sees whom, by how many positions come before the tokens: blocks with a prefix have more of them.
    masks: Vec<(usize, CausalMask)>,
    /// The same for the blocks of a ladder beside the model.
    pub side: Option<Box<Self>>,
}

impl Positions {
    /// For `seq` tokens that follow each number in `pasts` of earlier positions, `groups` query heads to a key head.
    pub fn new(rotary: Rotary, groups: usize, seq: usize, pasts: &[usize], device: &Device) -> Self {
        let mut masks: Vec<(usize, CausalMask)> = Vec::new();
        for &past in pasts {
            if !masks.iter().any(|(p, _)| *p == past) {
                masks.push((past, CausalMask::new(groups, seq, past, device)));
            }
        }
        Self { rotary, masks, side: None }
    }

    /// The mask for tokens that follow `past` positions.
    ///
    /// # Panics
    /// If these positions were not made for that many.
    pub fn mask(&self, past: usize) -> &CausalMask {
        #[allow(clippy::expect_used)] // The model makes them for every past that its blocks have.
        self.masks.iter().find(|(p, _)| *p == past).map(|(_, mask)| mask).expect("a mask for every past of the model")
    }
}
