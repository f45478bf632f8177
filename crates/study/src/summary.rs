//! What a study's records say: means, intervals, differences from the baseline.

use special::Beta;

use crate::{Record, Study};

/// The share of experiments whose interval holds the true value, were they repeated.
pub const CONFIDENCE: f64 = 0.95;

/// A mean over seeds with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of the 95 % interval of Student's t; none of a single value.
    pub half_width: Option<f64>,
    /// Over how many values.
    pub count: usize,
}

impl Estimate {
    /// Of these values; none if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let half_width = (count > 1).then(|| {
            let freedom = (count - 1) as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / freedom;
            quantile(freedom) * (variance / count as f64).sqrt()
        });
        Some(Self { mean, half_width, count })
    }
}

/// What Student's t of so many degrees of freedom is beyond, to either side, in one of twenty cases. With x = ν / (ν + t²),
/// P(|T| > t) is the regularised incomplete beta function of x at (ν / 2, 1 / 2).
fn quantile(freedom: f64) -> f64 {
    let (p, q) = (freedom / 2.0, 0.5_f64);
    let x = (1.0 - CONFIDENCE).inv_inc_beta(p, q, p.ln_beta(q));
    (freedom * (1.0 - x) / x).sqrt()
}

/// Something that is measured of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Lowest loss on the run's own held-out rows.
    Validation,
    /// Loss on the study's held-out rows.
    HeldOut,
    /// Share of the study's held-out questions that were answered exactly.
    ExactMatch,
    /// A task's metric.
    Task {
        /// The task.
        task: String,
        /// The metric.
        metric: String,
    },
}

impl Measure {
    /// Its heading.
    pub fn title(&self) -> String {
        match self {
            Self::Validation => "validation loss".into(),
            Self::HeldOut => "held-out loss".into(),
            Self::ExactMatch => "exact match".into(),
            Self::Task { task, metric } => format!("{task} ({metric})"),
        }
    }

    /// What it is of a run, if that was measured.
    pub fn of(&self, record: &Record) -> Option<f64> {
        match self {
            Self::Validation => record.training.best.map(|(_, loss)| loss),
            Self::HeldOut => record.held_out.map(|held_out| held_out.loss),
            Self::ExactMatch => record.held_out.and_then(|held_out| held_out.exact_match),
            Self::Task { task, metric } => {
                let is_it = |score: &&crate::TaskScore| score.task == *task && score.metric == *metric;
                record.scores.iter().find(is_it).map(|score| score.value)
            }
        }
    }
}

/// What the runs of one combination say.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The name of the value on each axis.
    pub values: Vec<String>,
    /// Runs that are done.
    pub runs: usize,
    /// Numbers that train.
    pub trainable: u64,
    /// Seconds of training.
    pub seconds: Option<Estimate>,
    /// Of runs whose structure was searched for: the search's seconds as a multiple of the training's.
    pub search_times: Option<Estimate>,
    /// Tokens a second.
    pub tokens_per_second: Option<Estimate>,
    /// Most memory of training, or of the search before it, in bytes.
    pub memory_bytes: u64,
    /// By measure: what it is, and how it differs from the baseline with the same seeds.
    pub measures: Vec<(Option<Estimate>, Option<Estimate>)>,
    /// How alike the seeds rank the layers: mean of Spearman's correlations of all pairs.
    pub agreement: Option<f64>,
}

/// A study as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What is measured.
    pub measures: Vec<Measure>,
    /// By combination, in the study's order; those without a run that is done are left out.
    pub rows: Vec<Row>,
}

