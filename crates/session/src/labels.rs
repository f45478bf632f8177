//! Texts with labels: whether a run learns them, how a model wants them read, and what it says of a text.

use std::rc::Rc;

use stratune_data::{
    Dataset, ImageProcessor, Label, LabelKind, Reads, Sequence, SourceFile, Target, Tokenizer, Wanted, encode_text,
    load, load_images, load_labelled, recognise,
};
use stratune_models::{Model, ModelConfig};
use stratune_protocol::{LabelMetrics, Objective as Kind, Problem};
use stratune_train::{Batching, Classification, NextToken, Objective, Regression, RunConfig, classify};

use crate::Base;

/// Rows that are labelled at once.
const ROWS: usize = 16;

/// Whether a run of this configuration learns the labels of texts, and not the next token: encoders learn nothing else.
///
/// # Errors
/// The model cannot learn what the configuration wants.
pub fn learns_labels(config: &RunConfig, model: &ModelConfig) -> Result<bool, Problem> {
    let encoder = model.is_encoder();
    match config.train.objective {
        Kind::NextToken if encoder => Err(Problem::input("this model is an encoder: it writes no text to learn from")
            .at("train.objective")
            .next("use auto, classification or regression with rows that have labels, or another model")),
        Kind::NextToken => Ok(false),
        Kind::Auto => Ok(encoder || !config.data.label_column.is_empty() || !config.data.label_names.is_empty()),
        Kind::Classification | Kind::Regression => Ok(true),
    }
}

/// What a model that knows these labels wants of rows with labels.
fn wanted<'a>(model: &ModelConfig, known: &'a [String], objective: Kind) -> Wanted<'a> {
    let reads_first = model.classifier.as_ref().is_some_and(|of| !of.reads_last);
    let reads = if reads_first { Reads::First } else { Reads::Last };
    Wanted { objective, reads, type_ids: model.has_token_types(), known }
}

/// The labels that a model tells apart; none if its classifier is not trained.
fn known(model: &Model) -> &[String] {
    let is_trained = model.classifier.as_ref().is_some_and(|classifier| !classifier.drawn[1]);
    model.config.classifier.as_ref().filter(|_| is_trained).map_or(&[], |of| &of.labels)
}

/// Reads, tokenises and splits the rows of a run, as its model and its objective want them; of at most `room` tokens.
///
/// # Errors
/// A file cannot be read, no row is left to train on, or rows have no labels that could be learned.
pub fn read_dataset(files: &[SourceFile], config: &RunConfig, base: &Base, room: usize) -> Result<Dataset, Problem> {
    let reads = (&base.tokenizer, base.images.as_ref());
    read_dataset_for(files, config, (&base.model.config, known(&base.model)), reads, room)
}

/// The same for a model of which no weight is read, that tells these labels apart; by its tokenizer, or what it makes of images.
///
/// # Errors
/// As [`read_dataset`].
pub fn read_dataset_for(
    files: &[SourceFile],
    config: &RunConfig,
    (model, known): (&ModelConfig, &[String]),
    (tokenizer, images): (&Tokenizer, Option<&ImageProcessor>),
    room: usize,
) -> Result<Dataset, Problem> {
    let (data, seed) = (&config.data, config.train.seed);
    let learns_labels = learns_labels(config, model)?;
    if let Some((processor, image)) = images.zip(model.image) {
        let wanted = wanted(model, known, config.train.objective);
        return load_images(files, data, (processor, image.patch_size), &wanted, seed);
    }
    match learns_labels {
        false => {
            let columns = recognise(files, data);
            let mut dataset = load(files, data, tokenizer, room, seed).map_err(|problem| match &columns {
                // That has a remedy of its own.
                Some(_) if problem.at == "data.max_length" => problem,
                None => problem,
                Some(of) => problem.next(format!(
                    "if the labels are to be learned ('{}' of '{}'), set the objective to classification",
                    of.label, of.text
                )),
            })?;
            dataset.report.labelled = columns;
            Ok(dataset)
        }
        true => load_labelled(files, data, tokenizer, &wanted(model, known, config.train.objective), room, seed),
    }
}

/// The model that learns from these rows, and what it minimises: where they have labels as a whole, with a classifier for
/// just these.
///
/// # Errors
/// The configuration wants what the rows are not.
pub(crate) fn for_dataset(
    model: &Model,
    dataset: &Dataset,
    config: &RunConfig,
) -> Result<(Model, Rc<dyn Objective>), Problem> {
    let seed = config.train.seed;
    match &dataset.labels {
        None if model.config.is_encoder() => {
            Err(Problem::input("this model is an encoder, and the rows have no labels")
                .at("data")
                .next("give rows with a text and a label"))
        }
        None => Ok((model.clone(), Rc::new(NextToken))),
        Some(LabelKind::Numbers) => Ok((model.with_labels(&["LABEL_0".to_string()], true, seed)?, Rc::new(Regression))),
        Some(kind @ LabelKind::Classes(names)) => {
            let weights = kind.weights(&dataset.train, config.train.class_weights);
            let class_weights = Some(weights).filter(|weights| !weights.is_empty());
            Ok((model.with_labels(names, false, seed)?, Rc::new(Classification { class_weights })))
        }
    }
}

/// The labels that a model gives a text with their probabilities, the likeliest first; of a model that says numbers the
/// number.
///
/// # Errors
/// The model has no classifier, the text has no token, or the device does not answer.
pub async fn label_text(
    model: &Model,
    tokenizer: &Tokenizer,
    text: &str,
    text_pair: Option<&str>,
) -> Result<Vec<(String, f32)>, Problem> {
    if model.config.classifier.is_none() {
        return Err(no_classifier());
    }
    let said = classify_texts(model, tokenizer, &[(text, text_pair)], &mut |_| {}).await?.pop().unwrap_or_default();
    named_labels(model, &said)
}

