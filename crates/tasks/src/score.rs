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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::item::Label;
    use crate::task;

    fn item(group: Option<&str>, right: usize) -> Item {
        let item = Item::choosing("", String::new(), vec![], right, &[]);
        Item { group: group.map(str::to_owned), ..item }
    }

    fn answers(places: &[usize]) -> Vec<Option<Prediction>> {
        places.iter().map(|&place| Some(Prediction::Choice(place))).collect()
    }

    /// MultiRC's two metrics by hand: hits 2, one false alarm, one miss; of three questions one is right in whole.
    #[test]
    fn groups_are_judged_and_drawn_as_one() {
        let items = [
            item(Some("a"), 1),
            item(Some("b"), 0),
            item(Some("a"), 0),
            item(Some("b"), 1),
            item(Some("c"), 1),
            item(Some("c"), 0),
        ];
        let scored = task("multirc").unwrap().score(&items, &answers(&[1, 0, 0, 1, 0, 1])).unwrap();
        assert_eq!((scored[0].metric, scored[0].value), (Metric::F1, Some(2.0 * 2.0 / (4.0 + 2.0))));
        assert_eq!((scored[1].metric, scored[1].value), (Metric::GroupExactMatch, Some(2.0 / 3.0)));
        assert_eq!(units(&items), [vec![0, 2], vec![1, 3], vec![4, 5]]);
        // Three groups give no other shares than thirds, whatever is drawn.
        let Interval { low, high } = scored[1].interval.unwrap();
        assert_eq!((low, high), (0.0, 1.0));
    }

    #[test]
    fn one_item_has_no_interval_and_what_is_unanswered_is_counted() {
        let task = task("boolq").unwrap();
        let one = task.score(&[item(None, 1)], &[None]).unwrap();
        assert_eq!((one[0].value, one[0].interval, one[0].items, one[0].unanswered), (Some(0.0), None, 1, 1));
        let group = [item(Some("a"), 1), item(Some("a"), 0)];
        assert_eq!(task.score(&group, &answers(&[1, 0])).unwrap()[0].interval, None);
        assert_eq!(task.score(&[], &[]).unwrap()[0].value, None);
        assert!(task.score(&[], &[None]).is_err());
    }

    /// Two systems that fail on nearly the same items: each is uncertain, their difference is not.
    #[test]
    fn a_difference_is_paired() {
        let task = task("boolq").unwrap();
        let items: Vec<Item> = (0..200).map(|_| item(None, 1)).collect();
        let one: Vec<usize> = (0..200).map(|place| usize::from(place % 2 == 0 || place % 20 == 1)).collect();
        let other: Vec<usize> = (0..200).map(|place| usize::from(place % 2 == 0)).collect();
        let difference = task.compare(&items, &answers(&one), &answers(&other)).unwrap().remove(0);
        let alone = task.score(&items, &answers(&one)).unwrap().remove(0);
        assert!((difference.value.unwrap() - 0.05).abs() < 1e-12, "{difference:?}");
        let (paired, single) = (difference.interval.unwrap(), alone.interval.unwrap());
        assert!(
            paired.low > 0.0 && paired.high - paired.low < 0.5 * (single.high - single.low),
            "{paired:?} {single:?}"
        );
        let same = task.compare(&items, &answers(&one), &answers(&one)).unwrap().remove(0);
        assert_eq!((same.value, same.interval), (Some(0.0), Some(Interval { low: 0.0, high: 0.0 })));
    }

    #[test]
    fn an_undefined_correlation_has_no_value_and_no_interval() {
        let number = |number| Item { label: Label::Number(number), ..item(None, 0) };
        let items = [number(1.0), number(2.0), number(3.0)];
        let scored = task("stsb").unwrap().score(&items, &vec![Some(Prediction::Number(2.0)); 3]).unwrap();
        assert!(scored.iter().all(|scored| scored.value.is_none() && scored.interval.is_none()), "{scored:?}");
    }
}
