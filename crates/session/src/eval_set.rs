//! Evaluation on rows: loss, and exact match of whole answers.

use stratune_data::{Conversation, Row, Sequence, Source, Template, Tokenizer};
use stratune_models::Model;
use stratune_protocol::{GenerateRequest, Problem, ProblemKind, SkippedRow};
use stratune_train::{Batching, NextToken, evaluate};

use crate::answer;

/// Rows to evaluate on.
#[derive(Debug)]
pub struct EvalSet {
    sequences: Vec<Sequence>,
    questions: Vec<EvalPrompt>,
    /// Rows that were left out when they were read, and those with nothing to be measured on.
    left_out: Vec<SkippedRow>,
}

/// A row that ends with an answer.
#[derive(Debug)]
struct EvalPrompt {
    at: String,
    asked: Conversation,
    right: String,
}

/// Metrics of an evaluation.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct EvalMetrics {
    /// Rows evaluated.
    pub rows: usize,
    /// Mean loss of a label, in nats.
    pub loss: f64,
    /// exp(loss).
    pub perplexity: f64,
    /// Rows that end with an answer.
    pub questions: usize,
    /// Of these, answers that are equal to the row's, spaces at the ends aside, decoded greedily.
    pub exact: usize,
    /// `exact / questions`; none without questions.
    pub exact_match: Option<f64>,
    /// Rows that were left out and why, and questions that could not be asked.
    pub left_out: Vec<SkippedRow>,
}

impl EvalSet {
    /// An evaluation on all rows of a source; sequences are cut at `max_length`.
    ///
    /// # Errors
    /// No row can be used.
    pub fn new(
        source: &Source,
        tokenizer: &Tokenizer,
        template: &Template,
        max_length: usize,
    ) -> Result<Self, Problem> {
        let (mut sequences, mut questions, mut left_out) = (Vec::new(), Vec::new(), source.skipped.clone());
        for (at, row) in &source.rows {
            let encoded = template.encode(tokenizer, row).map(|mut encoded| {
                encoded.iter_mut().for_each(|sequence| {
                    sequence.cut(max_length);
                });
                encoded.retain(|sequence| sequence.label_count() > 0);
                encoded
            });
            let why = match encoded {
                Ok(encoded) if encoded.is_empty() => {
                    format!("nothing is left to learn after the cut at {max_length} tokens")
                }
                Ok(encoded) => {
                    sequences.extend(encoded);
                    questions.extend(question(at, row));
                    continue;
                }
                Err(problem) => problem.what,
            };
            left_out.push(SkippedRow { at: at.clone(), why, raw: String::new() });
        }
        if sequences.is_empty() {
            let (why, at) = left_out.first().map_or(("there are none", ""), |row| (&row.why, &row.at));
            return Err(Problem::input(format!("no row has anything to be measured on: {why}"))
                .at(at)
                .next("raise data.max_length, or give rows with completions"));
        }
        Ok(Self { sequences, questions, left_out })
    }

    /// The mean loss of a label, in nats; rows are taken as `by` says.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn loss(&self, model: &Model, by: Batching) -> Result<f64, Problem> {
        let mut rows: Vec<&Sequence> = self.sequences.iter().collect();
        rows.sort_by_key(|r| r.tokens.len());
        Ok(evaluate(&NextToken, model, &rows, by, None).await?.loss)
    }

    /// How many questions there are.
    pub fn questions(&self) -> usize {
        self.questions.len()
    }

    /// Evaluates a model; `progress` hears after each question how many are done, and question, answer and whether it
    /// is right.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn evaluate(
        &self,
        model: &Model,
        tokenizer: &Tokenizer,
        template: &Template,
        progress: &mut dyn FnMut(usize, &str, &str, bool),
    ) -> Result<EvalMetrics, Problem> {
        let mut rows: Vec<&Sequence> = self.sequences.iter().collect();
        rows.sort_by_key(|r| r.tokens.len());
        let loss = evaluate(&NextToken, model, &rows, Batching::packed(16), None).await?.loss;
        let (mut exact, mut questions, mut left_out) = (0, 0, self.left_out.clone());
        for EvalPrompt { at, asked, right } in &self.questions {
            let given = match ask(model, tokenizer, template, asked, right).await {
                Ok(given) => given,
                // A question that cannot be asked: the others can.
                Err(problem) if problem.kind == ProblemKind::Input => {
                    left_out.push(SkippedRow { at: at.clone(), why: problem.what, raw: String::new() });
                    continue;
                }
                Err(problem) => return Err(problem),
            };
            let is_right = given.trim() == right;
            exact += usize::from(is_right);
            questions += 1;
            let question = asked.turns.last().map_or("", |turn| &turn.content);
            progress(questions, question, given.trim(), is_right);
        }
        let exact_match = (questions > 0).then(|| exact as f64 / questions as f64);
        Ok(EvalMetrics { rows: rows.len(), loss, perplexity: loss.exp(), questions, exact, exact_match, left_out })
    }
}

/// What a model answers.
async fn ask(
    model: &Model,
    tokenizer: &Tokenizer,
    template: &Template,
    asked: &Conversation,
    right: &str,
) -> Result<String, Problem> {
    // An answer twice as long as the right one is wrong, however it ends.
    let max_tokens = 2 * tokenizer.encode(right)?.len() + 8;
    let (messages, tools) = (asked.messages(), asked.tools.clone());
    let request = GenerateRequest { messages, tools, max_tokens, ..GenerateRequest::default() };
    answer(model, tokenizer, template, &request, &mut |_| {}).await
}

/// A row as a question, if it ends with an answer.
fn question(at: &str, row: &Row) -> Option<EvalPrompt> {
    let Row::Turns(talk) = row else { return None };
    let (asked, right) = talk.last_answer()?;
    Some(EvalPrompt { at: at.into(), asked, right: right.trim().into() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_that_ends_with_an_answer_is_a_question() {
        let asks = |messages: serde_json::Value| {
            let talk = Conversation::read(messages.as_array().unwrap(), &[]).unwrap();
            let is_question = question("a row", &Row::Turns(talk.clone()));
            is_question.map(|found| (found.asked.turns.len(), found.right, found.asked == talk))
        };
        let (system, user) = (json!({"role": "system", "content": "s"}), json!({"role": "user", "content": "u"}));
        let assistant = json!({"role": "assistant", "content": " a "});
        for (messages, asked) in [
            (json!([user, assistant]), Some(1)),
            (json!([system, user, assistant]), Some(2)),
            (json!([user, assistant, user, assistant]), Some(3)),
            (json!([user]), None),
            (json!([assistant]), None),
            (json!([system, assistant]), None),
            (json!([user, assistant, assistant]), None),
        ] {
            assert_eq!(asks(messages.clone()), asked.map(|turns| (turns, "a".to_string(), false)), "{messages}");
        }
    }

    #[test]
    fn a_question_is_asked_as_it_stands() {
        let call = json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}]);
        let messages = [
            json!({"role": "user", "content": "u"}),
            json!({"role": "assistant", "content": "", "tool_calls": call}),
            json!({"role": "tool", "content": "t", "tool_call_id": "1"}),
        ];
        let talk = Conversation::read(&messages, &[]).unwrap();
        assert_eq!(Conversation::read(&talk.messages(), &[]).unwrap(), talk);
    }
}
