//! What rows are labelled with: classes, whose names are found, declared or known to the model, or numbers.

use std::collections::BTreeMap;

use stratune_protocol::{ClassWeights, DataConfig, Objective, Problem};

use crate::{Sequence, Target};

/// Most names that a message lists.
const LISTED: usize = 8;

/// From so many rows on, a label that each has for itself is no class.
const MANY: usize = 20;

/// What rows are labelled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelKind {
    /// One of these classes.
    Classes(Vec<String>),
    /// A number.
    Numbers,
}

impl LabelKind {
    /// A target as a person reads it.
    pub fn shown(&self, target: Target) -> String {
        match (self, target) {
            (Self::Classes(names), Target::Class(class)) => {
                names.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
            }
            (Self::Numbers, Target::Class(class)) => class.to_string(),
            (_, Target::Value(value)) => value.to_string(),
        }
    }

    /// How many rows each class has.
    pub fn counts(&self, rows: &[Sequence]) -> Vec<usize> {
        let Self::Classes(names) = self else { return Vec::new() };
        let mut counts = vec![0; names.len()];
        for label in rows.iter().filter_map(|row| row.label) {
            if let Target::Class(class) = label.target
                && let Some(count) = counts.get_mut(class as usize)
            {
                *count += 1;
            }
        }
        counts
    }

    /// What the loss of each class is multiplied by, for these rows to train on; empty if every row counts the same. A
    /// class without rows has 1.
    pub fn weights(&self, rows: &[Sequence], weights: ClassWeights) -> Vec<f32> {
        if weights == ClassWeights::None {
            return Vec::new();
        }
        let counts = self.counts(rows);
        let (total, classes) = (counts.iter().sum::<usize>() as f32, counts.len() as f32);
        counts.iter().map(|&count| if count == 0 { 1.0 } else { total / (classes * count as f32) }).collect()
    }
}

/// The labels of rows, and what each of them means.
pub(crate) struct Labels {
    pub(crate) kind: LabelKind,
    /// The target of each label as it is written.
    targets: BTreeMap<String, Target>,
    /// What a person should know, one sentence each.
    pub(crate) notices: Vec<String>,
}

/// A label as rows have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written<'a> {
    pub(crate) label: &'a str,
    /// Where it first stands.
    at: &'a str,
    /// How many rows have it.
    rows: usize,
}

/// The labels of rows, of which each is `(place, label)`, in the order in which they first come.
pub(crate) fn written<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Written<'a>> {
    let mut all: Vec<Written> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, label) in rows {
        let place = *places.entry(label).or_insert(all.len());
        match all.get_mut(place) {
            Some(known) => known.rows += 1,
            None => all.push(Written { label, at, rows: 1 }),
        }
    }
    all
}

impl Labels {
    /// What the labels of rows mean: `(place, label)` of each, in the column of this name.
    ///
    /// # Errors
    /// A label is none of the declared classes or no number, there is one class alone, or every row has a label of its own.
    pub(crate) fn of<'a>(
        rows: impl Iterator<Item = (&'a str, &'a str)>,
        column: &str,
        config: &DataConfig,
        objective: Objective,
        known: &[String],
    ) -> Result<Self, Problem> {
        config.check_objective(objective)?;
        let written = written(rows);
        let is_numbers = match objective {
            Objective::Regression => true,
            Objective::Classification => false,
            Objective::Auto => config.label_names.is_empty() && look_like_numbers(&written),
            Objective::NextToken => {
                return Err(Problem::input("the objective next_token has no labels of rows")
                    .at("train.objective")
                    .next("use auto, classification or regression"));
            }
        };
        match is_numbers {
            true => numbers(&written, column),
            false => classes(&written, column, config, known),
        }
    }

    /// What a label means.
    pub(crate) fn target(&self, label: &str) -> Option<Target> {
        self.targets.get(label).copied()
    }
}

/// Whether some of the labels are decimals, and most are numbers. `NaN` and `inf` are written where a number is missing or
/// went wrong, so they count: among decimals they are told as faults and never taken for classes.
pub(crate) fn look_like_numbers(written: &[Written]) -> bool {
    let (mut count, mut has_decimals) = (0, false);
    for number in written.iter().filter_map(|one| one.label.parse::<f64>().ok()) {
        count += 1;
        has_decimals |= number.is_finite() && number.fract() != 0.0;
    }
    has_decimals && count * 2 > written.len()
}

