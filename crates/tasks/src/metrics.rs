//! Metrics: what they are called, and their values over judged items.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::item::{Item, Label, Prediction};

/// How far a number may be from the right one, as LLM-Adapters has it.
const NEAR: f64 = 1e-3;

/// A way to judge the answers of a whole task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of items that were answered rightly; of numbers, to 0.001.
    Accuracy,
    /// Of the second class: 2 hits / (2 hits + false alarms + misses), 0 where there is none of these.
    F1,
    /// The mean of the F1 of every class that occurs in labels or answers.
    MacroF1,
    /// The correlation of classes (Matthews 1975; Gorodkin 2004 for more than two); 0 where all labels or all answers
    /// are one class.
    Matthews,
    /// The correlation of numbers; none where all labels or all answers are one number.
    Pearson,
    /// The correlation of their ranks, of equals the mean rank; none as for Pearson.
    Spearman,
    /// The share of items whose text is one of the right ones, both without capitals, punctuation, articles and spaces
    /// beyond one.
    ExactMatch,
    /// The mean over items of the F1 of words shared with the nearest right text, both simplified as for exact match.
    TokenF1,
    /// The share of groups in which every item was answered rightly.
    GroupExactMatch,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Accuracy,
        Self::F1,
        Self::MacroF1,
        Self::Matthews,
        Self::Pearson,
        Self::Spearman,
        Self::ExactMatch,
        Self::TokenF1,
        Self::GroupExactMatch,
    ];

    /// Its name in tables and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "f1",
            Self::MacroF1 => "macro_f1",
            Self::Matthews => "matthews",
            Self::Pearson => "pearson",
            Self::Spearman => "spearman",
            Self::ExactMatch => "exact_match",
            Self::TokenF1 => "token_f1",
            Self::GroupExactMatch => "group_exact_match",
        }
    }

    /// Whether it judges numbers by how they go together, and not answers one by one.
    pub fn is_correlation(self) -> bool {
        matches!(self, Self::Pearson | Self::Spearman)
    }

    /// A list of this metric alone.
    pub(crate) fn alone(self) -> &'static [Self] {
        static ALL: [Metric; 9] = Metric::ALL;
        ALL.iter().position(|metric| *metric == self).map_or(&[], |place| &ALL[place..=place])
    }

    /// Its value over the items of `units`, which hold places in `judged`; none where it is not defined.
    pub(crate) fn value(self, judged: &[Judged], units: &[&[usize]]) -> Option<f64> {
        let rows = || units.iter().flat_map(|unit| unit.iter()).filter_map(|&row| judged.get(row));
        let classes = || rows().filter_map(|row| row.classes);
        match self {
            Self::Accuracy | Self::ExactMatch => mean(rows().map(|row| f64::from(u8::from(row.is_right)))),
            Self::TokenF1 => mean(rows().map(|row| row.overlap)),
            Self::GroupExactMatch => mean(units.iter().map(|unit| {
                let is_right = |&row: &usize| judged.get(row).is_some_and(|row| row.is_right);
                f64::from(u8::from(unit.iter().all(is_right)))
            })),
            Self::F1 => (classes().next().is_some()).then(|| f1(classes(), 1)),
            Self::MacroF1 => {
                let all: BTreeSet<usize> = classes().flat_map(|(label, got)| [Some(label), got]).flatten().collect();
                mean(all.into_iter().map(|class| f1(classes(), class)))
            }
            Self::Matthews => (classes().next().is_some()).then(|| matthews(classes())),
            Self::Pearson => pearson(&rows().filter_map(|row| row.numbers).collect::<Vec<_>>()),
            Self::Spearman => {
                let (labels, got): (Vec<f64>, Vec<f64>) = rows().filter_map(|row| row.numbers).unzip();
                pearson(&ranks(&labels).into_iter().zip(ranks(&got)).collect::<Vec<_>>())
            }
        }
    }
}

/// An item and what was answered, as metrics see it.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    is_right: bool,
    /// Words shared with the nearest right text, from 0 to 1.
    overlap: f64,
    /// The right class, and the one that was answered if any was.
    classes: Option<(usize, Option<usize>)>,
    /// The right number, and the one that was answered.
    numbers: Option<(f64, f64)>,
}

