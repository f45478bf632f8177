//! The small charts of a search: what is left against the budget, the history of a module, and the structures measured.

use stratune_protocol::BudgetUnit;

use crate::parts::axis::{self, Axis};
use crate::parts::canvas::Surface;
use crate::state::history::History;
use crate::state::search::{Search, told};
use crate::units;

/// Room around a plot, in CSS pixels.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 44.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 20.0;

/// The plot of a chart: where a share of its width and of its height is.
struct Plot {
    width: f64,
    height: f64,
}

impl Plot {
    fn of(surface: &Surface, title: &str) -> Self {
        surface.text(title, (LEFT, 8.0), &surface.ink.muted, "left");
        let plot =
            Self { width: (surface.width - LEFT - RIGHT).max(1.0), height: (surface.height - TOP - BOTTOM).max(1.0) };
        let bottom = surface.height - BOTTOM + 0.5;
        surface.line((LEFT, bottom), (surface.width - RIGHT, bottom), &surface.ink.muted, 1.0);
        plot
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (LEFT + self.width * x.clamp(0.0, 1.0), TOP + self.height * (1.0 - y.clamp(0.0, 1.0)))
    }

    /// What stands at the ends of the axis below.
    fn below(&self, surface: &Surface, ends: [String; 2]) {
        let at = surface.height - 8.0;
        surface.text(&ends[0], (LEFT, at), &surface.ink.muted, "left");
        surface.text(&ends[1], (surface.width - RIGHT, at), &surface.ink.muted, "right");
    }
}

/// A value that stays until the next, as a path.
fn stairs(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut path = Vec::with_capacity(2 * points.len());
    for &(x, y) in points {
        if let Some(&(_, before)) = path.last() {
            path.push((x, before));
        }
        path.push((x, y));
    }
    path
}

/// All that is left, the best structure, and the budget, over the steps; prunings as ticks.
pub fn budget(surface: &Surface, history: &History) {
    let search = &history.search;
    let _ = surface.canvas.set_attribute("data-points", &search.moments.len().to_string());
    let Some(last) = search.moments.last() else { return };
    let shown = axis::horizon(last.step, history.steps) as f64;
    let most =
        search.moments.iter().map(|m| m.left.max(m.parameters)).max().unwrap_or(0).max(search.budget).max(1) as f64;
    let plot = Plot::of(surface, if search.unit == BudgetUnit::Numbers { "numbers" } else { "time of a step" });
    let at = |step: usize, numbers: u64| plot.at(step as f64 / shown, numbers as f64 / most);
    let ink = &surface.ink;
    let line = plot.at(0.0, search.budget as f64 / most).1.round() + 0.5;
    surface.line((LEFT, line), (surface.width - RIGHT, line), &ink.muted, 1.0);
    surface.text(&told(search.unit, search.budget), (LEFT - 6.0, line), &ink.muted, "right");
    for (step, _) in search.prunings() {
        let (x, bottom) = plot.at(step as f64 / shown, 0.0);
        surface.line((x, bottom - 7.0), (x, bottom), &ink.text, 1.5);
    }
    let points = |of: fn(&crate::state::search::Moment) -> u64| {
        stairs(&search.moments.iter().map(|m| at(m.step, of(m))).collect::<Vec<_>>())
    };
    surface.path(points(|m| m.left).into_iter(), &ink.text, 1.75);
    surface.path(points(|m| m.parameters).into_iter(), &ink.accent, 1.75);
    let end = at(last.step, last.left);
    if (end.1 - line).abs() > 12.0 {
        surface.text(&told(search.unit, last.left), (LEFT - 6.0, end.1), &ink.text, "right");
    }
    plot.below(surface, ["step 0".into(), units::grouped(shown as u64)]);
}

/// The probability of a module and its size in the best structure, over the steps.
pub fn module(surface: &Surface, history: &History, module: Option<usize>) {
    let search = &history.search;
    let place = module.and_then(|module| Some((module, search.places.get(module)?)));
    let (Some((module, place)), Some(last)) = (place, search.moments.last()) else {
        let middle = (surface.width / 2.0, surface.height / 2.0);
        return surface.text("choose a module to see its history", middle, &surface.ink.muted, "center");
    };
    let shown = axis::horizon(last.step, history.steps) as f64;
    let plot = Plot::of(surface, "probability");
    let ink = &surface.ink;
    surface.text("size", (surface.width - RIGHT, 8.0), &ink.accent, "right");
    for (share, probability) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] {
        let at = plot.at(0.0, share).1.round() + 0.5;
        surface.line((LEFT, at), (surface.width - RIGHT, at), &ink.line, 1.0);
        surface.text(probability, (LEFT - 6.0, at), &ink.muted, "right");
    }
    let largest = place.largest.max(1) as f64;
    let all: Vec<(usize, f32, usize)> = search.history(module).collect();
    let sizes: Vec<_> = all.iter().map(|m| plot.at(m.0 as f64 / shown, m.2 as f64 / largest)).collect();
    surface.path(stairs(&sizes).into_iter(), &ink.accent, 1.5);
    surface.path(all.iter().map(|m| plot.at(m.0 as f64 / shown, f64::from(m.1))), &ink.text, 1.75);
    if let Some(&(step, chance, size)) = all.last() {
        let (x, y) = plot.at(step as f64 / shown, f64::from(chance));
        surface.circle((x, y), 3.0, &ink.text, None);
        surface.text(&format!("{chance:.2}"), (x + 6.0, (y - 9.0).max(TOP)), &ink.text, "left");
        let y = plot.at(0.0, size as f64 / largest).1;
        surface.text(&size.to_string(), (surface.width - 4.0, y), &ink.accent, "right");
    }
    plot.below(surface, ["step 0".into(), units::grouped(shown as u64)]);
}

/// The best structures measured: the loss on rows set apart by the numbers that they train.
pub fn front(surface: &Surface, search: &Search) {
    let most = search.front.iter().map(|p| p.parameters).max().unwrap_or(1).max(1) as f64;
    let Some(losses) = Axis::around(search.front.iter().map(|p| p.loss), false) else { return };
    let plot = Plot::of(surface, "loss of the structures measured");
    let ink = &surface.ink;
    let points: Vec<(f64, f64)> =
        search.front.iter().map(|p| plot.at(p.parameters as f64 / most, losses.place(p.loss))).collect();
    surface.path(points.iter().copied(), &ink.line, 1.5);
    for (point, of) in points.iter().zip(&search.front) {
        surface.circle(*point, 4.0, &ink.accent, None);
        surface.text(&units::loss(of.loss), (point.0, point.1 - 10.0), &ink.muted, "center");
    }
    let end = match search.unit {
        BudgetUnit::Numbers => units::grouped(most as u64),
        BudgetUnit::StepTime => told(search.unit, most as u64),
    };
    plot.below(surface, ["0".into(), end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_until_the_next() {
        assert_eq!(stairs(&[(0.0, 1.0), (2.0, 3.0)]), [(0.0, 1.0), (2.0, 1.0), (2.0, 3.0)]);
        assert_eq!(stairs(&[]), []);
    }
}
