//! Whole modules beside an adapter: what PEFT saves of `modules_to_save`, as the classifier that is trained with it.

use serde_json::{Value, json};
use stratune_protocol::{ModelReport, Problem, Role};
use stratune_store::Tensors;

/// What an adapter has beside what its methods add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedModules {
    /// The ends of the modules' names, as PEFT's `modules_to_save` has them: `classifier`.
    pub names: Vec<String>,
    /// The names of the classes that a classifier among them tells apart, in order, if they are known.
    pub labels: Vec<String>,
}

impl SavedModules {
    /// `modules_to_save` of a configuration.
    pub(crate) fn read(config: &Value) -> Result<Self, Problem> {
        let names = match &config["modules_to_save"] {
            Value::Null => Vec::new(),
            Value::Array(names) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            other => {
                return Err(Problem::input(format!("modules_to_save is {other}, which is no list of names"))
                    .next("export the adapter again"));
            }
        };
        Ok(Self { names, labels: Vec::new() })
    }

    /// Whether a tensor is of one of the modules. A module is named by the end of its name.
    pub(crate) fn has(&self, path: &str) -> bool {
        let mut modules = path.split('.').rev().skip(1);
        modules.any(|module| self.names.iter().any(|name| module.ends_with(name.as_str())))
    }

    /// Takes their tensors out of an adapter's.
    pub(crate) fn split(&self, tensors: Tensors) -> (Tensors, Tensors) {
        tensors.into_iter().partition(|(path, _)| self.has(path))
    }

    /// What a configuration says of them, and of the task.
    pub(crate) fn fields(&self, model: &ModelReport) -> Value {
        let task = if model.has(Role::CrossQuery) { "SEQ_2_SEQ_LM" } else { "CAUSAL_LM" };
        // PEFT has no task of images: its models of tasks read tokens.
        let task = match (self.names.is_empty(), model.has(Role::PatchEmbedding)) {
            (_, true) => Value::Null,
            (true, false) => task.into(),
            (false, false) => "SEQ_CLS".into(),
        };
        let names = if self.names.is_empty() { Value::Null } else { json!(self.names) };
        json!({ "task_type": task, "modules_to_save": names })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_named_by_the_ends_of_their_names() {
        let saved = SavedModules::read(&json!({"modules_to_save": ["classifier", "score"]})).unwrap();
        for (path, has) in [
            ("classifier.weight", true),
            ("classifier.dense.weight", true),
            ("pre_classifier.bias", true),
            ("score.weight", true),
            ("bert.pooler.dense.weight", false),
            ("bert.encoder.layer.0.output.dense.lora_A.weight", false),
        ] {
            assert_eq!(saved.has(path), has, "{path}");
        }
        assert_eq!(saved.fields(&ModelReport::default())["task_type"], "SEQ_CLS");
        assert_eq!(SavedModules::default().fields(&ModelReport::default())["task_type"], "CAUSAL_LM");
        assert!(SavedModules::read(&json!({"modules_to_save": "all"})).is_err());
    }
}
