//! Where the operands and outputs of one dispatch lie, and what is bound for them.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;

use super::epilogue::Operand;
use super::plan::Plan;
use super::products::{LowRank, Product};
use super::size::Size;
use super::weight::Weight;
use crate::shader::{Bound, FOUR_NUMBERS, fours};
use crate::tensor_list::{common_buffer, empty_tensors, in_one_buffer};

/// Bytes of a word.
const WORD: u64 = 4;

/// The operands of products in one dispatch.
pub struct Operands {
    pub lhs: Places,
    pub rhs: Places,
    pub updates: Updates,
    /// None if no product has one.
    pub biases: Option<Places>,
}

/// Where the factors lie, of the products with an update.
pub enum Updates {
    /// There are none.
    None,
    /// All down and then all up, and what is between them is made.
    Both(Places),
    /// Up, where what they are multiplied by is given.
    Up(Places),
}

impl Operands {
    /// If they lie so that they can be bound: both sides in one buffer or in two, and what is quantized or factors in
    /// one. What updates have in the middle is to be made `along` if all their factors are in one buffer.
    pub fn of(each: &[Product], along: bool) -> Option<Self> {
        let lhs = Places::of(each.iter().map(|product| &product.lhs), 2, FOUR_NUMBERS, 1)?;
        let rhs = match &each.first()?.rhs {
            Weight::Floats(_) => {
                let tensors: Option<Vec<_>> = each.iter().map(|product| product.rhs.as_floats()).collect();
                Places::of(tensors?.into_iter(), 2, FOUR_NUMBERS, 1)?
            }
            Weight::Quantized { format, .. } => {
                let tensors: Option<Vec<_>> = each.iter().map(|product| product.rhs.as_words(*format)).collect();
                Places::of(tensors?.into_iter(), 1, format.block_words() as u64 * WORD, format.block_fours())?
            }
        };
        let updates: Vec<&LowRank> = each.iter().filter_map(|product| product.update.as_ref()).collect();
        let down = updates.iter().map(|update| &update.down);
        let up = updates.iter().map(|update| &update.up);
        let both = || along.then(|| Places::of(down.chain(up.clone()), 1, FOUR_NUMBERS, 1))?;
        let updates = match updates.is_empty() {
            true => Updates::None,
            false => match both() {
                Some(both) => Updates::Both(both),
                None => Updates::Up(Places::of(up, 1, FOUR_NUMBERS, 1)?),
            },
        };
        let biases: Vec<_> = each.iter().filter_map(|product| product.bias.as_ref()).collect();
        let biases = match biases.is_empty() {
            true => None,
            false => Some(Places::of(biases.into_iter(), 1, FOUR_NUMBERS, 1)?),
        };
        (lhs.wholes.len() == rhs.wholes.len()).then_some(Self { lhs, rhs, updates, biases })
    }

    /// Whether what updates have in the middle is made in this dispatch.
    pub fn makes_low(&self) -> bool {
        matches!(self.updates, Updates::Both(_))
    }
}

/// Where some tensors lie.
pub struct Places {
    /// Tensors that have all of them, one for each memory.
    pub wholes: Vec<CubeTensor>,
    /// For each the number of its memory, and where in it it begins, in fours of numbers.
    pub at: Vec<(u32, u32)>,
}

impl Places {
    /// If there are at most so many buffers; a unit of so many bytes is so many fours.
    fn of<'a>(tensors: impl Iterator<Item = &'a CubeTensor>, memories: usize, unit: u64, fours: u32) -> Option<Self> {
        let tensors: Vec<&CubeTensor> = tensors.collect();
        let mut places = Self { wholes: Vec::new(), at: vec![(0, 0); tensors.len()] };
        let mut rest: Vec<usize> = (0..tensors.len()).collect();
        while let Some(first) = rest.first().copied() {
            let (here, elsewhere) = rest.into_iter().partition(|i| in_one_buffer(tensors[*i], tensors[first]));
            rest = elsewhere;
            let here: Vec<usize> = here;
            let (whole, begins) = common_buffer(&here.iter().map(|i| tensors[*i]).collect::<Vec<_>>())?;
            for (i, begin) in here.into_iter().zip(begins) {
                let units = u32::try_from(begin / unit).ok().filter(|_| begin.is_multiple_of(unit))?;
                places.at[i] = (places.wholes.len() as u32, units.checked_mul(fours)?);
            }
            places.wholes.push(whole);
        }
        (places.wholes.len() <= memories).then_some(places)
    }
}

