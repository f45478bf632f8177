//! What a study is, as its file says.

use serde::{Deserialize, Serialize};
use stratune_protocol::Problem;
use toml::{Table, Value};

/// Most runs that one file may ask for: more is a slip in an axis.
const MOST_RUNS: usize = 10_000;

/// A study: every combination of its axes' values, with every seed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// What it is called, above its table.
    pub name: String,
    /// What it asks, in a sentence or two.
    #[serde(default)]
    pub about: String,
    /// Seeds of each combination.
    pub seeds: Vec<u64>,
    /// What all runs have in common: a configuration, as `stratune train --config` reads it.
    #[serde(default)]
    pub run: Table,
    /// Rows that no run trains on; each result is measured on them.
    #[serde(default)]
    pub held_out: Option<String>,
    /// What differs between the runs.
    #[serde(default, rename = "axis")]
    pub axes: Vec<Axis>,
    /// What each result is judged by.
    #[serde(default, rename = "task")]
    pub tasks: Vec<StudyTask>,
}

/// Something that differs between runs: models, methods, which layers train.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// A heading of the table.
    pub name: String,
    /// The value that the others are compared with, all else alike.
    #[serde(default)]
    pub baseline: Option<String>,
    /// Its values.
    #[serde(rename = "value")]
    pub values: Vec<AxisValue>,
}

/// One value of an axis.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AxisValue {
    /// What it is called: letters, digits, `.`, `-` and `_`.
    pub name: String,
    /// What it changes in the configuration. Tables are merged, all else is replaced.
    #[serde(default)]
    pub run: Table,
}

/// A task that each result is judged by, as `stratune eval --task` does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyTask {
    /// Its name.
    pub name: String,
    /// The folder of its files.
    pub data: String,
    /// `likelihood`, `generated` or `classifier`.
    #[serde(default = "likelihood")]
    pub judge: String,
    /// How many items are judged; all if none is said.
    #[serde(default)]
    pub limit: Option<usize>,
}

fn likelihood() -> String {
    "likelihood".into()
}

/// One run of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRun {
    /// Its name within the study: a folder's.
    pub id: String,
    /// The name of its value on each axis, in the axes' order.
    pub values: Vec<String>,
    /// Its seed.
    pub seed: u64,
    /// Its configuration as TOML.
    pub config: Table,
}

impl Study {
    /// Reads a study's file.
    ///
    /// # Errors
    /// It is no TOML, a field is missing or unknown, a name is given twice, a baseline is none of its axis' values.
    pub fn from_toml(text: &str) -> Result<Self, Problem> {
        let study: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            Problem::input(format!("the study cannot be read: {}", e.message()))
                .at(line.map(|line| format!("line {line}")).unwrap_or_default())
                .next("compare with the studies in tests/studies")
        })?;
        study.check()?;
        Ok(study)
    }

    fn check(&self) -> Result<(), Problem> {
        let bad = |what: String, at: &str, next: &str| Err(Problem::input(what).at(at).next(next));
        if self.seeds.is_empty() {
            return bad("a study without seeds has no runs".into(), "seeds", "name one, such as seeds = [0]");
        }
        if let Some(seed) = twice(self.seeds.iter()) {
            return bad(format!("the seed {seed} is there twice"), "seeds", "name each once");
        }
        if let Some(name) = twice(self.axes.iter().map(|axis| &axis.name)) {
            return bad(format!("two axes are called '{name}'"), "axis", "give each its own name");
        }
        for axis in &self.axes {
            let at = format!("axis '{}'", axis.name);
            if axis.values.is_empty() {
                return bad("an axis has no values".into(), &at, "give it some, or leave it out");
            }
            if let Some(name) = twice(axis.values.iter().map(|value| &value.name)) {
                return bad(format!("two values are called '{name}'"), &at, "give each its own name");
            }
            let is_plain = |name: &str| {
                let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
                name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
            };
            if let Some(value) = axis.values.iter().find(|value| !is_plain(&value.name)) {
                let what = format!("the name '{}' cannot be a folder's", value.name);
                return bad(what, &at, "use letters, digits, '.', '-' and '_'");
            }
            let known = |name: &String| axis.values.iter().any(|value| value.name == *name);
            if let Some(name) = axis.baseline.as_ref().filter(|name| !known(name)) {
                return bad(format!("the baseline '{name}' is none of the values"), &at, "name one of them");
            }
        }
        let runs = self.axes.iter().try_fold(self.seeds.len(), |runs, axis| runs.checked_mul(axis.values.len()));
        if runs.is_none_or(|runs| runs > MOST_RUNS) {
            return bad(format!("these are more than {MOST_RUNS} runs"), "axis", "take values or seeds away");
        }
        if let Some(seed) = self.run.get("train").and_then(|train| train.get("seed")) {
            let what = format!("run.train.seed is {seed}, and the seeds are the study's");
            return bad(what, "run.train.seed", "leave it out, and name seeds");
        }
        let judges = ["likelihood", "generated", "classifier"];
        match self.tasks.iter().find(|task| !judges.contains(&task.judge.as_str())) {
            Some(task) => bad(
                format!("there is no judge '{}'", task.judge),
                &format!("task '{}'", task.name),
                "use likelihood, generated or classifier",
            ),
            None => Ok(()),
        }
    }

    /// All runs: seed by seed, so that a study that is cut short has the same seeds of all combinations.
    pub fn runs(&self) -> Vec<PlannedRun> {
        let combinations = self.combinations();
        let of = |seed: u64| {
            let run = move |(values, config): &(Vec<String>, Table)| {
                let mut config = config.clone();
                let train = Table::from_iter([("seed".to_string(), Value::Integer(seed as i64))]);
                merge(&mut config, &Table::from_iter([("train".to_string(), train.into())]));
                let id = values.iter().cloned().chain([format!("seed{seed}")]).collect::<Vec<_>>().join("_");
                PlannedRun { id, values: values.clone(), seed, config }
            };
            combinations.iter().map(run).collect::<Vec<_>>()
        };
        self.seeds.iter().flat_map(|seed| of(*seed)).collect()
    }

    /// Every choice of a value on each axis, the last axis varying fastest, with its configuration.
    pub fn combinations(&self) -> Vec<(Vec<String>, Table)> {
        let mut all = vec![(Vec::new(), self.run.clone())];
        for axis in &self.axes {
            let with = |(names, config): &(Vec<String>, Table)| {
                let one = |value: &AxisValue| {
                    let (mut names, mut config) = (names.clone(), config.clone());
                    names.push(value.name.clone());
                    merge(&mut config, &value.run);
                    (names, config)
                };
                axis.values.iter().map(one).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(with).collect();
        }
        all
    }

    /// The combination that this one is compared with: it has the baseline on each axis that names one. None if that is
    /// itself, or no axis names one.
    pub fn baseline_of(&self, values: &[String]) -> Option<Vec<String>> {
        let of = |(axis, value): (&Axis, &String)| axis.baseline.clone().unwrap_or_else(|| value.clone());
        let baseline: Vec<String> = self.axes.iter().zip(values).map(of).collect();
        (baseline != values).then_some(baseline)
    }
}