fn numbers(written: &[Written], column: &str) -> Result<Labels, Problem> {
    let number = |&Written { label, at, .. }: &Written| match label.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok((label.to_owned(), Target::Value(value))),
        _ => Err(Problem::input(format!("the label '{label}' is no number"))
            .at(format!("{at}, column '{column}'"))
            .next("correct it or leave the row out; if labels are classes, set train.objective to classification")),
    };
    let targets = written.iter().map(number).collect::<Result<_, _>>()?;
    Ok(Labels { kind: LabelKind::Numbers, targets, notices: Vec::new() })
}

fn classes(written: &[Written], column: &str, config: &DataConfig, known: &[String]) -> Result<Labels, Problem> {
    let mut notices = Vec::new();
    let (names, places) = if !config.label_names.is_empty() {
        let places = places(written, &config.label_names).map_err(|Written { label, at, .. }| {
            Problem::input(format!("the label '{label}' is none of the classes {}", listed(&config.label_names)))
                .at(format!("{at}, column '{column}'"))
                .next("correct it, leave the row out, or add it to data.label_names")
        })?;
        (config.label_names.clone(), places)
    } else if let Some(places) = Some(known).filter(|known| !known.is_empty()).and_then(|k| places(written, k).ok()) {
        (known.to_vec(), places)
    } else {
        if !known.is_empty() {
            notices.push(format!(
                "The classes that the model knows ({}) are not those of the rows, so its classifier begins anew.",
                listed(known)
            ));
        }
        found(written)
    };
    let mut used: Vec<u32> = places.values().copied().collect();
    used.sort_unstable();
    used.dedup();
    if let [only] = used[..] {
        let name = names.get(only as usize).cloned().unwrap_or_default();
        let at = written.first().map_or("", |one| one.at);
        return Err(Problem::input(format!("all rows are of one class, '{name}'"))
            .at(format!("{}, column '{column}'", file_of(at)))
            .next("choose another column with data.label_column, or rows of two classes at least"));
    }
    let rows: usize = written.iter().map(|one| one.rows).sum();
    if config.label_names.is_empty() && rows > MANY && written.len() == rows {
        let at = written.first().map_or("", |one| one.at);
        return Err(Problem::input(format!("each of the {rows} rows has a label of its own, so they are no classes"))
            .at(format!("{}, column '{column}'", file_of(at)))
            .next("choose another column with data.label_column"));
    }
    let targets = places.into_iter().map(|(label, place)| (label.to_owned(), Target::Class(place))).collect();
    Ok(Labels { kind: LabelKind::Classes(names), targets, notices })
}

/// The class of each label among these names: by its name, by its name with other capitals, or all by their numbers. An
/// error is a label that is none of them.
fn places<'a>(written: &[Written<'a>], names: &[String]) -> Result<BTreeMap<&'a str, u32>, Written<'a>> {
    let exact: BTreeMap<&str, usize> = names.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
    let named = |label: &str| {
        let by_capitals = || {
            let mut alike = names.iter().enumerate().filter(|(_, name)| name.eq_ignore_ascii_case(label));
            alike.next().filter(|_| alike.next().is_none()).map(|(place, _)| place)
        };
        exact.get(label).copied().or_else(by_capitals)
    };
    let numbered = |label: &str| whole(label)?.parse::<usize>().ok().filter(|place| *place < names.len());
    let all = |place: &dyn Fn(&str) -> Option<usize>| {
        let one = |one: &Written<'a>| place(one.label).map(|place| (one.label, place as u32)).ok_or(*one);
        written.iter().map(one).collect::<Result<BTreeMap<_, _>, _>>()
    };
    all(&named).or_else(|missing| all(&numbered).map_err(|_| missing))
}

