//! One dispatch of the WGSL kernels of `shaders/linear.wgsl`: what is bound where, and what the shader is told of each product.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;

use super::finish::Turn;
use super::products::{LowRank, Product};
use super::size::{Orientation, Reading, Size};
use super::weight::Weight;
use crate::compute::Half;
use crate::several::{covering, in_one_memory};
use crate::shader::{Bound, Shader, grid};

/// Invocations of a workgroup where each reads for itself, as `linear_direct.wgsl` has them.
const DIRECT_INVOCATIONS: u32 = 8;
/// Blocks of four columns in half a tile of the shader's.
const HALF_A_TILE: u32 = 8;
/// Where the bias of a product without one begins.
const NO_BIAS: u32 = u32::MAX;
/// Numbers that a shader reads at once, which places are counted in.
const FOUR: u64 = 4;
/// Bytes of a number, or of a word.
const BYTES: u64 = 4;

/// The operands of products in one dispatch.
pub struct Together {
    lhs: Places,
    rhs: Places,
    updates: Updates,
    /// None if no product has one.
    biases: Option<Places>,
}

/// Where the factors lie, of the products with an update.
enum Updates {
    /// There are none.
    None,
    /// All down and then all up, and what is between them is made.
    Both(Places),
    /// Up, where what they are multiplied by is given.
    Up(Places),
}

impl Together {
    /// If they lie so that they can be bound: both sides in one memory or in two, and what is packed or factors in one.
    /// What updates have in the middle is to be made `along` if all their factors are in one memory.
    pub fn of(each: &[Product], along: bool) -> Option<Self> {
        let lhs = Places::of(each.iter().map(|product| &product.lhs), 2, FOUR * BYTES, 1)?;
        let rhs = match &each.first()?.rhs {
            Weight::Floats(_) => {
                let tensors: Option<Vec<_>> = each.iter().map(|product| product.rhs.as_floats()).collect();
                Places::of(tensors?.into_iter(), 2, FOUR * BYTES, 1)?
            }
            Weight::Packed { dtype, .. } => {
                let tensors: Option<Vec<_>> = each.iter().map(|product| product.rhs.as_words(*dtype)).collect();
                Places::of(tensors?.into_iter(), 1, dtype.block_words() as u64 * BYTES, dtype.block_fours())?
            }
        };
        let updates: Vec<&LowRank> = each.iter().filter_map(|product| product.update.as_ref()).collect();
        let down = updates.iter().map(|update| &update.down);
        let up = updates.iter().map(|update| &update.up);
        let both = || along.then(|| Places::of(down.chain(up.clone()), 1, FOUR * BYTES, 1))?;
        let updates = match updates.is_empty() {
            true => Updates::None,
            false => match both() {
                Some(both) => Updates::Both(both),
                None => Updates::Up(Places::of(up, 1, FOUR * BYTES, 1)?),
            },
        };
        let biases: Vec<_> = each.iter().filter_map(|product| product.bias.as_ref()).collect();
        let biases = match biases.is_empty() {
            true => None,
            false => Some(Places::of(biases.into_iter(), 1, FOUR * BYTES, 1)?),
        };
        (lhs.wholes.len() == rhs.wholes.len()).then_some(Self { lhs, rhs, updates, biases })
    }

    /// Whether what updates have in the middle is made in this dispatch.
    pub fn makes_low(&self) -> bool {
        matches!(self.updates, Updates::Both(_))
    }
}

/// Where some tensors lie.
struct Places {
    /// Tensors that have all of them, one for each memory.
    wholes: Vec<CubeTensor>,
    /// For each the number of its memory, and where in it it begins, in fours of numbers.
    at: Vec<(u32, u32)>,
}

impl Places {
    /// If there are at most so many memories; a unit of so many bytes is so many fours.
    fn of<'a>(tensors: impl Iterator<Item = &'a CubeTensor>, memories: usize, unit: u64, fours: u32) -> Option<Self> {
        let tensors: Vec<&CubeTensor> = tensors.collect();
        let mut places = Self { wholes: Vec::new(), at: vec![(0, 0); tensors.len()] };
        let mut rest: Vec<usize> = (0..tensors.len()).collect();
        while let Some(first) = rest.first().copied() {
            let (here, elsewhere) = rest.into_iter().partition(|i| in_one_memory(tensors[*i], tensors[first]));
            rest = elsewhere;
            let here: Vec<usize> = here;
            let (whole, begins) = covering(&here.iter().map(|i| tensors[*i]).collect::<Vec<_>>())?;
            for (i, begin) in here.into_iter().zip(begins) {
                let units = u32::try_from(begin / unit).ok().filter(|_| begin.is_multiple_of(unit))?;
                places.at[i] = (places.wholes.len() as u32, units.checked_mul(fours)?);
            }
            places.wholes.push(whole);
        }
        (places.wholes.len() <= memories).then_some(places)
    }
}