/// What is there more than once.
fn twice<T: PartialEq>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = Vec::new();
    for one in all {
        if seen.contains(&one) {
            return Some(one);
        }
        seen.push(one);
    }
    None
}

/// Puts `over` into `config`: tables into tables, all else in the place of what is there.
fn merge(config: &mut Table, over: &Table) {
    for (key, value) in over {
        match (config.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(over)) => merge(inner, over),
            _ => {
                config.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const TWO_AXES: &str = r#"
        name = "which layers"
        seeds = [0, 1]
        [run]
        model = "starter"
        train = { steps = 4, batch_size = 2 }
        [[axis]]
        name = "rank"
        [[axis.value]]
        name = "r4"
        run.method = [{ kind = "lora", rank = 4 }]
        [[axis.value]]
        name = "r8"
        [[axis]]
        name = "layers"
        baseline = "all"
        [[axis.value]]
        name = "all"
        [[axis.value]]
        name = "practical"
        run.ist.mode = "practical"
        run.train.steps = 8
    "#;

    #[test]
    fn a_study_is_every_combination_with_every_seed() {
        let study = Study::from_toml(TWO_AXES).unwrap();
        let runs = study.runs();
        let ids: Vec<_> = runs.iter().map(|run| run.id.as_str()).collect();
        let wanted = ["r4_all_seed0", "r4_practical_seed0", "r8_all_seed0", "r8_practical_seed0", "r4_all_seed1"];
        assert_eq!((ids.len(), &ids[..5]), (8, &wanted[..]));
        let config = &runs[5].config;
        assert_eq!(config["train"]["steps"].as_integer(), Some(8));
        assert_eq!(config["train"]["batch_size"].as_integer(), Some(2));
        assert_eq!(config["train"]["seed"].as_integer(), Some(1));
        assert_eq!(config["ist"]["mode"].as_str(), Some("practical"));
        assert_eq!(config["method"][0]["rank"].as_integer(), Some(4));
        assert!(runs[2].config.get("ist").is_none());
    }

    #[test]
    fn a_combination_is_compared_with_the_same_but_for_the_baseline() {
        let study = Study::from_toml(TWO_AXES).unwrap();
        let named = |names: [&str; 2]| names.map(String::from).to_vec();
        assert_eq!(study.baseline_of(&named(["r8", "practical"])), Some(named(["r8", "all"])));
        assert_eq!(study.baseline_of(&named(["r8", "all"])), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |from: &str, to: &str| Study::from_toml(&TWO_AXES.replace(from, to)).unwrap_err();
        for (from, to, named) in [
            ("seeds = [0, 1]", "seeds = []", "without seeds"),
            ("seeds = [0, 1]", "seeds = [1, 1]", "seed 1 is there twice"),
            ("seeds = [0, 1]", "seeds = [0, 1]\ncolour = 3", "colour"),
            ("baseline = \"all\"", "baseline = \"some\"", "'some' is none"),
            ("name = \"r4\"", "name = \"r8\"", "two values are called 'r8'"),
            ("name = \"r4\"", "name = \"../r4\"", "cannot be a folder's"),
            ("name = \"layers\"", "name = \"rank\"", "two axes"),
            ("steps = 4", "steps = 4, seed = 3", "the seeds are the study's"),
            ("name = \"which layers\"", "", "name"),
        ] {
            let problem = with(from, to);
            assert!(problem.what.contains(named), "{to}: {problem}");
        }
        let problem = Study::from_toml("name = ").unwrap_err();
        assert_eq!(problem.at, "line 1");
        let judge = format!("{TWO_AXES}\n[[task]]\nname = \"boolq\"\ndata = \"d\"\njudge = \"coin\"");
        assert!(Study::from_toml(&judge).unwrap_err().what.contains("coin"));
    }
}
