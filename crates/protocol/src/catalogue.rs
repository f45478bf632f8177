//! What there is to choose from, as plain data. An engine makes it and a front end draws it: a page knows no method and no
//! setting by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Settings by their places in a configuration, such as `train.epochs`. One of `method.…` belongs to every method that has
/// it.
pub type Values = BTreeMap<String, Value>;

/// What there is to choose from, whatever the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Methods by family, then the combinations that papers gave a name.
    pub methods: Vec<MethodEntry>,
    /// The ways to choose the layers of a step.
    pub modes: Vec<Mode>,
    /// Settings to start from.
    pub presets: Vec<Preset>,
    /// The preset that suits the starter model.
    pub preset_of_starter: String,
    /// The preset that suits any other.
    pub preset_of_others: String,
    /// The settings of a run besides those of its methods, in the order in which they are shown.
    pub fields: Vec<Field>,
    /// What there is to choose from for a search under a budget.
    #[serde(default)]
    pub search: SearchChoices,
}

/// What there is to choose from for a search under a budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchChoices {
    /// What a configuration's `search` says to begin with.
    pub begin: Value,
    /// Who may search, each with the settings that it starts from; the budget and the sizes stay.
    pub searchers: Vec<Mode>,
    /// What may be searched among: each sets `method`.
    pub spaces: Vec<Preset>,
}

/// A method, or a combination of methods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MethodEntry {
    /// As configurations and command lines write it.
    pub name: String,
    /// As people write it.
    pub title: String,
    /// Its family, which it is listed under.
    pub family: String,
    /// One sentence for who chooses.
    pub sentence: String,
    /// Its settings in the order in which they are shown; none of a combination, whose members have them.
    pub fields: Vec<Field>,
    /// What a configuration's `method` says with all defaults. Empty for a combination: that is made for a model and comes
    /// with it, in [`Choices`].
    pub methods: Vec<Value>,
    /// The modes under which it can train, the one to fall back to first.
    pub modes: Vec<String>,
}

/// A way to choose the layers of a step, or to search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mode {
    /// As configurations write it.
    pub name: String,
    /// One sentence for who chooses.
    pub sentence: String,
    /// The settings that it starts from, the mode itself among them.
    pub values: Values,
}

/// Settings to start from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub hint: String,
    /// What it sets.
    pub values: Values,
}

/// A setting as a form shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Its place in a configuration, such as `train.steps` or `method.rank`.
    pub path: String,
    /// Its name for people.
    pub label: String,
    /// What it does, in a few words; may be empty.
    pub help: String,
    /// What it may be.
    pub kind: FieldKind,
    /// Whether most people never need it.
    pub advanced: bool,
    /// It does something only while the setting at this path has one of these values.
    pub only: Option<(String, Vec<String>)>,
}

/// What a setting may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// A number.
    Number(Range),
    /// One of these values, each with what it is called.
    Choice(Vec<(Value, String)>),
    /// Yes or no.
    Tick,
    /// Any text.
    Text,
    /// A column of the data, of those in its report; empty: recognised by name.
    Column,
    /// Linear layers of the model, of those in [`Choices`].
    Targets,
}

impl Default for FieldKind {
    fn default() -> Self {
        Self::Number(Range::default())
    }
}

/// The numbers that a setting may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Range {
    /// Whether it has no fraction.
    pub whole: bool,
    /// It is this or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// It is more than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// It is this or less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// It is less than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// What an empty text means, such as `by epochs`; the setting is 0 then.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zero: String,
}

impl Range {
    /// Whether a number is among them.
    pub fn holds(&self, x: f64) -> bool {
        x.is_finite()
            && self.least.is_none_or(|least| x >= least)
            && self.above.is_none_or(|above| x > above)
            && self.most.is_none_or(|most| x <= most)
            && self.below.is_none_or(|below| x < below)
            && (!self.whole || x.fract() == 0.0)
    }

    /// In words, such as `more than 0 and at most 1`.
    pub fn words(&self) -> String {
        let low = match (self.least, self.above) {
            (Some(least), _) => Some(format!("{least} or more")),
            (None, Some(above)) => Some(format!("more than {above}")),
            (None, None) => None,
        };
        let high = match (self.most, self.below) {
            (Some(most), _) => Some(format!("at most {most}")),
            (None, Some(below)) => Some(format!("less than {below}")),
            (None, None) => None,
        };
        let bounds: Vec<String> = [low, high].into_iter().flatten().collect();
        match (bounds.is_empty(), self.whole) {
            (true, true) => "a whole number".into(),
            (true, false) => "a number".into(),
            (false, true) => format!("a whole number, {}", bounds.join(" and ")),
            (false, false) => bounds.join(" and "),
        }
    }
}

/// What the loaded model leaves to choose from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choices {
    /// The linear layers of a block that a method can enter, in the order of the forward pass.
    pub targets: Vec<String>,
    /// What a configuration's `method` says for each combination, by its name.
    pub combinations: Vec<(String, Vec<Value>)>,
    /// Numbers that all modules of each [space](SearchChoices::spaces) of a search have together.
    #[serde(default)]
    pub spaces: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_and_say_what_they_hold() {
        let whole = |least: f64| Range { whole: true, least: Some(least), ..Range::default() };
        let share = Range { above: Some(0.0), most: Some(1.0), ..Range::default() };
        let rest = Range { least: Some(0.0), below: Some(1.0), ..Range::default() };
        for (range, good, bad, words) in [
            (whole(1.0), vec![1.0, 2.0], vec![0.0, 1.5, -1.0], "a whole number, 1 or more"),
            (share, vec![0.5, 1.0], vec![0.0, 1.1, f64::NAN], "more than 0 and at most 1"),
            (rest, vec![0.0, 0.99], vec![1.0, -0.1], "0 or more and less than 1"),
            (Range::default(), vec![-1e9, 0.1], vec![f64::INFINITY], "a number"),
            (Range { whole: true, ..Range::default() }, vec![7.0], vec![0.1], "a whole number"),
        ] {
            assert!(good.iter().all(|x| range.holds(*x)), "{words}");
            assert!(!bad.iter().any(|x| range.holds(*x)), "{words}");
            assert_eq!(range.words(), words);
        }
    }
}
