//! The text of a dispatch, and what the shader is told of each product.

use super::bind::{Bindings, Slots, Updates};
use super::plan::Plan;
use super::products::Product;
use super::size::{Orientation, Reading};
use super::weight::Weight;
use crate::shader::Shader;

/// Where the bias of a product without one begins.
const NO_BIAS: u32 = u32::MAX;

/// The shader.
pub fn shader(plan: &Plan, each: &[Product], bindings: &Bindings, slots: &Slots) -> Shader {
    let operands = &bindings.operands;
    let half = plan.half.is_some();
    let shader = Shader::new("linear", include_str!("../../../../shaders/linear.wgsl"))
        .with("lhs_depth_last", plan.orientation != Orientation::Tn)
        .with("rhs_depth_last", plan.orientation == Orientation::Nt)
        .with("products", each.len())
        .with("summed", plan.summed)
        .with("joined", plan.joined())
        .with("reading", format!("{:?}", plan.reading))
        .with("epilogue_binding", slots.epilogue)
        .with("bias_binding", slots.bias)
        .with("other_lhs_binding", slots.others)
        .with("other_rhs_binding", slots.others + 1)
        .with("products_binding", slots.products)
        .unrolled("$with_bias", u32::from(operands.biases.is_some()))
        .unrolled("$with_other", u32::from(operands.lhs.wholes.len() > 1))
        .unrolled("$in_f16", u32::from(half))
        .unrolled("$in_f32", u32::from(!half));
    let shader = plan.epilogue.lines(shader);
    let low_lines = if operands.makes_low() { bindings.rank() / 4 } else { 0 };
    let shader = match plan.reading {
        Reading::Tiled => shader
            .and(include_str!("../../../../shaders/linear_tiled.wgsl"))
            .with("number", if half { "f16" } else { "f32" })
            .unrolled("$low", low_lines),
        Reading::Split => shader.and(include_str!("../../../../shaders/linear_split.wgsl")),
        Reading::Direct { side } => shader
            .and(include_str!("../../../../shaders/linear_direct.wgsl"))
            .with("side", side)
            .unrolled("$r", side / 4)
            .unrolled("$c", side / 4),
    };
    let shader = match each.first().map(|product| &product.rhs) {
        Some(Weight::Quantized { format, .. }) => format.read_by(shader),
        _ => shader.and(include_str!("../../../../shaders/floats.wgsl")).with("bits", 32),
    };
    let update = include_str!("../../../../shaders/linear_update.wgsl");
    match operands.updates {
        Updates::None => shader.and(include_str!("../../../../shaders/linear_alone.wgsl")),
        Updates::Up(_) => shader.and(update).and(include_str!("../../../../shaders/linear_low_given.wgsl")),
        Updates::Both(_) => shader
            .and(update)
            .and(include_str!("../../../../shaders/linear_low_made.wgsl"))
            .with("rank", bindings.rank())
            .with("low_shares", if half { "own_shares" } else { "lhs_tile" }),
    }
}

/// The numbers of each product, as `Product` of `linear.wgsl` has them.
pub fn numbers(plan: &Plan, each: &[Product], bindings: &Bindings) -> Vec<u32> {
    let operands = &bindings.operands;
    let (firsts, _) = plan.makers();
    let mut updates = bindings.low_begins.iter().zip(&plan.low).enumerate();
    let mut biases = operands.biases.iter().flat_map(|biases| &biases.at);
    let mut numbers = Vec::new();
    for (i, (product, size)) in each.iter().zip(plan.sizes).enumerate() {
        let [(of_lhs, lhs), (of_rhs, rhs)] = [operands.lhs.at[i], operands.rhs.at[i]];
        let update = product.update.as_ref().and_then(|update| Some((update.scale, updates.next()?)));
        let [rank, low, down, up, update_scale] = update.map_or([0; 5], |(scale, (k, (low, size)))| {
            let (down, up) = match &operands.updates {
                Updates::None => (0, 0),
                Updates::Up(up) => (0, up.at[k].1),
                Updates::Both(both) => (both.at[k].1, both.at[bindings.low.len() + k].1),
            };
            [size.columns, *low, down, up, scale.to_bits()]
        });
        let output = bindings.begins.get(i).copied().unwrap_or(0);
        let bias = product.bias.as_ref().and_then(|_| biases.next()).map_or(NO_BIAS, |(_, begin)| *begin);
        numbers.extend([size.rows, size.columns, size.depth, rank]);
        numbers.extend([lhs, rhs, low, down, up]);
        numbers.extend([output, firsts[i], product.scale.to_bits(), update_scale, of_lhs, of_rhs, bias]);
        let of_epilogue = bindings.epilogue.first().map_or(&[][..], |operand| &operand.begins);
        numbers.extend(plan.epilogue.numbers(i, &bindings.begins, of_epilogue));
        numbers.extend(plan.half.iter().flat_map(|half| [half.loss_scale, 1.0 / half.loss_scale]).map(f32::to_bits));
    }
    numbers
}