impl Summary {
    /// Of these records of this study.
    pub fn of(study: &Study, records: &[Record]) -> Self {
        let mut measures = vec![Measure::Validation];
        if study.held_out.is_some() {
            measures.extend([Measure::HeldOut, Measure::ExactMatch]);
        }
        for score in records.iter().flat_map(|record| &record.scores) {
            let measure = Measure::Task { task: score.task.clone(), metric: score.metric.clone() };
            if !measures.contains(&measure) {
                measures.push(measure);
            }
        }
        measures.retain(|measure| records.iter().any(|record| measure.of(record).is_some()));
        let of = |values: &[String]| records.iter().filter(|record| record.values == values).collect::<Vec<_>>();
        let row = |(values, _): (Vec<String>, _)| {
            let here = of(&values);
            let first = here.first()?;
            let baseline = study.baseline_of(&values).map(|values| of(&values)).unwrap_or_default();
            let each = |measure: &Measure| {
                let of = |record: &&Record| measure.of(record);
                let paired = here.iter().filter_map(|record| {
                    let other = baseline.iter().find(|other| other.seed == record.seed)?;
                    Some(measure.of(record)? - measure.of(other)?)
                });
                let differences: Vec<f64> = paired.collect();
                (Estimate::of(&here.iter().filter_map(of).collect::<Vec<_>>()), Estimate::of(&differences))
            };
            let mean = |of: &dyn Fn(&Record) -> f64| Estimate::of(&here.iter().map(|r| of(r)).collect::<Vec<_>>());
            Some(Row {
                runs: here.len(),
                trainable: first.training.trainable,
                seconds: mean(&|record| record.training.seconds),
                search_times: Estimate::of(&here.iter().filter_map(|r| search_times(r)).collect::<Vec<_>>()),
                tokens_per_second: mean(&|record| record.training.tokens_per_second),
                memory_bytes: here.iter().map(|record| record.memory_bytes()).max().unwrap_or(0),
                measures: measures.iter().map(each).collect(),
                agreement: agreement(&here),
                values,
            })
        };
        let rows = study.combinations().into_iter().filter_map(row).collect();
        Self { rows, measures }
    }
}

/// How often a run could have trained in the time that its search took, if there was one.
fn search_times(record: &Record) -> Option<f64> {
    let training = record.training.seconds;
    record.searched.filter(|_| training > 0.0).map(|searched| searched.seconds / training)
}

/// Mean over all pairs of runs of Spearman's correlation of their scores of layers.
fn agreement(records: &[&Record]) -> Option<f64> {
    let ranks: Vec<Vec<f64>> = records
        .iter()
        .filter(|record| record.training.layer_scores.len() > 1)
        .map(|record| ranks(&record.training.layer_scores))
        .collect();
    let mut all = Vec::new();
    for (i, a) in ranks.iter().enumerate() {
        for b in ranks[i + 1..].iter().filter(|b| b.len() == a.len()) {
            all.extend(correlation(a, b));
        }
    }
    Estimate::of(&all).map(|estimate| estimate.mean)
}