/// All that a dispatch reads and writes.
pub struct Bindings {
    pub operands: Operands,
    /// Of each product with an update, `lhs down'`: read, or made along.
    pub low: Vec<CubeTensor>,
    pub outputs: Vec<CubeTensor>,
    /// What the epilogue binds, none or one.
    pub epilogue: Vec<Operand>,
    /// Tensors that have all outputs, and all that is low, and where in them each begins.
    whole: CubeTensor,
    pub begins: Vec<u32>,
    whole_low: Option<CubeTensor>,
    pub low_begins: Vec<u32>,
}

/// The numbers of the bindings that may be elsewhere, or not be there.
pub struct Slots {
    pub epilogue: usize,
    pub bias: usize,
    /// Of lhs that lies in another buffer; behind it that of rhs.
    pub others: usize,
    pub products: usize,
}

impl Bindings {
    /// If everything lies so that it can be bound. What is low and not made along is made by `before`, of these sizes.
    pub fn of(plan: &Plan, each: &[Product], before: impl FnOnce(&[Size]) -> Vec<CubeTensor>) -> Option<Self> {
        let like = &each.first()?.lhs;
        let operands = Operands::of(each, plan.makes_low())?;
        let epilogue = plan.epilogue.bind(like, plan.sizes)?;
        let outputs = empty_tensors(like, &plan.epilogue.outputs(plan.sizes, plan.summed));
        let (whole, begins) = places(&outputs)?;
        let low = match operands.updates {
            Updates::None => Vec::new(),
            Updates::Both(_) => empty_tensors(like, &plan.low.iter().map(Size::output).collect::<Vec<_>>()),
            Updates::Up(_) => before(&plan.low),
        };
        let (whole_low, low_begins) = match low.is_empty() {
            true => (None, Vec::new()),
            false => places(&low).map(|(whole, begins)| (Some(whole), begins))?,
        };
        Some(Self { operands, low, outputs, epilogue, whole, begins, whole_low, low_begins })
    }

    /// Numbers between down and up of all updates.
    pub fn rank(&self) -> u32 {
        self.low.first().map_or(0, |low| low.shape()[1] as u32)
    }

    /// What is bound, in order.
    pub fn list(&self) -> (Vec<Bound<'_>>, Slots) {
        let Operands { lhs, rhs, updates, biases } = &self.operands;
        let [lhs, rhs] = [lhs, rhs].map(|of| of.wholes.iter().map(Bound::In));
        let mut bound: Vec<Bound> = lhs.clone().take(1).chain(rhs.clone().take(1)).collect();
        bound.push(Bound::InOut(&self.whole));
        match updates {
            Updates::None => {}
            Updates::Up(up) => {
                bound.extend(self.whole_low.iter().map(Bound::In));
                bound.extend(up.wholes.iter().map(Bound::In));
            }
            Updates::Both(factors) => {
                bound.extend(self.whole_low.iter().map(Bound::Out));
                bound.extend(factors.wholes.iter().map(Bound::In));
            }
        }
        let epilogue = bound.len();
        for Operand { tensor, written, .. } in &self.epilogue {
            bound.push(if *written { Bound::Out(tensor) } else { Bound::In(tensor) });
        }
        let bias = bound.len();
        bound.extend(biases.iter().flat_map(|biases| &biases.wholes).map(Bound::In));
        let others = bound.len();
        bound.extend(lhs.skip(1).chain(rhs.skip(1)));
        let products = bound.len();
        (bound, Slots { epilogue, bias, others, products })
    }
}

/// One tensor that has all of these, and where in it each begins, in fours.
fn places(tensors: &[CubeTensor]) -> Option<(CubeTensor, Vec<u32>)> {
    let (whole, begins) = common_buffer(&tensors.iter().collect::<Vec<_>>())?;
    Some((whole, begins.into_iter().map(fours).collect()))
}