impl Judged {
    /// An answer of another kind than the label's is none, and none is wrong.
    pub(crate) fn new(item: &Item, prediction: Option<&Prediction>) -> Self {
        let mut judged = Self { is_right: false, overlap: 0.0, classes: None, numbers: None };
        match (&item.label, prediction) {
            (Label::Choice(right), Some(Prediction::Choice(got))) => {
                judged.classes = Some((*right, Some(*got)));
                judged.is_right = right == got;
            }
            (Label::Choice(right), _) => judged.classes = Some((*right, None)),
            (Label::Number(right), Some(Prediction::Number(got))) if got.is_finite() => {
                judged.numbers = Some((*right, *got));
                judged.is_right = (right - got).abs() <= NEAR;
            }
            (Label::Text(right), Some(Prediction::Text(got))) => {
                let got = simplified(got);
                judged.is_right = right.iter().any(|text| simplified(text) == got);
                judged.overlap = right.iter().map(|text| overlap(&simplified(text), &got)).fold(0.0, f64::max);
            }
            _ => {}
        }
        judged
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

fn f1(classes: impl Iterator<Item = (usize, Option<usize>)>, class: usize) -> f64 {
    let (mut hits, mut others) = (0_usize, 0_usize);
    for (label, got) in classes {
        match (label == class, got == Some(class)) {
            (true, true) => hits += 1,
            (false, false) => {}
            _ => others += 1,
        }
    }
    if hits == 0 { 0.0 } else { 2.0 * hits as f64 / (2 * hits + others) as f64 }
}

/// No answer counts as a class of its own, which no label has.
fn matthews(classes: impl Iterator<Item = (usize, Option<usize>)>) -> f64 {
    let (mut labels, mut answers) = (BTreeMap::new(), BTreeMap::new());
    let (mut count, mut right) = (0.0, 0.0);
    for (label, got) in classes {
        *labels.entry(Some(label)).or_insert(0.0) += 1.0;
        *answers.entry(got).or_insert(0.0) += 1.0;
        count += 1.0;
        right += f64::from(u8::from(got == Some(label)));
    }
    let squares = |counts: &BTreeMap<Option<usize>, f64>| counts.values().map(|count| count * count).sum::<f64>();
    let chance: f64 = labels.iter().map(|(class, count)| count * answers.get(class).unwrap_or(&0.0)).sum();
    let spread = (count * count - squares(&labels)) * (count * count - squares(&answers));
    if spread <= 0.0 { 0.0 } else { (right * count - chance) / spread.sqrt() }
}

fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let middle = (mean(pairs.iter().map(|pair| pair.0))?, mean(pairs.iter().map(|pair| pair.1))?);
    let first = pairs.first()?;
    // Exactly, since a mean of equal numbers may be beside them by rounding.
    if pairs.iter().all(|pair| pair.0 == first.0) || pairs.iter().all(|pair| pair.1 == first.1) {
        return None;
    }
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (x, y) = (x - middle.0, y - middle.1);
        (xx, yy, xy) = (xx + x * x, yy + y * y, xy + x * y);
    }
    let correlation = xy / (xx.sqrt() * yy.sqrt());
    correlation.is_finite().then(|| correlation.clamp(-1.0, 1.0))
}

/// Ranks from 1, of equals the mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for run in order.chunk_by(|&a, &b| values[a] == values[b]) {
        for &place in run {
            ranks[place] = start as f64 + (run.len() + 1) as f64 / 2.0;
        }
        start += run.len();
    }
    ranks
}

/// A text as SQuAD compares it: no capitals, ASCII punctuation, articles, or spaces beyond one.
fn simplified(text: &str) -> String {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let run = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        kept.push_str(if matches!(&rest[..run], "a" | "an" | "the") { " " } else { &rest[..run] });
        rest = &rest[run..];
    }
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The F1 of words, each counted as often as both texts have it.
fn overlap(right: &str, got: &str) -> f64 {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for word in right.split_whitespace() {
        *left.entry(word).or_default() += 1;
    }
    let mut shared = 0;
    for word in got.split_whitespace() {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    let words = right.split_whitespace().count() + got.split_whitespace().count();
    if shared == 0 { 0.0 } else { 2.0 * f64::from(shared) / words as f64 }
}
