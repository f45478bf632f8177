//! How well a model does on rows: loss, and whole answers that are right.

use stratune_data::{Role, Row, Sequence, Source, Template, Tokenizer};
use stratune_models::Model;
use stratune_protocol::{GenerateRequest, Problem};
use stratune_train::{Batching, measure};

use crate::answer;

/// Rows to be examined on.
#[derive(Debug)]
pub struct Exam {
    sequences: Vec<Sequence>,
    questions: Vec<(String, String)>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Marks {
    /// Rows examined.
    pub rows: usize,
    /// Mean loss of a learned token, in nats.
    pub loss: f64,
    /// exp(loss).
    pub perplexity: f64,
    /// Rows with one question and one answer.
    pub questions: usize,
    /// Of these, answers that are equal to the row's, spaces at the ends aside, decoded greedily.
    pub exact: usize,
    /// `exact / questions`; none without questions.
    pub exact_match: Option<f64>,
}

impl Exam {
    /// An exam on all rows of a source; sequences are cut at `max_length`.
    ///
    /// # Errors
    /// No row can be used.
    pub fn new(
        source: &Source,
        tokenizer: &Tokenizer,
        template: &Template,
        max_length: usize,
    ) -> Result<Self, Problem> {
        let (mut sequences, mut questions) = (Vec::new(), Vec::new());
        for (_, row) in &source.rows {
            let mut sequence = template.encode(tokenizer, row)?;
            sequence.tokens.truncate(max_length);
            sequence.learned.truncate(max_length);
            if sequence.learned.contains(&true) {
                sequences.push(sequence);
            }
            if let Row::Turns(turns) = row
                && let [question, right] = &turns[..]
                && (question.role, right.role) == (Role::User, Role::Assistant)
            {
                questions.push((question.content.clone(), right.content.trim().to_string()));
            }
        }
        if sequences.is_empty() {
            return Err(Problem::input("no row has anything to be measured on").next("give rows with completions"));
        }
        Ok(Self { sequences, questions })
    }

    /// The mean loss of a learned token, in nats; rows are taken as `by` says.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn loss(&self, model: &Model, by: Batching) -> Result<f64, Problem> {
        let mut rows: Vec<&Sequence> = self.sequences.iter().collect();
        rows.sort_by_key(|r| r.tokens.len());
        Ok(measure(model, &rows, by, None).await?.loss)
    }

    /// How many questions there are.
    pub fn questions(&self) -> usize {
        self.questions.len()
    }

    /// Examines a model; `progress` hears after each question how many are done, and question, answer and whether it
    /// is right.
    ///
    /// # Errors
    /// The device does not answer, or a prompt fills the context.
    pub async fn take(
        &self,
        model: &Model,
        tokenizer: &Tokenizer,
        template: &Template,
        progress: &mut dyn FnMut(usize, &str, &str, bool),
    ) -> Result<Marks, Problem> {
        let mut rows: Vec<&Sequence> = self.sequences.iter().collect();
        rows.sort_by_key(|r| r.tokens.len());
        let loss = measure(model, &rows, Batching::packed(16), None).await?.loss;
        let mut exact = 0;
        for (done, (question, right)) in self.questions.iter().enumerate() {
            // An answer twice as long as the right one is wrong, however it ends.
            let max_tokens = 2 * tokenizer.encode(right)?.len() + 8;
            let request = GenerateRequest {
                prompt: question.clone(),
                as_instruction: true,
                max_tokens,
                ..GenerateRequest::default()
            };
            let given = answer(model, tokenizer, template, &request, &mut |_| {}).await?;
            let is_right = given.trim() == right;
            exact += usize::from(is_right);
            progress(done + 1, question, given.trim(), is_right);
        }
        let questions = self.questions.len();
        let exact_match = (questions > 0).then(|| exact as f64 / questions as f64);
        Ok(Marks { rows: rows.len(), loss, perplexity: loss.exp(), questions, exact, exact_match })
    }
}
