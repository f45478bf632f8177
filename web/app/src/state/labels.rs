//! Labels of whole texts: whether a run learns them, and what a model says of a text.

use leptos::prelude::*;
use serde_json::Value;
use stratune_protocol::{Confusion, Role};

use super::inputs::parcel;
use super::run::Run;
use super::settings::{Command, Settings};
use crate::bridge::files::Picked;

/// Where it stands what is learned of a row.
pub const OBJECTIVE: &str = "train.objective";

/// Columns that people choose where labels are learned.
pub const COLUMNS: [&str; 3] = ["data.text_column", "data.text_pair_column", "data.label_column"];

/// Settings that are read only where labels are learned.
const OF_LABELS: [&str; 3] = ["data.text_pair_column", "data.label_column", "train.class_weights"];

/// Settings that are read only where tokens are learned.
const OF_TOKENS: [&str; 7] = [
    "data.prompt_column",
    "data.completion_column",
    "data.system_column",
    "data.messages_column",
    "data.prompt_template",
    "data.system_prompt",
    "data.labels",
];

/// Whether a setting is read where labels are learned, or else tokens.
pub fn is_read(path: &str, labels: bool) -> bool {
    !(if labels { &OF_TOKENS[..] } else { &OF_LABELS[..] }).contains(&path)
}

impl Settings {
    /// Whether a run of them learns labels: an encoder learns nothing else.
    pub fn learns_labels(&self, encoder: bool) -> bool {
        match self.text(OBJECTIVE) {
            "classification" | "regression" => true,
            "next_token" => false,
            _ => encoder || !self.text("data.label_column").is_empty() || !self.texts("data.label_names").is_empty(),
        }
    }

    /// Sets what is learned, and empties what is not read then.
    pub fn learn(&mut self, objective: &str, encoder: bool) {
        let objective = if encoder && objective == "next_token" { "auto" } else { objective };
        self.put(OBJECTIVE, objective.into());
        let labels = encoder || ["classification", "regression"].contains(&objective);
        let unread = if labels { &OF_TOKENS[..6] } else { &COLUMNS };
        for path in unread {
            self.put(path, "".into());
        }
        if !labels || objective == "regression" {
            self.put("data.label_names", Value::Array(Vec::new()));
        }
    }
}

/// What a model says of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Whether an answer is awaited.
    pub asked: bool,
    /// The labels with their probabilities, the likeliest first; or the number.
    pub labels: Vec<(String, f32)>,
    /// Whether it is a number.
    pub number: bool,
}

impl Run {
    /// Whether the loaded model is an encoder.
    pub fn is_encoder(self) -> bool {
        self.model.with(|model| model.as_ref().is_some_and(|model| model.encoder))
    }

    /// Whether the loaded model reads images.
    pub fn reads_images(self) -> bool {
        self.model.with(|model| model.as_ref().is_some_and(|model| model.has(Role::PatchEmbedding)))
    }

    /// Whether the next run learns labels.
    pub fn learns_labels(self) -> bool {
        let encoder = self.is_encoder();
        self.config.with(|config| config.learns_labels(encoder))
    }

    /// Whether what there is to try labels texts, and writes none.
    pub fn says_labels(self) -> bool {
        let tuned = self.tuned.with(|tuned| tuned.as_ref().map(|tuned| tuned.labels));
        tuned.unwrap_or_else(|| self.is_encoder() || self.labels_as_it_came())
    }

    /// Whether the loaded model tells labels apart without being tuned.
    pub fn labels_as_it_came(self) -> bool {
        self.model.with(|model| model.as_ref().is_some_and(|model| !model.labels.is_empty()))
    }

    /// Whether labels would be learned, and the example is chosen, which has none.
    pub fn lacks_labels(self) -> bool {
        self.wants_labels_of_the_example() && self.data.with(Option::is_none)
    }

    /// Whether labels are to be learned of the example, whatever has been read.
    pub fn wants_labels_of_the_example(self) -> bool {
        self.learns_labels() && self.config.with(|c| c.texts("data.files").is_empty())
    }

