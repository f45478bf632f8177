//! The settings of a run as the page holds them: a tree that came from the engine and goes back to it. What is in it, and
//! what it may be, is in the engine's catalogue.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stratune_protocol::{Catalogue, FieldKind, Mode, Values};

/// What the page asks of an engine.
pub type Command = stratune_protocol::Command<Settings>;
/// What an engine tells the page.
pub type Event = stratune_protocol::Event<Settings>;
/// An interrupted run.
pub type SavedRun = stratune_protocol::SavedRun<Settings>;
/// The run that a tuned model comes from.
pub type TunedRun = stratune_protocol::TunedRun<Settings>;

/// Where the way to choose the layers of a step is.
pub const MODE: &str = "ist.mode";

/// The values of the setting at a path that bring others along.
pub fn modes_of<'a>(catalogue: &'a Catalogue, path: &str) -> &'a [Mode] {
    match path {
        MODE => &catalogue.modes,
        "search.by" => &catalogue.search.searchers,
        _ => &[],
    }
}

/// The settings of a run. Empty until an engine has sent some.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(Value);

impl Settings {
    /// Whether no engine has sent any yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    /// All of it.
    pub fn tree(&self) -> &Value {
        &self.0
    }

    /// The value at a path such as `train.steps`; at `method.rank` that of the first method that has it.
    pub fn get(&self, path: &str) -> Option<&Value> {
        match path.strip_prefix("method.") {
            Some(name) => self.methods().iter().find_map(|method| method.get(name)),
            None => path.split('.').try_fold(&self.0, |value, name| value.get(name)),
        }
    }

    /// Puts a value where there is one; at `method.rank` into every method that has it.
    pub fn put(&mut self, path: &str, value: Value) {
        if let Some(name) = path.strip_prefix("method.") {
            for slot in self.methods_mut().iter_mut().filter_map(|method| method.get_mut(name)) {
                *slot = value.clone();
            }
        } else if let Some(slot) = path.split('.').try_fold(&mut self.0, |value, name| value.get_mut(name)) {
            *slot = value;
        }
    }

    /// Sets a value of the top level, there or not; none takes it away.
    pub fn set(&mut self, name: &str, value: Option<Value>) {
        let Value::Object(fields) = &mut self.0 else { return };
        match value {
            Some(value) => _ = fields.insert(name.into(), value),
            None => _ = fields.remove(name),
        }
    }

    /// Puts all of these.
    pub fn put_all(&mut self, values: &Values) {
        for (path, value) in values {
            self.put(path, value.clone());
        }
    }

    /// Whether putting these would change nothing.
    pub fn is_at(&self, values: &Values) -> bool {
        let mut there = self.clone();
        there.put_all(values);
        there == *self
    }

