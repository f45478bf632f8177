//! Metrics: what they are called, and their values over judged items.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::item::{Item, Label, Prediction};

/// Whether two numbers are one, as LLM-Adapters has it: to 0.001.
pub(crate) fn is_near(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-3
}

/// A way to judge the answers of a whole task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of items that were answered rightly; of numbers, to 0.001.
    Accuracy,
    /// Of the second class: 2 hits / (its labels + its answers), 0 without hits.
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
            Self::F1 => classes().next().map(|_| f1(counts(classes()).get(&1))),
            Self::MacroF1 => mean(counts(classes()).values().map(|count| f1(Some(count)))),
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
                judged.is_right = is_near(*right, *got);
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

/// How often a class was right, was the label, and was answered.
#[derive(Default)]
struct Count {
    hits: usize,
    labels: usize,
    answers: usize,
}

/// The counts of every class that occurs.
fn counts(classes: impl Iterator<Item = (usize, Option<usize>)>) -> BTreeMap<usize, Count> {
    let mut counts: BTreeMap<usize, Count> = BTreeMap::new();
    for (label, got) in classes {
        let of_label = counts.entry(label).or_default();
        of_label.labels += 1;
        of_label.hits += usize::from(got == Some(label));
        if let Some(got) = got {
            counts.entry(got).or_default().answers += 1;
        }
    }
    counts
}