    /// Has a text labelled; the second one may be empty.
    pub fn classify(self, text: String, text_pair: String) {
        self.said.update(|said| said.asked = true);
        self.send(&Command::Classify { text, text_pair, files: Vec::new() }, &[]);
    }

    /// Has an image labelled.
    pub fn classify_image(self, image: Picked) {
        self.said.update(|said| said.asked = true);
        let (text, text_pair) = Default::default();
        let (files, image) = parcel(&[image]);
        self.send(&Command::Classify { text, text_pair, files }, &image);
    }
}

/// The same rows with at most so many classes: those of the most rows in their order, and the rest as one.
pub fn folded(of: &Confusion, most: usize) -> Confusion {
    let count = of.labels.len();
    if count <= most {
        return of.clone();
    }
    let mut kept: Vec<usize> = (0..count).collect();
    kept.sort_by_key(|class| std::cmp::Reverse(of.rows[*class].iter().sum::<u32>()));
    kept.truncate(most - 1);
    kept.sort_unstable();
    let place = |class: usize| kept.iter().position(|one| *one == class).unwrap_or(kept.len());
    let rest = format!("{} others", count - kept.len());
    let mut out = Confusion::new(kept.iter().map(|class| of.labels[*class].clone()).chain([rest]).collect());
    for (right, row) in of.rows.iter().enumerate() {
        for (said, rows) in row.iter().enumerate() {
            out.rows[place(right)][place(said)] += rows;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::settings::tests::settings;

    fn of(objective: &str) -> Settings {
        settings(json!({
            "train": { "objective": objective },
            "data": { "label_column": "", "text_column": "", "text_pair_column": "", "label_names": [],
                      "prompt_column": "", "system_prompt": "" },
        }))
    }

    #[test]
    fn what_is_learned_follows_from_model_and_settings() {
        for (objective, column, encoder, labels) in [
            ("auto", "", false, false),
            ("auto", "", true, true),
            ("auto", "label", false, true),
            ("next_token", "", true, false),
            ("classification", "", false, true),
            ("regression", "", false, true),
        ] {
            let mut settings = of(objective);
            settings.put("data.label_column", column.into());
            assert_eq!(settings.learns_labels(encoder), labels, "{objective} {column} {encoder}");
        }
        assert!(is_read("data.format", true) && is_read("data.format", false));
        assert!(is_read("data.label_column", true) && !is_read("data.label_column", false));
        assert!(!is_read("data.prompt_column", true) && is_read("data.prompt_column", false));
    }

    #[test]
    fn changing_what_is_learned_leaves_nothing_unread() {
        let mut settings = of("auto");
        settings.put("data.prompt_column", "question".into());
        settings.put("data.system_prompt", "Be brief.".into());
        settings.learn("classification", false);
        assert_eq!(settings.text(OBJECTIVE), "classification");
        assert_eq!((settings.text("data.prompt_column"), settings.text("data.system_prompt")), ("", ""));
        settings.put("data.label_column", "label".into());
        settings.put("data.text_column", "text".into());
        settings.put("data.label_names", json!(["a", "b"]));
        settings.learn("regression", false);
        assert_eq!((settings.text("data.label_column"), settings.texts("data.label_names").len()), ("label", 0));
        settings.learn("auto", false);
        assert!(!settings.learns_labels(false) && settings.text("data.text_column").is_empty());
        settings.learn("next_token", true);
        assert_eq!(settings.text(OBJECTIVE), "auto");
    }

    #[test]
    fn many_classes_fold_into_others() {
        let mut of = Confusion::new((0..5).map(|n| n.to_string()).collect());
        for (right, said, rows) in [(0, 0, 1), (1, 1, 4), (1, 3, 2), (2, 0, 1), (3, 3, 9), (4, 1, 2), (4, 0, 1)] {
            of.rows[right][said] = rows;
        }
        let all = folded(&of, 5);
        assert_eq!(all, of);
        let few = folded(&of, 3);
        assert_eq!(few.labels, ["1", "3", "3 others"]);
        assert_eq!(few.rows, [[4, 2, 0], [0, 9, 0], [2, 0, 3]]);
        assert_eq!(few.count(), of.count());
    }
}
