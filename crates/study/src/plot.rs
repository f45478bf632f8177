//! A study's curves: loss on held-out rows by the step, a line for each combination, mean over its seeds in a band from the
//! lowest to the highest.

use svg::Document;
use svg::node::element::{Line, Path, Rectangle, Text, path::Data};

use crate::{Record, Study};

/// Width and height of the picture, and what is left free around the curves: left, right, above, below.
const SIZE: [f64; 2] = [900.0, 540.0];
const FREE: [f64; 4] = [70.0, 20.0, 44.0, 54.0];

/// Colours that are told apart with any sight (Okabe and Ito 2008).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// A combination's curve.
#[derive(Debug, PartialEq)]
struct Curve {
    name: String,
    /// Step, lowest, mean and highest loss.
    points: Vec<(usize, [f64; 3])>,
}

/// The curves of these records as SVG; none if no run has measured on the way.
pub fn plot(study: &Study, records: &[Record]) -> Option<String> {
    let curves = curves(study, records);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points().map(|(step, _)| *step).max()?.max(1) as f64;
    let low = points().map(|(_, [low, ..])| *low).fold(f64::INFINITY, f64::min);
    let high = points().map(|(_, [.., high])| *high).fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.05 * (high - low).max(1e-3);
    let (low, high) = (low - margin, high + margin);

    let [width, height] = [SIZE[0] - FREE[0] - FREE[1], SIZE[1] - FREE[2] - FREE[3]];
    let x = |step: f64| FREE[0] + width * step / last;
    let y = |loss: f64| FREE[2] + height * (high - loss) / (high - low);
    let text = |content: String, [x, y]: [f64; 2], anchor: &str| {
        let text = Text::new(content).set("x", round(x)).set("y", round(y)).set("text-anchor", anchor);
        text.set("font-family", "sans-serif").set("font-size", 13).set("fill", "#333")
    };
    let line = |[x1, y1]: [f64; 2], [x2, y2]: [f64; 2], colour: &str, width: f64| {
        let line = Line::new().set("x1", round(x1)).set("y1", round(y1)).set("x2", round(x2)).set("y2", round(y2));
        line.set("stroke", colour).set("stroke-width", width)
    };

    let background = Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "#fff");
    let mut picture = Document::new().set("viewBox", (0, 0, SIZE[0], SIZE[1])).add(background);
    picture = picture.add(text(study.name.clone(), [SIZE[0] / 2.0, 26.0], "middle").set("font-size", 18));
    for loss in ticks(low, high) {
        picture = picture.add(line([FREE[0], y(loss)], [FREE[0] + width, y(loss)], "#ddd", 1.0));
        picture = picture.add(text(short(loss), [FREE[0] - 8.0, y(loss) + 4.0], "end"));
    }
    for step in ticks(0.0, last) {
        let foot = FREE[2] + height;
        picture = picture.add(line([x(step), foot], [x(step), foot + 5.0], "#333", 1.0));
        picture = picture.add(text(short(step), [x(step), foot + 20.0], "middle"));
    }
    picture = picture.add(text("step".into(), [FREE[0] + width / 2.0, SIZE[1] - 12.0], "middle"));
    picture = picture.add(text("loss on held-out rows".into(), [8.0, FREE[2] - 8.0], "start"));
    for (i, curve) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let at = |step: &usize, loss: f64| (round(x(*step as f64)), round(y(loss)));
        let up = curve.points.iter().map(|(step, [.., high])| at(step, *high));
        let down = curve.points.iter().rev().map(|(step, [low, ..])| at(step, *low));
        let band = through(up.chain(down)).close();
        picture = picture.add(Path::new().set("d", band).set("fill", colour).set("fill-opacity", 0.15));
        let means = through(curve.points.iter().map(|(step, [_, mean, _])| at(step, *mean)));
        let path = Path::new().set("d", means).set("fill", "none").set("stroke", colour).set("stroke-width", 2);
        picture = picture.add(if i < COLOURS.len() { path } else { path.set("stroke-dasharray", "6 4") });
        let beside = FREE[2] + 14.0 + 18.0 * i as f64;
        picture = picture.add(line([SIZE[0] - 60.0, beside], [SIZE[0] - 30.0, beside], colour, 2.0));
        picture = picture.add(text(curve.name.clone(), [SIZE[0] - 68.0, beside + 4.0], "end"));
    }
    Some(picture.to_string())
}

/// A line through these points.
fn through(points: impl Iterator<Item = (f64, f64)>) -> Data {
    points
        .enumerate()
        .fold(Data::new(), |data, (i, point)| if i == 0 { data.move_to(point) } else { data.line_to(point) })
}

/// To a tenth of a pixel.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Four to ten round numbers from `low` to `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().map(|m| m * power).rfind(|step| *step <= rough).unwrap_or(power);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number without digits that rounding has made.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// The curves of all combinations that have one. Seeds that ended early do not pull a mean: a step counts where all have it.
fn curves(study: &Study, records: &[Record]) -> Vec<Curve> {
    let curve = |(values, _): (Vec<String>, _)| {
        let runs: Vec<&Record> = records.iter().filter(|record| record.values == values).collect();
        let first = runs.first()?;
        let at = |step: usize| {
            let losses: Option<Vec<f64>> = runs
                .iter()
                .map(|run| run.training.curve.iter().find(|(s, _)| *s == step).map(|(_, loss)| *loss))
                .collect();
            let losses = losses?;
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            let low = losses.iter().copied().fold(f64::INFINITY, f64::min);
            let high = losses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            mean.is_finite().then_some((step, [low, mean, high]))
        };
        let points: Vec<_> = first.training.curve.iter().filter_map(|(step, _)| at(*step)).collect();
        (!points.is_empty()).then(|| Curve { name: values.join(" "), points })
    };
    study.combinations().into_iter().filter_map(curve).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::study::tests::TWO_AXES;
    use crate::summary::tests::record;

    #[test]
    fn a_line_is_the_mean_where_all_seeds_have_been() {
        let study = Study::from_toml(TWO_AXES).unwrap();
        let mut short = record(["r4", "all"], 1, 3.0);
        short.training.curve.truncate(1);
        let records = [record(["r4", "all"], 0, 1.0), short, record(["r8", "all"], 0, 2.0)];
        let curves = curves(&study, &records);
        assert_eq!(curves[0], Curve { name: "r4 all".into(), points: vec![(2, [2.0, 3.0, 4.0])] });
        assert_eq!(curves[1].points.len(), 2);
        let svg = plot(&study, &records).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("r8 all") && svg.contains("which layers"), "{svg}");
        assert_eq!(plot(&study, &[]), None);
        // What a name has is no markup.
        let named = Study { name: "a < b & c".into(), ..study };
        let svg = plot(&named, &records).unwrap();
        assert!(svg.contains("a &lt; b &amp; c"), "{svg}");
    }

    #[test]
    fn axes_have_round_numbers() {
        let named = |low, high| ticks(low, high).into_iter().map(short).collect::<Vec<_>>();
        assert_eq!(named(0.0, 98.0), ["0", "10", "20", "30", "40", "50", "60", "70", "80", "90"]);
        assert_eq!(named(1.13, 1.48), ["1.15", "1.2", "1.25", "1.3", "1.35", "1.4", "1.45"]);
        assert_eq!(named(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    }
}