/// The rank of each value, ties averaged.
fn ranks(values: &[f32]) -> Vec<f64> {
    let rank = |v: &f32| {
        let below = values.iter().filter(|w| *w < v).count() as f64;
        let equal = values.iter().filter(|w| *w == v).count() as f64;
        below + (equal + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

/// Pearson's correlation; none where one of both is constant.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |of: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| of(x - ma, y - mb)).sum::<f64>();
    let spread = (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt();
    (spread > 0.0).then(|| sum(&|x, y| x * y) / spread)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::study::tests::TWO_AXES;
    use crate::{HeldOut, Searched, TaskScore, Training};

    pub(crate) fn record(values: [&str; 2], seed: u64, loss: f64) -> Record {
        Record {
            values: values.map(String::from).into(),
            seed,
            training: Training {
                trainable: 10,
                best: Some((4, loss)),
                seconds: 2.0,
                curve: vec![(2, loss + 1.0), (4, loss)],
                layer_scores: vec![0.1, 0.3 + seed as f32, 0.2],
                ..Training::default()
            },
            held_out: Some(HeldOut { loss: loss + 0.1, exact_match: None }),
            scores: vec![TaskScore { task: "boolq".into(), metric: "accuracy".into(), value: loss / 4.0, items: 9 }],
            ..Record::default()
        }
    }

    #[test]
    fn an_interval_is_students() {
        // scipy.stats.t.interval(0.95, 2, loc=2, scale=stats.sem([1, 2, 3])): 2 ± 2.4841377
        let estimate = Estimate::of(&[1.0, 2.0, 3.0]).unwrap();
        assert!((estimate.mean - 2.0).abs() < 1e-12 && (estimate.half_width.unwrap() - 2.484_137_7).abs() < 1e-6);
        // scipy.stats.t.ppf(0.975, n)
        for (freedom, wanted) in [(1.0, 12.706_205), (4.0, 2.776_445), (30.0, 2.042_272)] {
            assert!((quantile(freedom) - wanted).abs() < 1e-5, "{freedom}: {}", quantile(freedom));
        }
        assert_eq!(Estimate::of(&[1.5]), Some(Estimate { mean: 1.5, half_width: None, count: 1 }));
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn differences_are_of_the_same_seeds() {
        let study = Study { held_out: Some("rows".into()), ..Study::from_toml(TWO_AXES).unwrap() };
        let records = [
            record(["r4", "all"], 0, 1.0),
            record(["r4", "practical"], 0, 1.5),
            record(["r4", "all"], 1, 3.0),
            // Its baseline is not done yet.
            record(["r8", "practical"], 0, 7.0),
        ];
        let summary = Summary::of(&study, &records);
        // No run has answered questions.
        assert_eq!(summary.measures.len(), 3);
        let named: Vec<_> = summary.rows.iter().map(|row| row.values.join(" ")).collect();
        assert_eq!(named, ["r4 all", "r4 practical", "r8 practical"]);
        let [all, practical, alone] = &summary.rows[..] else { panic!("{:?}", summary.rows) };
        assert_eq!((all.runs, all.measures[0].1), (2, None));
        let difference = practical.measures[0].1.unwrap();
        assert_eq!((difference.mean, difference.count), (0.5, 1));
        assert_eq!((alone.measures[1].0.map(|e| e.mean), alone.measures[1].1), (Some(7.1), None));
    }

    #[test]
    fn a_search_is_measured_in_runs() {
        let study = Study::from_toml(TWO_AXES).unwrap();
        let searched = |seconds| Some(Searched { steps: 4, seconds, memory_bytes: 90 });
        let records = [
            Record { searched: searched(1.0), ..record(["r4", "all"], 0, 1.0) },
            Record { searched: searched(4.0), ..record(["r4", "all"], 1, 1.0) },
            record(["r8", "all"], 0, 1.0),
        ];
        let summary = Summary::of(&study, &records);
        let [found, plain] = &summary.rows[..] else { panic!("{:?}", summary.rows) };
        assert_eq!((found.search_times.unwrap().mean, found.memory_bytes), (1.25, 90));
        assert_eq!((plain.search_times, plain.memory_bytes), (None, 0));
    }

    #[test]
    fn seeds_agree_as_far_as_they_rank_the_layers_alike() {
        let with = |scores: [f32; 3]| Record {
            training: Training { layer_scores: scores.into(), ..Training::default() },
            ..Record::default()
        };
        let (up, also_up, down, flat) = (with([1., 2., 3.]), with([0., 5., 9.]), with([3., 2., 1.]), with([1.; 3]));
        assert_eq!(agreement(&[&up, &also_up]), Some(1.0));
        assert_eq!(agreement(&[&up, &down]), Some(-1.0));
        assert_eq!(agreement(&[&up, &also_up, &down]).map(|a| (a * 3.0).round()), Some(-1.0));
        assert_eq!((agreement(&[&up, &flat]), agreement(&[&up])), (None, None));
        assert_eq!(ranks(&[2.0, 1.0, 2.0]), [2.5, 1.0, 2.5]);
    }
}
