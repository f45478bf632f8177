//! What a `config.json` says of the head that classifies texts, and the same for other labels.

use serde_json::Value;
use stratune_protocol::{Module, Problem, Role};

use crate::ModelConfig;
use crate::families::Fields;
use crate::nn::ClassifierActivation;

/// More labels than any classifier has.
const MOST_LABELS: usize = 100_000;

/// The head of a model that classifies texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassifierConfig {
    /// The names of its labels, in their order; as many as config.json says, which may give them no better names than
    /// `LABEL_0`.
    pub labels: Vec<String>,
    /// Whether it reads the last token of a text, and not the first.
    pub reads_last: bool,
    /// What is behind its [pooler](Role::Pooler), if it has one.
    pub activation: Option<ClassifierActivation>,
}

impl ModelConfig {
    /// Whether its classifier says a number.
    pub fn is_regression(&self) -> bool {
        self.json["problem_type"] == "regression" || self.classifier.as_ref().is_some_and(|of| of.labels.len() == 1)
    }

    /// Whether several of its labels may hold of one text.
    pub fn is_multi_label(&self) -> bool {
        self.json["problem_type"] == "multi_label_classification"
    }

    /// The classifier that transformers puts on a decoder, in the place of its output layer: `score`, which reads the last
    /// token.
    pub(crate) fn read_last_token(&mut self) -> Result<(), String> {
        if self.seq2seq.is_some() {
            return Err("a classifier on a model that reads one text and writes another is not computed".into());
        }
        let labels = labels(&Fields(&self.json))?;
        let shape = vec![labels.len(), self.hidden_size];
        self.modules.retain(|module| module.role != Role::Head);
        let (path, role) = ("score".to_string(), Role::Classifier);
        self.modules.push(Module { path, block: None, role, shape, bias: false, transposed: false });
        self.classifier = Some(ClassifierConfig { labels, reads_last: true, activation: None });
        Ok(())
    }

    /// The same model as one that tells these labels from each other; `regression`: as one that says a number, for which
    /// there is one label.
    ///
    /// # Errors
    /// There is no label.
    pub fn with_labels(&self, labels: &[String], regression: bool) -> Result<Self, Problem> {
        let mut json = self.json.clone();
        let by_number = labels.iter().enumerate().map(|(i, label)| (i.to_string(), Value::from(label.as_str())));
        json["id2label"] = Value::Object(by_number.collect());
        let by_name = labels.iter().enumerate().map(|(i, label)| (label.clone(), Value::from(i)));
        json["label2id"] = Value::Object(by_name.collect());
        let kind = if regression { "regression" } else { "single_label_classification" };
        json["problem_type"] = kind.into();
        json["architectures"] = serde_json::json!([classifying(self.family.class)]);
        if let Some(fields) = json.as_object_mut() {
            fields.remove("num_labels");
        }
        Self::from_json(&json, "config.json")
    }
}

/// Whether a `config.json` is of a model that classifies texts.
pub(crate) fn classifies(json: &Value) -> bool {
    json["architectures"][0].as_str().is_some_and(|class| class.ends_with("ForSequenceClassification"))
}

/// The class of transformers for the same family that classifies texts.
pub(crate) fn classifying(class: &str) -> String {
    if class.ends_with("ForImageClassification") {
        return class.into();
    }
    let family = class.find("For").or(class.find("LMHead")).or(class.strip_suffix("Model").map(str::len));
    format!("{}ForSequenceClassification", &class[..family.unwrap_or(class.len())])
}

/// The labels that `id2label` names, or as many as `num_labels` says; 2 where neither does.
///
/// # Errors
/// They are no list of names.
pub(crate) fn labels(fields: &Fields<'_>) -> Result<Vec<String>, String> {
    let numbered = |count: usize| (0..count).map(|i| format!("LABEL_{i}")).collect();
    let Some(by_number) = fields.get("id2label") else {
        return Ok(numbered(fields.given_size("num_labels")?.or(2, 2).min(MOST_LABELS)));
    };
    let wrong = || "id2label does not name each label once, from 0".to_string();
    let by_number = by_number.as_object().filter(|of| (1..=MOST_LABELS).contains(&of.len())).ok_or_else(wrong)?;
    (0..by_number.len())
        .map(|i| by_number.get(&i.to_string()).and_then(Value::as_str).map(str::to_owned).ok_or_else(wrong))
        .collect()
}