/// The classes that the labels themselves are, sorted: numbers as numbers, texts as texts.
fn found<'a>(written: &[Written<'a>]) -> (Vec<String>, BTreeMap<&'a str, u32>) {
    let numbered = |one: &Written<'a>| {
        let name = whole(one.label)?;
        Some((name.parse::<f64>().ok()?, name, one.label))
    };
    let sorted: Vec<(&str, &str)> = match written.iter().map(numbered).collect::<Option<Vec<_>>>() {
        Some(mut numbers) => {
            numbers.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
            numbers.into_iter().map(|(_, name, label)| (name, label)).collect()
        }
        None => {
            let mut labels: Vec<&str> = written.iter().map(|one| one.label).collect();
            labels.sort_unstable();
            labels.into_iter().map(|label| (label, label)).collect()
        }
    };
    let (mut names, mut places): (Vec<String>, BTreeMap<&str, u32>) = Default::default();
    for (name, label) in sorted {
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
        places.insert(label, names.len() as u32 - 1);
    }
    (names, places)
}

/// A whole number without the fraction `.0`, which tables give it where a column has gaps.
fn whole(label: &str) -> Option<&str> {
    let (number, fraction) = label.split_once('.').unwrap_or((label, "0"));
    let digits = number.strip_prefix('-').unwrap_or(number);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(digits) && is_number(fraction) && fraction.bytes().all(|byte| byte == b'0')).then_some(number)
}

