//! The conversation with both models, as it is written.

use serde_json::{Value, json};
use stratune_protocol::ModelVariant;

/// A question and what both models say to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// What both were asked.
    pub prompt: String,
    /// The model as it came.
    pub base: String,
    /// The model with the adapter.
    pub tuned: String,
}

impl Exchange {
    /// What one of them says.
    pub fn of(&self, variant: ModelVariant) -> &str {
        match variant {
            ModelVariant::Base => &self.base,
            ModelVariant::Tuned => &self.tuned,
        }
    }
}

/// The conversation with both models: one of each, with the same questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// What was asked and answered, in order.
    pub exchanges: Vec<Exchange>,
    /// Who is writing.
    pub writing: Option<ModelVariant>,
    /// Whether a person has stopped the answers.
    pub stopped: bool,
}

impl Answers {
    /// Both are asked; the base model begins.
    pub fn begin(&mut self, prompt: &str) {
        self.exchanges.push(Exchange { prompt: prompt.into(), ..Exchange::default() });
        (self.writing, self.stopped) = (Some(ModelVariant::Base), false);
    }

    /// The exchanges before the last.
    pub fn earlier(&self) -> &[Exchange] {
        self.exchanges.split_last().map_or(&[], |(_, earlier)| earlier)
    }

    /// What one of them is asked: what was said with it so far, without what it has not answered, and the last question.
    pub fn messages(&self, variant: ModelVariant, system: &str) -> Vec<Value> {
        let message = |role: &str, text: &str| json!({ "role": role, "content": text });
        let system = Some(system).filter(|text| !text.trim().is_empty()).map(|text| message("system", text));
        let answered = self.earlier().iter().filter(|exchange| !exchange.of(variant).is_empty());
        let turns = answered.flat_map(|e| [message("user", &e.prompt), message("assistant", e.of(variant).trim())]);
        system.into_iter().chain(turns).chain(self.exchanges.last().map(|e| message("user", &e.prompt))).collect()
    }

    /// Takes in a piece of an answer; returns who writes next when an answer is complete.
    pub fn hear(&mut self, variant: ModelVariant, text: &str, done: bool, tuned_too: bool) -> Option<ModelVariant> {
        // After it was cleared, what still comes belongs nowhere.
        if let Some(last) = self.exchanges.last_mut() {
            match variant {
                ModelVariant::Base => last.base.push_str(text),
                ModelVariant::Tuned => last.tuned.push_str(text),
            }
        }
        if done {
            let goes_on = variant == ModelVariant::Base && tuned_too && !self.stopped;
            self.writing = goes_on.then_some(ModelVariant::Tuned);
            return self.writing;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Answers {
        let mut answers = Answers::default();
        answers.begin("Hi");
        answers
    }

    #[test]
    fn the_tuned_model_answers_after_the_base() {
        let mut answers = begun();
        assert_eq!(answers.hear(ModelVariant::Base, "a", false, true), None);
        assert_eq!(answers.hear(ModelVariant::Base, "b", true, true), Some(ModelVariant::Tuned));
        assert_eq!(answers.hear(ModelVariant::Tuned, "c", true, true), None);
        let last = &answers.exchanges[0];
        assert_eq!((last.base.as_str(), last.tuned.as_str(), answers.writing), ("ab", "c", None));
        let mut alone = begun();
        assert_eq!((alone.hear(ModelVariant::Base, "", true, false), alone.writing), (None, None));
        let mut stopped = Answers { stopped: true, ..begun() };
        assert_eq!((stopped.hear(ModelVariant::Base, "a", true, true), stopped.writing), (None, None));
    }

    #[test]
    fn each_model_hears_its_own_conversation() {
        let mut answers = begun();
        answers.hear(ModelVariant::Base, " a", true, false);
        answers.begin("And?");
        let texts = |variant, system| {
            let said = answers.messages(variant, system);
            said.iter().filter_map(|m| m["content"].as_str().map(String::from)).collect::<Vec<_>>()
        };
        assert_eq!(texts(ModelVariant::Base, "Be brief."), ["Be brief.", "Hi", "a", "And?"]);
        // There was no tuned model to answer before.
        assert_eq!(texts(ModelVariant::Tuned, " "), ["And?"]);
    }
}