/// A dispatch.
pub struct Launch<'a> {
    pub orientation: Orientation,
    pub reading: Reading,
    pub sizes: &'a [Size],
    pub summed: bool,
    pub onto: Option<&'a CubeTensor>,
    pub end: &'a End<'a>,
    /// Only in tiles.
    pub half: Option<Half>,
}

/// What is done with products where they are made, and with what.
pub enum End<'a> {
    Keep,
    /// The values of a gated activation, of which the products are the gate and what it gates, go here.
    Gate(CubeTensor),
    /// The gradient of such values: gate and what it gates are in this, and where they begin in it, in bytes.
    GateBack(CubeTensor, Vec<u64>),
    /// By angles in this, where cosines and sines begin, in bytes.
    Turn(&'a Turn, CubeTensor, Vec<u64>),
}

impl Launch<'_> {
    /// Puts what they make into `outs`, if these lie in one memory; else says no. What updates have in the middle is `low`,
    /// which is read or made.
    pub fn dispatch(&self, each: &[Product], operands: &Together, low: &[CubeTensor], outs: &[CubeTensor]) -> bool {
        let Some((out, begins)) = covering(&outs.iter().collect::<Vec<_>>()) else { return false };
        let low_covering = covering(&low.iter().collect::<Vec<_>>());
        if low_covering.is_none() && !low.is_empty() {
            return false;
        }
        let Self { orientation, reading, sizes, summed, onto, end, half } = *self;
        let joined = summed || matches!(end, End::Gate(_));
        let rank = low.first().map_or(0, |low| low.shape()[1] as u32);
        let shader = Shader::new("linear", include_str!("../../../../shaders/linear.wgsl"))
            .with("lhs_depth_last", orientation != Orientation::Tn)
            .with("rhs_depth_last", orientation == Orientation::Nt)
            .with("products", each.len())
            .with("summed", summed)
            .with("joined", joined)
            .with("reading", format!("{reading:?}"))
            .unrolled("$onto", u32::from(onto.is_some()))
            .unrolled("$gate", u32::from(matches!(end, End::Gate(_))))
            .unrolled("$back", u32::from(matches!(end, End::GateBack(..))))
            .unrolled("$turn", u32::from(matches!(end, End::Turn(..))))
            .unrolled("$bias", u32::from(operands.biases.is_some()))
            .unrolled("$other", u32::from(operands.lhs.wholes.len() > 1))
            .unrolled("$half", u32::from(half.is_some()))
            .unrolled("$whole", u32::from(half.is_none()));
        let shader = match reading {
            Reading::Tiled => shader
                .and(include_str!("../../../../shaders/linear_tiled.wgsl"))
                .with("number", if half.is_some() { "f16" } else { "f32" })
                .unrolled("$low", if operands.makes_low() { rank / 4 } else { 0 })
                .and(if matches!(end, End::Turn(..)) {
                    include_str!("../../../../shaders/linear_turn.wgsl")
                } else {
                    ""
                }),
            Reading::Split => shader.and(include_str!("../../../../shaders/linear_split.wgsl")),
            Reading::Direct { side } => shader
                .and(include_str!("../../../../shaders/linear_direct.wgsl"))
                .with("side", side)
                .unrolled("$r", side / 4)
                .unrolled("$c", side / 4),
        };
        let shader = match &each[0].rhs {
            Weight::Floats(_) => shader.and(include_str!("../../../../shaders/floats.wgsl")).with("bits", 32),
            Weight::Packed { dtype, .. } => dtype.read_by(shader),
        };
        let [lhs, rhs] = [&operands.lhs, &operands.rhs].map(|of| of.wholes.iter().map(Bound::In));
        let first = lhs.clone().take(1).chain(rhs.clone().take(1));
        let mut bound: Vec<Bound> = first.chain([Bound::InOut(&out)]).collect();
        let update = include_str!("../../../../shaders/linear_update.wgsl");
        let shader = match &operands.updates {
            Updates::None => shader.and(include_str!("../../../../shaders/linear_alone.wgsl")),
            Updates::Up(up) => {
                bound.extend(low_covering.iter().map(|(low, _)| Bound::In(low)));
                bound.extend(up.wholes.iter().map(Bound::In));
                shader.and(update).and(include_str!("../../../../shaders/linear_low_given.wgsl"))
            }
            Updates::Both(factors) => {
                bound.extend(low_covering.iter().map(|(low, _)| Bound::Out(low)));
                bound.extend(factors.wholes.iter().map(Bound::In));
                let made = shader.and(update).and(include_str!("../../../../shaders/linear_low_made.wgsl"));
                made.with("rank", rank).with("low_shares", if half.is_some() { "own_shares" } else { "lhs_tile" })
            }
        };
        let onto_binding = bound.len();
        bound.extend(onto.map(Bound::In));
        let finish_binding = bound.len();
        match end {
            End::Keep => {}
            End::Gate(value) => bound.push(Bound::Out(value)),
            End::GateBack(read, _) | End::Turn(_, read, _) => bound.push(Bound::In(read)),
        }
        let bias_binding = bound.len();
        bound.extend(operands.biases.iter().flat_map(|biases| &biases.wholes).map(Bound::In));
        let others = bound.len();
        bound.extend(lhs.skip(1).chain(rhs.skip(1)));
        let mut numbers = Vec::new();
        let mut makers = 0;
        let fours = |bytes: u64| (bytes / (FOUR * BYTES)) as u32;
        let mut updated = 0;
        let mut biased = operands.biases.iter().flat_map(|biases| &biases.at);
        for (i, (product, size)) in each.iter().zip(sizes).enumerate() {
            let [(of_lhs, lhs), (of_rhs, rhs)] = [operands.lhs.at[i], operands.rhs.at[i]];
            let to = begins.get(i).map_or(0, |begin| fours(*begin));
            let (update, bias) = (product.update.as_ref(), product.bias.as_ref());
            let [rank, of_low, down, up, update_scale] = update.map_or([0; 5], |update| {
                let k = updated;
                updated += 1;
                let of_low = low_covering.as_ref().map_or(0, |(_, begins)| fours(begins[k]));
                let (down, up) = match &operands.updates {
                    Updates::None => (0, 0),
                    Updates::Up(up) => (0, up.at[k].1),
                    Updates::Both(both) => (both.at[k].1, both.at[low.len() + k].1),
                };
                [low[k].shape()[1] as u32, of_low, down, up, update.scale.to_bits()]
            });
            numbers.extend([size.rows, size.columns, size.depth, rank]);
            numbers.extend([lhs, rhs, of_low, down, up]);
            numbers.extend([to, makers, product.scale.to_bits(), update_scale, of_lhs, of_rhs]);
            numbers.push(bias.and_then(|_| biased.next()).map_or(NO_BIAS, |(_, begin)| *begin));
            numbers.extend(match end {
                End::Keep | End::Turn(..) => [0; 4],
                End::Gate(_) => [fours(begins[0]), 0, 0, 0],
                End::GateBack(_, inputs) => [inputs[0], inputs[1], begins[1], begins[2]].map(fours),
            });
            // Blocks of a tile that lie half a tile apart are no pairs of anything.
            numbers.extend(match end {
                End::Turn(turn, _, begins) if i < turn.first => {
                    [turn.half(), turn.period(), fours(begins[0]), fours(begins[1])]
                }
                _ => [HALF_A_TILE, 0, 0, 0],
            });
            numbers.extend(half.iter().flat_map(|half| [half.loss_scale, 1.0 / half.loss_scale]).map(f32::to_bits));
            makers += if joined && i > 0 { 0 } else { size.makers(reading) };
        }
        let workgroups = match reading {
            Reading::Direct { .. } => makers.div_ceil(DIRECT_INVOCATIONS),
            Reading::Tiled | Reading::Split => makers,
        };
        let shader = shader
            .with("onto_binding", onto_binding)
            .with("value_binding", finish_binding)
            .with("gates_binding", finish_binding)
            .with("angles_binding", finish_binding)
            .with("bias_binding", bias_binding)
            .with("other_lhs_binding", others)
            .with("other_rhs_binding", others + 1)
            .with("products_binding", bound.len());
        shader.launch(&bound, &numbers, grid(workgroups));
        true
    }
}