/// The first few names, and how many more there are.
pub(crate) fn listed(names: &[String]) -> String {
    let first = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The file of a place.
fn file_of(at: &str) -> &str {
    at.rsplit_once(", ").map_or(at, |(file, _)| file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(labels: &[&str], names: &[&str], objective: Objective, known: &[&str]) -> Result<Labels, Problem> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let config = DataConfig { label_names: owned(names), ..DataConfig::default() };
        let places: Vec<String> = (0..labels.len()).map(|row| format!("a.csv, line {}", row + 2)).collect();
        let rows = places.iter().map(String::as_str).zip(labels.iter().copied());
        Labels::of(rows, "label", &config, objective, &owned(known))
    }

    /// The classes, and that of each label.
    fn classes_of(labels: &[&str], names: &[&str], known: &[&str]) -> (String, Vec<u32>) {
        let read = read(labels, names, Objective::Auto, known).unwrap();
        let LabelKind::Classes(found) = &read.kind else { panic!("{:?}", read.kind) };
        let class = |label: &&str| match read.target(label) {
            Some(Target::Class(class)) => class,
            other => panic!("{label} is {other:?}"),
        };
        (found.join(" "), labels.iter().map(class).collect())
    }

    #[test]
    fn classes_are_declared_or_known_or_found() {
        for (labels, names, known, classes, numbers) in [
            (&["spam", "ham", "spam"][..], &[][..], &[][..], "ham spam", &[1, 0, 1][..]),
            (&["10", "9", "10"], &[], &[], "9 10", &[1, 0, 1]),
            (&["-1", "1", "0"], &[], &[], "-1 0 1", &[0, 2, 1]),
            (&["1.0", "0", "1"], &[], &[], "0 1", &[1, 0, 1]),
            (&["2.0", "x"], &[], &[], "2.0 x", &[0, 1]),
            (&["ham", "spam"], &["spam", "ham"], &[], "spam ham", &[1, 0]),
            (&["Ham", "SPAM"], &["spam", "ham"], &[], "spam ham", &[1, 0]),
            (&["0", "1"], &["spam", "ham"], &[], "spam ham", &[0, 1]),
            (&["1", "0"], &["1", "0"], &[], "1 0", &[0, 1]),
            (&["bad", "good"], &[], &["good", "fair", "bad"], "good fair bad", &[2, 0]),
            (&["0", "2.0"], &[], &["good", "fair", "bad"], "good fair bad", &[0, 2]),
            (&["0", "1"], &[], &["LABEL_0", "LABEL_1"], "LABEL_0 LABEL_1", &[0, 1]),
            // One of them is not the model's.
            (&["good", "worse"], &[], &["good", "fair", "bad"], "good worse", &[0, 1]),
            (&["0", "3"], &[], &["good", "fair", "bad"], "0 3", &[0, 1]),
        ] {
            assert_eq!(classes_of(labels, names, known), (classes.into(), numbers.to_vec()), "{labels:?}");
        }
        let other = read(&["good", "worse"], &[], Objective::Auto, &["good", "bad"]).unwrap();
        assert!(
            other.notices[0].contains("(good, bad)") && other.notices[0].contains("begins anew"),
            "{:?}",
            other.notices
        );
        assert!(read(&["good", "bad"], &[], Objective::Auto, &["good", "bad"]).unwrap().notices.is_empty());
    }

    #[test]
    fn decimals_are_numbers_unless_said_otherwise() {
        let labels = ["1.5", "2", "-3e-1"];
        for objective in [Objective::Auto, Objective::Regression] {
            let read = read(&labels, &[], objective, &[]).unwrap();
            assert_eq!(read.kind, LabelKind::Numbers);
            assert_eq!(
                labels.map(|label| read.target(label)),
                [1.5, 2.0, -0.3].map(|value| Some(Target::Value(value)))
            );
        }
        let classes = read(&labels, &[], Objective::Classification, &[]).unwrap();
        assert_eq!(classes.kind, LabelKind::Classes(vec!["-3e-1".into(), "1.5".into(), "2".into()]));
        assert_eq!(read(&["1", "2"], &[], Objective::Regression, &[]).unwrap().kind, LabelKind::Numbers);
        let most_are_texts = read(&["v1", "v2", "2.5"], &[], Objective::Auto, &[]).unwrap();
        assert!(matches!(most_are_texts.kind, LabelKind::Classes(_)));
    }

    #[test]
    fn labels_that_mean_nothing_are_told_with_row_and_column() {
        use Objective::{Auto, Classification, NextToken, Regression};
        let row = |line: usize| format!("a.csv, line {line}, column 'label'");
        let many: Vec<String> = (0..30).map(|k| format!("free text {k}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (labels, names, objective, what, at) in [
            (&["a", "c", "b"][..], &["a", "b"][..], Auto, "'c' is none of the classes a, b", row(3)),
            (&["a", "0"], &["a", "b"], Auto, "'0' is none of the classes", row(3)),
            (&["2", "0"], &["a", "b"], Auto, "'2' is none of the classes", row(2)),
            (&["1", "x", "b"], &[], Regression, "'x' is no number", row(3)),
            (&["1.5", "2.5", "x"], &[], Auto, "'x' is no number", row(4)),
            (&["1.5", "NaN"], &[], Auto, "'NaN' is no number", row(3)),
            (&["1", "inf"], &[], Regression, "'inf' is no number", row(3)),
            (&["1", "1e99"], &[], Regression, "'1e99' is no number", row(3)),
            (&["a", "a"], &[], Auto, "one class, 'a'", "a.csv, column 'label'".into()),
            (&["a", "a"], &["a", "b"], Classification, "one class, 'a'", "a.csv, column 'label'".into()),
            (&many, &[], Auto, "each of the 30 rows", "a.csv, column 'label'".into()),
            (&["a", "b"], &["a", "b"], Regression, "does not read label_names", "data.label_names".into()),
            (&["a", "b"], &[], NextToken, "no labels", "train.objective".into()),
        ] {
            let problem = read(labels, names, objective, &[]).err().unwrap();
            assert!(problem.what.contains(what) && problem.at == at && !problem.next.is_empty(), "{problem:?}");
        }
    }

    #[test]
    fn weights_make_classes_count_the_same() {
        let kind = LabelKind::Classes(vec!["a".into(), "b".into(), "c".into()]);
        let label = |class| Some(crate::Label { at: 0, target: Target::Class(class) });
        let rows: Vec<Sequence> =
            [0, 1, 1, 1].into_iter().map(|class| Sequence { label: label(class), ..Sequence::default() }).collect();
        assert_eq!(kind.counts(&rows), [1, 3, 0]);
        // scikit-learn's compute_class_weight: 4 / (3 × 1), 4 / (3 × 3).
        assert_eq!(kind.weights(&rows, ClassWeights::Balanced), [4.0 / 3.0, 4.0 / 9.0, 1.0]);
        assert!(kind.weights(&rows, ClassWeights::None).is_empty());
        assert_eq!(kind.shown(Target::Class(1)), "b");
        assert_eq!(LabelKind::Numbers.shown(Target::Value(0.5)), "0.5");
        assert_eq!(listed(&(0..10).map(|k| k.to_string()).collect::<Vec<_>>()), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }
}