    /// The text at a path; empty if there is none.
    pub fn text(&self, path: &str) -> &str {
        self.get(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number at a path; 0 if there is none.
    pub fn number(&self, path: &str) -> f64 {
        self.get(path).and_then(Value::as_f64).unwrap_or_default()
    }

    /// The texts of a list; none if there is none.
    pub fn texts(&self, path: &str) -> Vec<&str> {
        self.get(path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The methods.
    pub fn methods(&self) -> &[Value] {
        self.0.get("method").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// The methods, to change them.
    pub fn methods_mut(&mut self) -> &mut [Value] {
        self.0.get_mut("method").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
    }

    /// What of a setting the rest of the settings are about: nothing, if it does nothing under them.
    pub fn has(&self, only: &Option<(String, Vec<String>)>) -> bool {
        only.as_ref().is_none_or(|(path, values)| values.iter().any(|value| value == self.text(path)))
    }
}

/// A value as a form writes it.
pub fn written(value: Option<&Value>, kind: &FieldKind) -> String {
    match (value, kind) {
        (Some(Value::Number(n)), FieldKind::Number(range)) if !range.zero.is_empty() && n.as_u64() == Some(0) => {
            String::new()
        }
        // An integer as it is, for large ones are not exact as floats; a float without `.0`.
        (Some(Value::Number(n)), _) => match (n.as_u64(), n.as_f64()) {
            (None, Some(x)) => x.to_string(),
            _ => n.to_string(),
        },
        (Some(Value::String(text)), _) => text.clone(),
        (Some(value), _) => value.to_string(),
        (None, _) => String::new(),
    }
}

/// What a text in a form means.
///
/// # Errors
/// It is no such value; says what is wanted.
pub fn meant(text: &str, kind: &FieldKind) -> Result<Value, String> {
    let text = text.trim();
    let FieldKind::Number(range) = kind else { return Ok(text.into()) };
    if text.is_empty() && !range.zero.is_empty() {
        return Ok(0.into());
    }
    let value = match range.whole {
        true => text.parse::<u64>().ok().map(|n| (Value::from(n), n as f64)),
        false => text.parse::<f64>().ok().map(|x| (Value::from(x), x)),
    };
    value.filter(|(_, x)| range.holds(*x)).map(|(value, _)| value).ok_or_else(|| range.words())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use serde_json::json;
    use stratune_protocol::Range;

    use super::*;

    /// Settings of this tree.
    pub fn settings(tree: Value) -> Settings {
        serde_json::from_value(tree).unwrap()
    }

    fn sample() -> Settings {
        settings(json!({
            "model": "starter",
            "ist": { "mode": "practical" },
            "train": { "steps": 3, "seed": u64::MAX },
            "method": [{ "kind": "prefix", "length": 10 }, { "kind": "lora", "rank": 8, "targets": ["q", "v"] }],
        }))
    }

    #[test]
    fn values_are_found_and_put_by_their_paths() {
        let mut all = sample();
        assert_eq!(
            (all.number("train.steps"), all.text("ist.mode"), all.number("method.rank")),
            (3.0, "practical", 8.0)
        );
        assert_eq!(all.texts("method.targets"), ["q", "v"]);
        all.put("train.steps", json!(4));
        all.put("method.rank", json!(2));
        // What is not there is not made.
        all.put("method.alpha", json!(1.0));
        all.put("train.stepz", json!(1));
        assert_eq!((all.number("train.steps"), all.number("method.rank")), (4.0, 2.0));
        assert_eq!((all.get("method.alpha"), all.get("train.stepz"), all.methods()[0].get("rank")), (None, None, None));
        all.set("search", Some(json!({ "budget": 3 })));
        assert_eq!(all.number("search.budget"), 3.0);
        all.set("search", None);
        assert_eq!(all.get("search"), None);
        let mut none = Settings::default();
        none.set("search", Some(json!(1)));
        none.put("train.steps", json!(1));
        assert!(none.is_empty() && none.text("model").is_empty() && none.methods().is_empty());
    }

    #[test]
    fn a_preset_is_known_by_what_it_sets() {
        let mut all = sample();
        let values: Values = [("method.rank".to_string(), json!(16)), ("method.width".into(), json!(1))].into();
        assert!(!all.is_at(&values));
        all.put_all(&values);
        assert!(all.is_at(&values) && all.number("method.rank") == 16.0);
        let only = |value: &str| Some(("ist.mode".to_string(), vec!["random".to_string(), value.into()]));
        assert!(all.has(&None) && all.has(&only("practical")) && !all.has(&only("all")));
    }

    #[test]
    fn texts_are_values_or_say_what_is_wanted() {
        let number = |range: Range| FieldKind::Number(range);
        let count = number(Range { whole: true, least: Some(1.0), ..Range::default() });
        let share = number(Range { above: Some(0.0), most: Some(1.0), ..Range::default() });
        let steps = number(Range { whole: true, least: Some(0.0), zero: "by epochs".into(), ..Range::default() });
        for (text, kind, value) in [
            (" 12 ", &count, Some(json!(12))),
            ("18446744073709551615", &count, Some(json!(u64::MAX))),
            ("0", &count, None),
            ("-1", &count, None),
            ("1.5", &count, None),
            ("", &count, None),
            ("1e", &share, None),
            ("1,000", &share, None),
            ("1e-3", &share, Some(json!(1e-3))),
            ("1", &share, Some(json!(1.0))),
            ("2", &share, None),
            ("nan", &share, None),
            ("", &steps, Some(json!(0))),
        ] {
            assert_eq!(meant(text, kind).ok(), value, "{text}");
        }
        assert_eq!(meant("0", &count), Err("a whole number, 1 or more".into()));
        for (value, kind, text) in [
            (json!(16.0), &share, "16"),
            (json!(0.005), &share, "0.005"),
            (json!(0), &steps, ""),
            (json!(0), &count, "0"),
            (json!(u64::MAX), &count, "18446744073709551615"),
            (json!("cosine"), &FieldKind::Tick, "cosine"),
            (json!(true), &FieldKind::Tick, "true"),
        ] {
            assert_eq!(written(Some(&value), kind), text);
        }
    }
}
