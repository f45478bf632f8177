//! The heatmap itself: a row a layer, the output on top; a column a stretch of steps.

use crate::parts::axis;
use crate::parts::canvas::Surface;
use crate::parts::ramp;
use crate::state::history::History;
use crate::state::strata::Column;

/// Paints all columns and says on the element how many there are.
pub fn paint(surface: &Surface, history: &History, chosen: Option<usize>) {
    let strata = &history.strata;
    let _ = surface.canvas.set_attribute("data-columns", &strata.columns.len().to_string());
    if strata.layers == 0 {
        return;
    }
    let shown = axis::horizon(history.step, history.steps) as f64;
    let x = |step: usize| (surface.width * (step as f64 / shown).min(1.0)).round();
    let row = surface.height / strata.layers as f64;
    // Wide columns are set apart; narrow ones would be mostly gap.
    let gap = if surface.width * strata.interval as f64 / shown >= 7.0 { 1.0 } else { 0.0 };
    let mut drawn = 0.0;
    for (i, column) in strata.columns.iter().enumerate() {
        let end = strata.columns.get(i + 1).map_or(column.first + strata.interval, |next| next.first);
        let (left, right) = (x(column.first), x(end));
        drawn = right;
        if right > left {
            paint_column(surface, column, strata.layers, (left, right - gap), row);
        }
    }
    // A hairline between the rows, where they are high enough to spare one.
    if row >= 10.0 {
        for layer in 1..strata.layers {
            let at = (row * layer as f64).round();
            surface.context.set_fill_style_str(&surface.ink.ground);
            surface.context.fill_rect(0.0, at - 0.5, surface.width, 1.0);
        }
    }
    if let Some(layer) = chosen.filter(|l| *l < strata.layers) {
        let top = row * (strata.layers - 1 - layer) as f64;
        surface.context.set_stroke_style_str(&surface.ink.text);
        surface.context.set_line_width(2.0);
        surface.context.stroke_rect(1.0, top + 1.0, drawn - 2.0, row - 2.0);
    }
}

fn paint_column(surface: &Surface, column: &Column, layers: usize, (left, right): (f64, f64), row: f64) {
    for layer in 0..layers {
        let top = (row * (layers - 1 - layer) as f64).round();
        let bottom = (row * (layers - layer) as f64).round();
        let colour = ramp::colour(f64::from(column.shade(layer)), surface.dark);
        surface.context.set_fill_style_str(&ramp::css(colour));
        surface.context.fill_rect(left, top, right - left, bottom - top);
        let share = f64::from(column.share(layer));
        let room = (right - left).min(row);
        if column.probabilities.is_some() && share > 0.0 && room >= 7.0 {
            let dot = if ramp::is_light(colour) { "rgb(0 0 0 / 0.6)" } else { "rgb(255 255 255 / 0.75)" };
            let middle = ((left + right) / 2.0, (top + bottom) / 2.0);
            surface.circle(middle, 0.3 * room * share.sqrt(), dot, None);
        }
    }
}