/// 2 hits / (labels + answers), 0 without hits.
fn f1(count: Option<&Count>) -> f64 {
    match count {
        Some(Count { hits, labels, answers }) if *hits > 0 => 2.0 * *hits as f64 / (labels + answers) as f64,
        _ => 0.0,
    }
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
    // In units of the farthest, so that a wild answer's square is still a number.
    let far = |distance: fn(&(f64, f64), (f64, f64)) -> f64| {
        pairs.iter().map(|pair| distance(pair, middle).abs()).fold(0.0, f64::max)
    };
    let (far_x, far_y) = (far(|pair, middle| pair.0 - middle.0), far(|pair, middle| pair.1 - middle.1));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (x, y) = ((x - middle.0) / far_x, (y - middle.1) / far_y);
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
    let is_word = char::is_alphanumeric;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::item::response;

    fn item(label: Label) -> Item {
        Item {
            at: String::new(),
            prompt: String::new(),
            response: response(""),
            choices: vec![],
            label,
            group: None,
            texts: vec![],
        }
    }

    /// The value of a metric over one unit an item.
    fn value(metric: Metric, labels: &[Label], answers: &[Option<Prediction>]) -> Option<f64> {
        let judge = |(label, answer): (&Label, &Option<Prediction>)| Judged::new(&item(label.clone()), answer.as_ref());
        let judged: Vec<Judged> = labels.iter().zip(answers).map(judge).collect();
        let places: Vec<usize> = (0..judged.len()).collect();
        metric.value(&judged, &places.iter().map(std::slice::from_ref).collect::<Vec<_>>())
    }

    fn classes(metric: Metric, labels: &[usize], answers: &[Option<usize>]) -> Option<f64> {
        let labels: Vec<Label> = labels.iter().map(|&label| Label::Choice(label)).collect();
        value(metric, &labels, &answers.iter().map(|answer| answer.map(Prediction::Choice)).collect::<Vec<_>>())
    }

    fn numbers(metric: Metric, labels: &[f64], answers: &[f64]) -> Option<f64> {
        let labels: Vec<Label> = labels.iter().map(|&label| Label::Number(label)).collect();
        value(metric, &labels, &answers.iter().map(|&answer| Some(Prediction::Number(answer))).collect::<Vec<_>>())
    }

    fn texts(metric: Metric, labels: &[&str], answer: &str) -> f64 {
        let label = Label::Text(labels.iter().map(|&label| label.to_owned()).collect());
        value(metric, &[label], &[Some(Prediction::Text(answer.to_owned()))]).unwrap()
    }

    /// Numbers of scikit-learn 1.x: `accuracy_score`, `f1_score` (of class 1, and `average="macro"`),
    /// `matthews_corrcoef`.
    #[test]
    fn classes_are_judged_as_scikit_learn_does() {
        let (labels, answers) = ([0, 1, 2, 1, 0, 2, 1, 1, 0, 2], [0, 1, 1, 1, 2, 2, 0, 1, 0, 2]);
        let two = ([1, 0, 1, 1, 0, 0, 1, 0], [1, 1, 1, 0, 0, 0, 1, 0]);
        let cases = [
            (Metric::Accuracy, 0.7),
            (Metric::F1, 0.75),
            (Metric::MacroF1, 0.694_444_444_444_444_3),
            (Metric::Matthews, 0.545_454_545_454_545_4),
        ];
        for (metric, expected) in cases {
            let got = classes(metric, &labels, &answers.map(Some)).unwrap();
            assert!((got - expected).abs() < 1e-12, "{metric:?} {got}");
        }
        for (metric, expected) in [(Metric::F1, 0.75), (Metric::Matthews, 0.5)] {
            let got = classes(metric, &two.0, &two.1.map(Some)).unwrap();
            assert!((got - expected).abs() < 1e-12, "{metric:?} {got}");
        }
    }

    /// What is not answered is wrong: scikit-learn's numbers where it is a class that no label has.
    #[test]
    fn no_answer_is_wrong() {
        let (labels, answers) = ([0, 1, 1, 0, 1], [Some(0), Some(1), None, None, Some(0)]);
        for (metric, expected) in
            [(Metric::Accuracy, 0.4), (Metric::F1, 0.5), (Metric::Matthews, 0.216_506_350_946_109_68)]
        {
            let got = classes(metric, &labels, &answers).unwrap();
            assert!((got - expected).abs() < 1e-12, "{metric:?} {got}");
        }
        let text = Label::Text(vec!["a".into()]);
        assert_eq!(value(Metric::ExactMatch, std::slice::from_ref(&text), &[None]), Some(0.0));
        assert_eq!(value(Metric::TokenF1, &[text], &[Some(Prediction::Choice(0))]), Some(0.0));
    }

    #[test]
    fn answers_that_are_all_alike_have_a_defined_value() {
        assert_eq!(classes(Metric::Matthews, &[0, 1, 1], &[Some(1); 3]), Some(0.0));
        assert_eq!(classes(Metric::Matthews, &[1, 1, 1], &[Some(1); 3]), Some(0.0));
        assert_eq!(classes(Metric::F1, &[0, 0], &[Some(0); 2]), Some(0.0));
        // 0.1 three times has a mean that is not 0.1.
        assert_eq!(numbers(Metric::Pearson, &[1.0, 2.0, 3.0], &[0.1; 3]), None);
        assert_eq!(numbers(Metric::Spearman, &[0.1; 3], &[1.0, 2.0, 3.0]), None);
        assert_eq!(numbers(Metric::Pearson, &[1.0, 2.0, 3.0], &[1e308, 1e308, 1e308 * 0.5]), None);
        assert_eq!(numbers(Metric::Pearson, &[1.0, 2.0], &[1e200, -1e200]).map(f64::round), Some(-1.0));
        assert_eq!(numbers(Metric::Pearson, &[1.0], &[1.0]), None);
        assert_eq!(numbers(Metric::Pearson, &[1.0, 2.0], &[f64::NAN, 1.0]), None);
        for metric in Metric::ALL {
            assert_eq!(value(metric, &[], &[]), None, "{metric:?}");
        }
    }

    /// Numbers of scipy 1.x: `stats.pearsonr`, `stats.spearmanr`, `stats.rankdata`.
    #[test]
    fn numbers_go_together_as_scipy_says() {
        let (labels, answers) = ([5.0, 3.2, 0.0, 1.5, 3.2, 4.8, 2.0], [4.5, 3.0, 0.5, 2.0, 2.0, 5.0, 2.5]);
        let pearson = numbers(Metric::Pearson, &labels, &answers).unwrap();
        let spearman = numbers(Metric::Spearman, &labels, &answers).unwrap();
        assert!((pearson - 0.935_425_494_491_202_6).abs() < 1e-12, "{pearson}");
        assert!((spearman - 0.863_636_363_636_363_6).abs() < 1e-12, "{spearman}");
        assert_eq!(ranks(&labels), [7.0, 4.5, 1.0, 2.0, 4.5, 6.0, 3.0]);
        assert_eq!(numbers(Metric::Accuracy, &[2.0, 3.0], &[2.0009, 3.0011]), Some(0.5));
    }

    /// By the rules of SQuAD's script, by hand.
    #[test]
    fn texts_are_compared_without_articles_capitals_and_punctuation() {
        assert_eq!(texts(Metric::ExactMatch, &["Rome", "The U.N."], "the UN"), 1.0);
        assert_eq!(texts(Metric::ExactMatch, &["Rome"], "Rome, Italy"), 0.0);
        // Two of two words and two of three: 2·2/(2+3).
        assert_eq!(texts(Metric::TokenF1, &["x", "Jo Ann"], "a Jo, Ann Lee"), 0.8);
        // A word counts as often as both have it.
        assert_eq!(texts(Metric::TokenF1, &["no no no"], "no no"), 0.8);
        assert_eq!(texts(Metric::TokenF1, &["Zoë"], "Bo"), 0.0);
        assert_eq!(simplified("An  apple–a day, THE end_a a"), "apple– day enda");
    }

    #[test]
    fn a_metric_alone_is_itself() {
        for metric in Metric::ALL {
            assert_eq!(metric.alone(), [metric]);
        }
    }
}
