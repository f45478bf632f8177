//! AutoPEFT's space: which blocks are on, and of each method the size that it has in all of them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use stratune_peft::MethodKind;

use super::gaussian_process::Point;
use crate::space::{Sizes, Space};

/// A structure of this space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// Whether each block is on.
    pub blocks: Vec<bool>,
    /// Of each method, which of its sizes, counted from 1; 0: none.
    pub sizes: Vec<usize>,
}

impl Choice {
    /// Blocks that are on, and all sizes.
    fn total(&self) -> usize {
        self.blocks.iter().filter(|on| **on).count() + self.sizes.iter().sum::<usize>()
    }
}

/// What a structure is chosen among.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    /// Of each module its block and its method, both counted.
    modules: Vec<[usize; 2]>,
    blocks: usize,
    /// Sizes of each method.
    sizes: Vec<Vec<usize>>,
    /// The most numbers that a structure has under each budget, upwards.
    pub limits: Vec<u64>,
}

impl Choices {
    /// Of a space.
    pub fn new(space: &Space) -> Self {
        let mut kinds: Vec<MethodKind> = Vec::new();
        let (mut modules, mut sizes) = (Vec::new(), Vec::new());
        for module in &space.modules {
            let kind = kinds.iter().position(|kind| *kind == module.kind()).unwrap_or_else(|| {
                kinds.push(module.kind());
                sizes.push(module.sizes.clone());
                kinds.len() - 1
            });
            // What is in no block is one more.
            modules.push([module.at.placed.block_number().unwrap_or(space.model.layers), kind]);
        }
        let blocks = modules.iter().map(|[block, _]| block + 1).max().unwrap_or(0);
        let budgets = std::iter::once(space.budget).chain(space.larger.iter().copied());
        Self { modules, blocks, sizes, limits: budgets.map(|budget| space.under(budget).limit()).collect() }
    }

    /// The size of each module.
    pub fn spread(&self, choice: &Choice) -> Sizes {
        let size = |[block, kind]: &[usize; 2]| match choice.sizes[*kind] {
            0 => 0,
            at if choice.blocks[*block] => self.sizes[*kind][at - 1],
            _ => 0,
        };
        self.modules.iter().map(size).collect()
    }

    /// Whether it is a structure of at most so many numbers, and has some.
    pub fn allows(&self, space: &Space, choice: &Choice, limit: u64) -> bool {
        let lengths = choice.blocks.len() == self.blocks && choice.sizes.len() == self.sizes.len();
        lengths
            && choice.sizes.iter().zip(&self.sizes).all(|(at, sizes)| *at <= sizes.len())
            && (1..=limit).contains(&space.count(&self.spread(choice)))
    }

    /// The structure with the fewest numbers: one method in one block.
    pub fn smallest(&self, space: &Space) -> Choice {
        let one = |block: usize, kind: usize| Choice {
            blocks: (0..self.blocks).map(|i| i == block).collect(),
            sizes: (0..self.sizes.len()).map(|k| usize::from(k == kind)).collect(),
        };
        let all = (0..self.blocks).flat_map(|block| (0..self.sizes.len()).map(move |kind| one(block, kind)));
        let counted = all.map(|choice| (space.count(&self.spread(&choice)), choice));
        counted
            .filter(|(count, _)| *count > 0)
            .min_by_key(|(count, _)| *count)
            .map_or_else(|| one(0, 0), |least| least.1)
    }

    /// Any structure of at most so many numbers: blocks and sizes drawn evenly, and made less at random until it fits.
    pub fn draw(&self, space: &Space, limit: u64, rng: &mut ChaCha8Rng) -> Choice {
        let mut choice = Choice {
            blocks: (0..self.blocks).map(|_| rng.random_bool(0.5)).collect(),
            sizes: self.sizes.iter().map(|sizes| rng.random_range(0..=sizes.len())).collect(),
        };
        while space.count(&self.spread(&choice)) > limit {
            let less = self.neighbours(&choice).into_iter().filter(|other| other.total() < choice.total());
            let less: Vec<Choice> = less.collect();
            choice = less[rng.random_range(0..less.len())].clone();
        }
        if self.allows(space, &choice, limit) { choice } else { self.smallest(space) }
    }

    /// What one step away is: a block switched, or a method a size larger or smaller.
    pub fn neighbours(&self, of: &Choice) -> Vec<Choice> {
        let switched = (0..self.blocks).map(|i| {
            let mut other = of.clone();
            other.blocks[i] ^= true;
            other
        });
        let resized = |k: usize| {
            let at = of.sizes[k];
            let sizes = [at.checked_sub(1), Some(at + 1).filter(|at| *at <= self.sizes[k].len())];
            sizes.into_iter().flatten().map(move |at| {
                let mut other = of.clone();
                other.sizes[k] = at;
                other
            })
        };
        switched.chain((0..self.sizes.len()).flat_map(resized)).collect()
    }

    /// As the Gaussian process sees it: blocks 0 or 1, sizes from 0 to 1.
    pub fn point(&self, choice: &Choice) -> Point {
        let share = |(at, sizes): (&usize, &Vec<usize>)| *at as f64 / sizes.len() as f64;
        let blocks = choice.blocks.iter().map(|on| f64::from(u8::from(*on)));
        [blocks.collect(), choice.sizes.iter().zip(&self.sizes).map(share).collect()]
    }
}
