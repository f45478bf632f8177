//! A study's curves: loss on held-out rows by the step, a line for each combination, mean over its seeds in a band from the
//! lowest to the highest.

use std::fmt::Display;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use stratune_protocol::{Problem, ProblemKind};

use crate::{Record, Study};

/// Width and height of the picture.
const SIZE: (u32, u32) = (900, 540);

/// A combination's curve.
#[derive(Debug, PartialEq)]
struct Curve {
    name: String,
    /// Step, lowest, mean and highest loss.
    points: Vec<(usize, [f64; 3])>,
}

/// The curves of these records as SVG; none if no run has measured on the way.
///
/// # Errors
/// The picture cannot be drawn.
pub fn plot(study: &Study, records: &[Record]) -> Result<Option<String>, Problem> {
    let curves = curves(study, records);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let Some(last) = points().map(|(step, _)| *step).max() else { return Ok(None) };
    let low = points().map(|(_, [low, ..])| *low).fold(f64::INFINITY, f64::min);
    let high = points().map(|(_, [.., high])| *high).fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.05 * (high - low).max(1e-3);
    let mut svg = String::new();
    draw(&mut svg, study, &curves, last, low - margin..high + margin).map_err(cannot)?;
    Ok(Some(svg))
}

fn cannot(e: impl Display) -> Problem {
    Problem::new(ProblemKind::Internal, format!("the curves cannot be drawn: {e}"))
}

fn draw(
    svg: &mut String,
    study: &Study,
    curves: &[Curve],
    last: usize,
    losses: std::ops::Range<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&study.name, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0..last.max(1), losses)?;
    chart.configure_mesh().x_desc("step").y_desc("loss on held-out rows").light_line_style(WHITE).draw()?;
    for (i, curve) in curves.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let up = curve.points.iter().map(|(step, [.., high])| (*step, *high));
        let down = curve.points.iter().rev().map(|(step, [low, ..])| (*step, *low));
        chart.draw_series([Polygon::new(up.chain(down).collect::<Vec<_>>(), colour.mix(0.15))])?;
        let means = curve.points.iter().map(|(step, [_, mean, _])| (*step, *mean));
        let key = move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2));
        chart.draw_series(LineSeries::new(means, colour.stroke_width(2)))?.label(&curve.name).legend(key);
    }
    let labels = ("sans-serif", 14).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).label_font(labels).draw()?;
    drop(chart);
    area.present()?;
    Ok(())
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
        let svg = plot(&study, &records).unwrap().unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("r8 all") && svg.contains("which layers"), "{svg}");
        assert_eq!(plot(&study, &[]).unwrap(), None);
    }
}