/// What a classifier has said, by its labels.
pub(crate) fn named_labels(model: &Model, said: &[f32]) -> Result<Vec<(String, f32)>, Problem> {
    let Some(of) = &model.config.classifier else { return Err(no_classifier()) };
    if model.config.is_regression() {
        return Ok(said.first().map(|value| ("value".to_string(), *value)).into_iter().collect());
    }
    let mut labels: Vec<(String, f32)> = of.labels.iter().cloned().zip(softmax(said)).collect();
    labels.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(labels)
}

/// What a classifier says of texts, or pairs of texts, one number a label, in their order; longer texts than the model takes
/// are cut. `tell` hears how many are done.
///
/// # Errors
/// A text has no token, or the device does not answer.
pub(crate) async fn classify_texts(
    model: &Model,
    tokenizer: &Tokenizer,
    texts: &[(&str, Option<&str>)],
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f32>>, Problem> {
    if model.config.image.is_some() {
        return Err(Problem::input("this model reads images, and was given a text").next("give a PNG or a JPEG"));
    }
    let wanted = wanted(&model.config, known(model), Kind::Auto);
    let row = |(text, pair): &(&str, Option<&str>)| {
        let mut row = encode_text(tokenizer, text, *pair, &wanted, model.config.context())?;
        // What is right is not known, and nothing asks.
        row.label = Some(Label { at: wanted.reads.at(row.tokens.len()), target: Target::Class(0) });
        Ok(row)
    };
    let rows = texts.iter().map(row).collect::<Result<Vec<Sequence>, Problem>>()?;
    classify_rows(model, &rows, tell).await
}

/// The same of rows with any label.
///
/// # Errors
/// The model gives several labels at once, or the device does not answer.
pub(crate) async fn classify_rows(
    model: &Model,
    rows: &[Sequence],
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f32>>, Problem> {
    if model.config.is_multi_label() {
        return Err(Problem::input("problem_type is multi_label_classification, which is not computed")
            .next("train a classifier of single labels on the model"));
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|row| rows[*row].tokens.len());
    let sorted: Vec<&Sequence> = order.iter().map(|row| &rows[*row]).collect();
    let (said, _) = classify(&Classification::default(), model, &sorted, Batching::packed(ROWS), tell).await?;
    let mut of_rows = vec![Vec::new(); rows.len()];
    order.into_iter().zip(said).for_each(|(row, said)| of_rows[row] = said);
    Ok(of_rows)
}

fn no_classifier() -> Problem {
    Problem::input("this model labels no texts").next("train it on rows with labels first")
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// How well a model labels rows.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LabelEvaluation {
    /// Rows measured.
    pub rows: usize,
    /// Mean loss of a row: cross entropy in nats, or the squared difference.
    pub loss: f64,
    /// How well they are labelled.
    #[serde(flatten)]
    pub metrics: LabelMetrics,
    /// Rows that were left out.
    pub left_out: usize,
}

/// Measures a model on all rows of files.
///
/// # Errors
/// The rows have other labels than the model, or the device does not answer.
pub async fn evaluate_labels(
    base: &Base,
    files: &[SourceFile],
    config: &RunConfig,
    tell: &mut dyn FnMut(usize, usize),
) -> Result<LabelEvaluation, Problem> {
    let model = &base.model;
    let Some(of) = &model.config.classifier else {
        return Err(Problem::input("this model labels no texts").next("give an adapter that was trained on labels"));
    };
    let regression = model.config.is_regression();
    let objective = if regression { Kind::Regression } else { Kind::Classification };
    let mut data = config.data.clone();
    data.validation_split = 0.0;
    if !regression && data.label_names.is_empty() {
        data.label_names.clone_from(&of.labels);
    }
    let is_numbered = of.labels.iter().enumerate().all(|(n, label)| *label == format!("LABEL_{n}"));
    let renames = is_numbered && data.label_names.len() == of.labels.len();
    if !regression && data.label_names != of.labels && !renames {
        return Err(Problem::input(format!("the model's classes are {}", of.labels.join(", ")))
            .at("data.label_names")
            .next("name these in this order, or leave them out"));
    }
    let wanted = wanted(&model.config, known(model), objective);
    let dataset = match base.images.as_ref().zip(model.config.image) {
        Some((images, image)) => load_images(files, &data, (images, image.patch_size), &wanted, config.train.seed)?,
        None => load_labelled(files, &data, &base.tokenizer, &wanted, base.context(), config.train.seed)?,
    };
    // A folder may have some to measure on beside others to train on.
    let measured = if dataset.validation.is_empty() { &dataset.train } else { &dataset.validation };
    let mut rows: Vec<&Sequence> = measured.iter().collect();
    rows.sort_by_key(|row| row.tokens.len());
    let objective: &dyn Objective = if regression { &Regression } else { &Classification::default() };
    let mut tell = |done: usize| tell(done, rows.len());
    let (said, measured) = classify(objective, model, &rows, Batching::packed(ROWS), &mut tell).await?;
    let metrics = objective.metrics(&said, &rows, &of.labels);
    let metrics = metrics.ok_or_else(|| Problem::input("the rows have no labels").next("give rows with labels"))?;
    Ok(LabelEvaluation { rows: rows.len(), loss: measured.loss, metrics, left_out: dataset.report.skipped_rows })
}
