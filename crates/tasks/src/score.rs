//! The scores of a task: metrics of answers with their intervals, and how two systems differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stratune_protocol::{Problem, ProblemKind};

use crate::interval::{Interval, bootstrap};
use crate::item::{Item, Prediction};
use crate::metrics::{Judged, Metric};
use crate::task::Task;

/// A metric's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Which metric.
    pub metric: Metric,
    /// Its value, none where it is not defined.
    pub value: Option<f64>,
    /// Where it would be with other items, by bootstrap over items or groups of them; none for fewer than two.
    pub interval: Option<Interval>,
    /// How many items there are.
    pub items: usize,
    /// How many were not answered: wrong to every metric but the correlations, which leave them out.
    pub unanswered: usize,
}

impl Task {
    /// What the answers are worth, a value for each of the task's metrics.
    ///
    /// # Errors
    /// There are not as many predictions as items.
    pub fn score(&self, items: &[Item], predictions: &[Option<Prediction>]) -> Result<Vec<Scored>, Problem> {
        let judged = judged(items, predictions)?;
        self.scored(items, unanswered(predictions), |metric, units| metric.value(&judged, units))
    }

    /// How much better the answers of one system are than those of another to the same items: values are differences, and
    /// intervals are those of the difference, whose systems see the same draws.
    ///
    /// # Errors
    /// There are not as many predictions as items.
    pub fn compare(
        &self,
        items: &[Item],
        one: &[Option<Prediction>],
        other: &[Option<Prediction>],
    ) -> Result<Vec<Scored>, Problem> {
        let (first, second) = (judged(items, one)?, judged(items, other)?);
        let unanswered = unanswered(one).max(unanswered(other));
        self.scored(items, unanswered, |metric, units| {
            Some(metric.value(&first, units)? - metric.value(&second, units)?)
        })
    }

    fn scored(
        &self,
        items: &[Item],
        unanswered: usize,
        value: impl Fn(Metric, &[&[usize]]) -> Option<f64>,
    ) -> Result<Vec<Scored>, Problem> {
        let units = units(items);
        let all: Vec<&[usize]> = units.iter().map(Vec::as_slice).collect();
        let scored = |&metric: &Metric| {
            let drawn = |places: &[usize]| value(metric, &places.iter().map(|&place| all[place]).collect::<Vec<_>>());
            let interval = value(metric, &all).and_then(|_| bootstrap(all.len(), drawn));
            Scored { metric, value: value(metric, &all), interval, items: items.len(), unanswered }
        };
        Ok(self.metrics.iter().map(scored).collect())
    }
}

fn judged(items: &[Item], predictions: &[Option<Prediction>]) -> Result<Vec<Judged>, Problem> {
    if items.len() != predictions.len() {
        let what = format!("there are {} predictions for {} items", predictions.len(), items.len());
        return Err(Problem::new(ProblemKind::Internal, what));
    }
    Ok(items.iter().zip(predictions).map(|(item, prediction)| Judged::new(item, prediction.as_ref())).collect())
}

fn unanswered(predictions: &[Option<Prediction>]) -> usize {
    predictions.iter().filter(|prediction| prediction.is_none()).count()
}

/// Places of the items that are drawn together.
fn units(items: &[Item]) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = vec![];
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        let unit = item.group.as_deref().map(|group| *groups.entry(group).or_insert(units.len()));
        match unit.and_then(|unit| units.get_mut(unit)) {
            Some(unit) => unit.push(place),
            None => units.push(vec![place]),
        }
    }
    units
}
