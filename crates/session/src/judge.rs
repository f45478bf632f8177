//! A model's answers to the items of a task.

use serde::Serialize;
use stratune_data::{Sequence, Template, Tokenizer, continuation};
use stratune_models::Model;
use stratune_protocol::{GenerateRequest, Problem, ProblemKind};
use stratune_tasks::{Item, Judge, Label, Labelled, Prediction, Scored, Task};
use stratune_train::{likeliest, row_losses};

use crate::labels::classify_texts;
use crate::{Base, answer};

/// Rows of one length that are computed at once.
const ROWS: usize = 16;

/// How a task is judged.
#[derive(Clone, Copy, Debug)]
pub struct JudgeOptions {
    /// How an answer is got out of the model.
    pub judge: Judge,
    /// Whether log-likelihoods are divided by the length of their choice in characters.
    pub normalised: bool,
    /// Most tokens of a written answer.
    pub max_tokens: usize,
    /// Most tokens of a text and its continuation; what is longer loses its beginning.
    pub max_length: usize,
}

/// What a model made of one item.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// File and place.
    pub at: String,
    /// log p(continuation | context) of each choice, in nats, or what a classifier says of each class; empty of a written
    /// answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<f64>,
    /// What the model wrote; empty where choices were ranked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What that answers, in words; none if nothing.
    pub answer: Option<String>,
    /// What is right, in words.
    pub right: String,
    #[serde(skip)]
    prediction: Option<Prediction>,
}

/// A task's judgement.
#[derive(Clone, Debug, Serialize)]
pub struct TaskReport {
    /// The task with its family.
    pub task: String,
    /// How it was judged.
    pub judge: Judge,
    /// The metrics; the first is the one that tables show.
    pub scores: Vec<Scored>,
    /// Item by item.
    #[serde(skip)]
    pub items: Vec<Judged>,
}

/// Judges a model with a classifier by a task whose items are texts with labels; `tell` hears how many items are done.
///
/// # Errors
/// The task's labels are not the model's, or the device does not answer.
pub async fn judge_labels(
    task: &Task,
    labelled: &Labelled,
    base: &Base,
    tell: &mut dyn FnMut(usize),
) -> Result<TaskReport, Problem> {
    let model = &base.model;
    let regression = model.config.is_regression();
    let names = model.config.classifier.as_ref().map_or(&[][..], |of| &of.labels);
    let places = match &labelled.classes {
        Some(_) => labelled.places(names)?,
        None if regression => Vec::new(),
        None => {
            return Err(Problem::input("the task asks for a number, and the model gives classes")
                .next("train it with --objective regression"));
        }
    };
    let texts: Vec<(&str, Option<&str>)> = labelled.rows().map(|(text, pair, _)| (text, pair)).collect();
    let said = classify_texts(model, &base.tokenizer, &texts, tell).await?;
    let mut judged = Vec::new();
    for (item, logits) in labelled.items.iter().zip(said) {
        let prediction = match regression {
            true => logits.first().map(|value| Prediction::Number(f64::from(*value))),
            false => places.get(likeliest(&logits)).map(|place| Prediction::Choice(*place)),
        };
        let mut of = Judged::of(item, prediction, String::new());
        of.logprobs = logits.iter().map(|logit| f64::from(*logit)).collect();
        judged.push(of);
    }
    let predictions: Vec<Option<Prediction>> = judged.iter().map(|item| item.prediction.clone()).collect();
    let scores = task.score(&labelled.items, &predictions)?;
    Ok(TaskReport { task: task.full_name(), judge: Judge::Classifier, scores, items: judged })
}

/// Judges a model by items of a task; `tell` hears how many items are done.
///
/// # Errors
/// The task has no choices to rank, a prompt is too long for the model, or the device does not answer.
pub async fn judge(
    task: &Task,
    items: &[Item],
    (model, tokenizer, template): (&Model, &Tokenizer, &Template),
    options: JudgeOptions,
    tell: &mut dyn FnMut(usize),
) -> Result<TaskReport, Problem> {
    let judged = match options.judge {
        Judge::Likelihood => ranked(task, items, (model, tokenizer), options, tell).await?,
        Judge::Generated => written(task, items, (model, tokenizer, template), options, tell).await?,
        Judge::Classifier => {
            return Err(Problem::input("this model has no classifier").next("train it on rows with labels"));
        }
    };
    let predictions: Vec<Option<Prediction>> = judged.iter().map(|item| item.prediction.clone()).collect();
    let scores = task.score(items, &predictions)?;
    Ok(TaskReport { task: task.full_name(), judge: options.judge, scores, items: judged })
}

/// By the likelihood of each choice.
async fn ranked(
    task: &Task,
    items: &[Item],
    (model, tokenizer): (&Model, &Tokenizer),
    options: JudgeOptions,
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<Judged>, Problem> {
    if let Some(item) = items.iter().find(|item| item.choices.is_empty()) {
        let what = format!("{} has no choices whose likelihood could be compared", task.full_name());
        return Err(Problem::input(what).at(&item.at).next("judge it by what the model writes: --judge generated"));
    }
    let mut rows: Vec<Sequence> = Vec::new();
    for item in items {
        for choice in &item.choices {
            let row = continuation(tokenizer, &choice.context, &choice.continuation, options.max_length);
            rows.push(row.map_err(|problem| problem.at(&item.at))?);
        }
    }
    let choices = rows.len().max(1);
    let rows: Vec<&Sequence> = rows.iter().collect();
    let mut of_items = |done: usize| tell(done * items.len() / choices);
    let losses = row_losses(model, &rows, ROWS, &mut of_items).await?;
    let mut losses = losses.into_iter().map(|loss| -loss);
    let judged = |item: &Item| {
        let logprobs: Vec<f64> = losses.by_ref().take(item.choices.len()).collect();
        let prediction = task.predict(item, &logprobs, options.normalised);
        Judged { logprobs, ..Judged::of(item, prediction, String::new()) }
    };
    Ok(items.iter().map(judged).collect())
}

/// By what the model writes.
async fn written(
    task: &Task,
    items: &[Item],
    (model, tokenizer, template): (&Model, &Tokenizer, &Template),
    options: JudgeOptions,
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<Judged>, Problem> {
    let mut judged = Vec::new();
    for (done, item) in items.iter().enumerate() {
        let request = GenerateRequest {
            prompt: item.prompt.clone(),
            as_instruction: true,
            max_tokens: options.max_tokens,
            ..GenerateRequest::default()
        };
        let text = match answer(model, tokenizer, template, &request, &mut |_| {}).await {
            Ok(text) => text,
            // A question that cannot be asked is not answered; the others can be.
            Err(problem) if problem.kind == ProblemKind::Input => String::new(),
            Err(problem) => return Err(problem),
        };
        let prediction = task.extract(item, &text);
        judged.push(Judged::of(item, prediction, text));
        tell(done + 1);
    }
    Ok(judged)
}

impl Judged {
    fn of(item: &Item, prediction: Option<Prediction>, text: String) -> Self {
        let choice = |place: usize| item.choices.get(place).map_or_else(|| place.to_string(), |c| c.answer.clone());
        let answer = prediction.as_ref().map(|prediction| match prediction {
            Prediction::Choice(place) => choice(*place),
            Prediction::Number(number) => number.to_string(),
            Prediction::Text(text) => text.clone(),
        });
        let right = match &item.label {
            Label::Choice(place) => choice(*place),
            Label::Number(number) => number.to_string(),
            Label::Text(texts) => texts.join(" | "),
        };
        Self { at: item.at.clone(), logprobs: Vec::new(), text, answer, right, prediction }
    }
}
