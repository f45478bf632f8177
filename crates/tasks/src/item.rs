//! One thing that is asked, what may be answered, and what is right.

/// One thing that a task asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// File and place: `RTE/dev.tsv, line 7`.
    pub at: String,
    /// What an instructed model is asked.
    pub prompt: String,
    /// The right answer as it is trained: `the correct answer is true`.
    pub response: String,
    /// What may be answered; empty where any number or text may.
    pub choices: Vec<Choice>,
    /// What is right.
    pub label: Label,
    /// What belongs together and is judged, or drawn again, as one: the question of MultiRC that this is an answer to.
    pub group: Option<String>,
    /// The one or two texts as they are, for encoders.
    pub texts: Vec<String>,
}

/// One of the answers that an item allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What comes before, for ranking by likelihood.
    pub context: String,
    /// What is scored: log p(continuation | context). It begins with the space that parts it from the context.
    pub continuation: String,
    /// The answer as it is trained: `the correct answer is solution1`.
    pub response: String,
    /// The answer alone: `solution1`.
    pub answer: String,
}

/// What is right.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// The choice at this place; for classification, the class.
    Choice(usize),
    /// A number.
    Number(f64),
    /// Any of these texts.
    Text(Vec<String>),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Prediction {
    /// The choice at this place. A place that the item does not have is an answer, and wrong.
    Choice(usize),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// The words before an answer, as LLM-Adapters trains it.
pub(crate) const LEAD: &str = "the correct answer is ";

/// An answer as it is trained.
pub(crate) fn response(answer: &str) -> String {
    format!("{LEAD}{answer}")
}

impl Choice {
    /// A choice called `answer`, scored as `continuation`, which gets its space here, after `context`.
    pub(crate) fn new(answer: impl Into<String>, context: impl Into<String>, continuation: &str) -> Self {
        let answer = answer.into();
        Self { context: context.into(), continuation: format!(" {continuation}"), response: response(&answer), answer }
    }
}

impl Item {
    /// An item whose answer is one of `choices`.
    pub(crate) fn choosing(at: &str, prompt: String, choices: Vec<Choice>, right: usize, texts: &[&str]) -> Self {
        Self {
            at: at.to_owned(),
            prompt,
            response: choices.get(right).map(|choice| choice.response.clone()).unwrap_or_default(),
            choices,
            label: Label::Choice(right),
            group: None,
            texts: texts.iter().map(|&text| text.to_owned()).collect(),
        }
    }
}
