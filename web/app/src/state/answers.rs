//! The two answers to a prompt, as they are written.

use stratune_protocol::ModelVariant;

/// The two answers to a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// What both were asked.
    pub prompt: String,
    /// The model as it came.
    pub base: String,
    /// The model with the trained adapter.
    pub tuned: String,
    /// Who is writing.
    pub writing: Option<ModelVariant>,
}

impl Answers {
    /// Empties both panes; the base model begins.
    pub fn begin(prompt: &str) -> Self {
        Self { prompt: prompt.into(), writing: Some(ModelVariant::Base), ..Self::default() }
    }

    /// Takes in a piece of an answer; returns who writes next when an answer is complete.
    pub fn hear(&mut self, variant: ModelVariant, text: &str, done: bool, tuned_too: bool) -> Option<ModelVariant> {
        match variant {
            ModelVariant::Base => self.base.push_str(text),
            ModelVariant::Tuned => self.tuned.push_str(text),
        }
        if done {
            self.writing = (variant == ModelVariant::Base && tuned_too).then_some(ModelVariant::Tuned);
            return self.writing;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tuned_model_answers_after_the_base() {
        let mut answers = Answers::begin("Hi");
        assert_eq!(answers.hear(ModelVariant::Base, "a", false, true), None);
        assert_eq!(answers.hear(ModelVariant::Base, "b", true, true), Some(ModelVariant::Tuned));
        assert_eq!(answers.hear(ModelVariant::Tuned, "c", true, true), None);
        assert_eq!((answers.base.as_str(), answers.tuned.as_str(), answers.writing), ("ab", "c", None));
        let mut alone = Answers::begin("Hi");
        assert_eq!((alone.hear(ModelVariant::Base, "", true, false), alone.writing), (None, None));
    }
}
