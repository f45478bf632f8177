//! Files to a data set: rows read, templated, tokenised, cut, counted, and split.

use rand::seq::SliceRandom;
use stratune_protocol::{DataConfig, DataReport, Problem, draws};

use crate::batch::padded;
use crate::encoded::{Encoded, Origin};
use crate::fields::Reading;
use crate::labels::LabelKind;
use crate::source::read_all;
use crate::{Row, Sequence, Source, SourceFile, Template, Tokenizer, summary};

/// How many left-out rows a report lists.
pub(crate) const LISTED_SKIPPED: usize = 50;

/// How many prompts are kept to show what the model answers.
const PROMPTS: usize = 3;

/// Rows to train on and rows to measure on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// Rows to train on, in the files' order.
    pub train: Vec<Sequence>,
    /// Held-out rows, in the files' order.
    pub validation: Vec<Sequence>,
    /// Rows [set apart](Self::set_apart) to learn on which layers matter: none trains, and none is measured by.
    pub importance: Vec<Sequence>,
    /// The first prompts of held-out rows (of training rows if none is held out), for [`Template::prompt`].
    pub prompts: Vec<String>,
    /// What rows are labelled with as a whole; none if their tokens are the labels.
    pub labels: Option<LabelKind>,
    /// What the data is.
    pub report: DataReport,
    /// Worth knowing, one sentence each.
    pub notices: Vec<String>,
}

/// Reads files and makes them ready to train on. Where some are held out, these are measured on, else a share of the rows.
/// No row is longer than `config.max_length` and `context` tokens.
///
/// # Errors
/// A file cannot be read, or no row is left to train on.
pub fn load(
    files: &[SourceFile],
    config: &DataConfig,
    tokenizer: &Tokenizer,
    context: usize,
    seed: u64,
) -> Result<Dataset, Problem> {
    let limit = limit(config, context)?;
    let template = Template::of(tokenizer)?;
    let sources = Sources::read(files, config.into())?;
    let split = Split { share: config.validation_split, seed };
    let encode = |row: &Row| Ok((template.encode(tokenizer, row)?, false));
    let mut dataset = sources.dataset(tokenizer, limit, split, None, encode)?;
    if tokenizer.eos().is_none() {
        let notice = "The tokenizer has no end token, so the model cannot learn where an answer ends.";
        dataset.notices.push(notice.into());
    }
    Ok(dataset)
}

/// The most tokens of a row.
pub(crate) fn limit(config: &DataConfig, context: usize) -> Result<usize, Problem> {
    let limit = config.max_length.min(context);
    if limit < 2 {
        return Err(Problem::input(format!("rows of at most {limit} tokens leave nothing to learn"))
            .at("data.max_length")
            .next("set it to 2 or more"));
    }
    Ok(limit)
}

/// How rows are held out where no file is.
#[derive(Clone, Copy)]
pub(crate) struct Split {
    pub(crate) share: f32,
    pub(crate) seed: u64,
}

/// The rows of the files to train on, and of those that are held out, if any is.
pub(crate) struct Sources {
    files: Vec<String>,
    pub(crate) train: Source,
    pub(crate) apart: Option<Source>,
}

impl Sources {
    /// Reads files.
    pub(crate) fn read(files: &[SourceFile], reading: Reading) -> Result<Self, Problem> {
        let of = |held_out: bool| files.iter().filter(move |file| file.held_out == held_out);
        let train = read_all(of(false), reading)?;
        let apart = of(true).next().map(|_| read_all(of(true), reading)).transpose()?;
        Ok(Self { files: of(false).map(|file| file.name.clone()).collect(), train, apart })
    }

    /// The rows as sequences of at most `limit` tokens, with these labels as a whole; `encode` makes a row's, and says whether it has cut any.
    pub(crate) fn dataset(
        mut self,
        tokenizer: &Tokenizer,
        limit: usize,
        split: Split,
        labels: Option<LabelKind>,
        mut encode: impl FnMut(&Row) -> Result<(Vec<Sequence>, bool), Problem>,
    ) -> Result<Dataset, Problem> {
        let mut encoded = Encoded::new(limit, tokenizer.bos());
        encoded.read(&mut self.train, &mut encode);
        encoded.any("train on")?;
        let mut notices = self.train.notices();
        let to_train = encoded.units;
        let is_apart = self.apart.is_some();
        if let Some(mut apart) = self.apart {
            let before = std::mem::take(&mut encoded.skipped);
            encoded.read(&mut apart, &mut encode);
            if encoded.units == to_train {
                encoded.rows.clear();
                encoded.any("measure on")?;
            }
            encoded.skipped.splice(..0, before);
            let told = self.train.notices();
            notices.extend(apart.notices().into_iter().filter(|notice| !told.contains(notice)));
        }

        let source = &self.train;
        let count = |rows: &[Sequence]| rows.iter().map(|row| (row.source.len() + row.tokens.len()) as u64).sum();
        let mut report = DataReport {
            files: self.files,
            format: source.format.clone(),
            columns: source.columns.clone(),
            truncated: encoded.truncated,
            skipped_rows: encoded.skipped.len(),
            tokens: count(&encoded.rows),
            label_tokens: encoded.rows.iter().map(|row| row.label_count() as u64).sum(),
            lengths: summary::histogram(&encoded.rows),
            width: padded(encoded.rows.iter().map(Sequence::width).max().unwrap_or(0)),
            preview: summary::preview(&encoded.rows, |row| encoded.raw(row, source), labels.as_ref(), tokenizer),
            ..DataReport::default()
        };
        report.skipped = encoded.skipped;
        report.skipped.truncate(LISTED_SKIPPED);

        let held_out = match is_apart {
            true => (0..encoded.units).map(|unit| unit >= to_train).collect(),
            false => held_out(encoded.units, split),
        };
        let any = held_out.contains(&true);
        let mut dataset = Dataset { labels, notices, ..Dataset::default() };
        for (row, Origin { prompt, unit, .. }) in encoded.rows.into_iter().zip(encoded.from) {
            if held_out[unit] == any && dataset.prompts.len() < PROMPTS {
                dataset.prompts.extend(prompt);
            }
            if held_out[unit] { dataset.validation.push(row) } else { dataset.train.push(row) }
        }
        report.train_rows = dataset.train.len();
        report.validation_rows = dataset.validation.len();
        dataset.report = report;
        Ok(dataset)
    }
}

/// Which of `rows` units are held out: a share of them, at least one, never all.
pub(crate) fn held_out(rows: usize, Split { share, seed }: Split) -> Vec<bool> {
    let mut flags = vec![false; rows];
    if share > 0.0 && rows >= 2 {
        let count = ((f64::from(share) * rows as f64).round() as usize).clamp(1, rows - 1);
        let mut order: Vec<usize> = (0..rows).collect();
        order.shuffle(&mut draws(seed, "split", [0, 0]));
        for &row in &order[..count] {
            flags[row] = true;
        }
    }
    flags
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;
    use stratune_protocol::Labels;

    use super::*;
    use crate::testing::{fixture, fixture_with_bos};

    fn config(max_length: usize, validation_split: f32) -> DataConfig {
        DataConfig { max_length, validation_split, ..DataConfig::default() }
    }

    fn file(name: &str, text: &str) -> [SourceFile; 1] {
        [SourceFile { name: name.into(), bytes: text.as_bytes().to_vec(), held_out: false }]
    }

    fn pairs(rows: usize) -> [SourceFile; 1] {
        let row = |r| format!("{{\"prompt\":\"q{r}\",\"completion\":\"a{r}\"}}\n");
        file("a.jsonl", &(0..rows).map(row).collect::<String>())
    }

    #[test]
    fn the_split_holds_out_a_share_but_never_all() {
        let cases = [(10, 0.0, 0), (10, 0.1, 1), (10, 0.25, 3), (10, 0.01, 1), (1, 0.5, 0), (2, 0.99, 1), (3, 0.9, 2)];
        for (rows, share, count) in cases {
            let split = Split { share, seed: 7 };
            let flags = held_out(rows, split);
            assert_eq!(flags.iter().filter(|&&flag| flag).count(), count, "{rows} rows, {share}");
            assert_eq!(flags, held_out(rows, split));
        }
        let drawn = |seed| held_out(40, Split { share: 0.5, seed });
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn the_report_adds_up() {
        let tokenizer = fixture(&[]);
        let dataset = load(&pairs(20), &config(64, 0.2), &tokenizer, 64, 3).unwrap();
        let report = &dataset.report;
        assert_eq!((dataset.train.len(), dataset.validation.len()), (16, 4));
        assert_eq!((report.train_rows, report.validation_rows, report.skipped_rows, report.truncated), (16, 4, 0, 0));
        assert_eq!((report.format.as_str(), report.files[0].as_str()), ("prompt_completion", "a.jsonl"));
        let all = || dataset.train.iter().chain(&dataset.validation);
        assert_eq!(report.tokens, all().map(|row| row.tokens.len() as u64).sum::<u64>());
        assert_eq!(report.label_tokens, all().map(|row| row.label_count() as u64).sum::<u64>());
        assert_eq!((&report.lengths[..], report.width), (&[(32, 20)][..], 32));
        assert_eq!(report.preview.len(), 5);
        let text: String = report.preview[0].tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(text, "q0\na0<|endoftext|>");
        // The prompts are those of the first held-out rows.
        let held_out = tokenizer.decode(&dataset.validation[0].tokens).unwrap();
        assert!(dataset.prompts.len() == 3 && held_out.starts_with(&dataset.prompts[0]), "{held_out}");
        assert!(dataset.notices.is_empty());
    }

    #[test]
    fn long_rows_are_cut_and_rows_without_an_answer_left_are_told() {
        let long = "ho ".repeat(50);
        let text = format!(
            "{{\"prompt\":\"hi\",\"completion\":\"{long}\"}}\n{{\"prompt\":\"{long}\",\"completion\":\"hi\"}}\n"
        );
        let dataset = load(&file("a.jsonl", &text), &config(64, 0.0), &fixture(&[]), 16, 0).unwrap();
        assert_eq!((dataset.report.truncated, dataset.train.len(), dataset.train[0].tokens.len()), (1, 1, 16));
        let skipped = &dataset.report.skipped[0];
        assert_eq!(skipped.at, "a.jsonl, line 2");
        assert_eq!(skipped.why, "nothing is left to learn after the cut at 16 tokens");
    }

    #[test]
    fn every_token_of_a_text_is_a_label_once() {
        let text = "The ferry leaves at seven. ".repeat(9);
        for (tokenizer, limit) in [(fixture(&[]), 16), (fixture_with_bos(), 16), (fixture(&[]), 2), (fixture(&[]), 500)]
        {
            let dataset = load(&file("a.txt", &text), &config(limit, 0.0), &tokenizer, 512, 0).unwrap();
            let (ids, eos) = (tokenizer.encode(&text).unwrap(), tokenizer.eos());
            let labelled = dataset.train.iter().flat_map(|row| row.tokens.iter().zip(&row.loss_mask));
            let labelled: Vec<u32> = labelled.filter(|(_, labelled)| **labelled).map(|(&token, _)| token).collect();
            // Without a first token of its own, the first of the text has nothing to be predicted from.
            let whole: Vec<u32> = ids.into_iter().chain(eos).skip(usize::from(tokenizer.bos().is_none())).collect();
            assert_eq!(labelled, whole);
            assert!(dataset.train.iter().all(|row| (2..=limit).contains(&row.tokens.len())));
            assert!(dataset.prompts.is_empty());
        }
    }

    #[test]
    fn a_chat_template_that_refuses_every_row_is_an_error_with_its_reason() {
        let tokenizer = fixture(&[("chat_template", Value::from("{{ raise_exception('no users here') }}"))]);
        let problem = load(&pairs(3), &config(64, 0.0), &tokenizer, 64, 0).unwrap_err();
        assert!(problem.what.contains("no users here") && problem.at == "a.jsonl, line 1", "{problem:?}");
    }

    /// A conversation that is several sequences is held out as a whole, and shows one prompt.
    #[test]
    fn the_answers_of_a_conversation_stay_together() {
        let template = "{% for m in messages %}{{ messages | length }}{{ m.content }}{{ eos_token }}{% endfor %}";
        let tokenizer = fixture(&[("chat_template", Value::from(template))]);
        let row = |r| {
            let turn = |role: &str, t: usize| format!("{{\"role\":\"{role}\",\"content\":\"{role}{r}{t}\"}}");
            let turns = [turn("user", 0), turn("assistant", 0), turn("user", 1), turn("assistant", 1)];
            format!("{{\"messages\":[{}]}}\n", turns.join(","))
        };
        let files = file("a.jsonl", &(0..8).map(row).collect::<String>());
        let dataset = load(&files, &config(64, 0.25), &tokenizer, 64, 0).unwrap();
        assert_eq!((dataset.train.len(), dataset.validation.len(), dataset.prompts.len()), (12, 4, 2));
        let text = |row: &Sequence| tokenizer.decode(&row.tokens).unwrap();
        for two in dataset.validation.chunks(2) {
            // The row's number is the same in both.
            let [first, second] = [text(&two[0]), text(&two[1])];
            assert_eq!(first.split("user").nth(1).map(|t| &t[..1]), second.split("user").nth(1).map(|t| &t[..1]));
        }
    }

    #[test]
    fn files_that_are_held_out_are_measured_on_and_never_trained_on() {
        let tokenizer = fixture(&[]);
        let [train] = pairs(10);
        let [apart] = file("b.jsonl", "{\"prompt\":\"x\",\"completion\":\"y\"}\n{}\n");
        let files = [SourceFile { held_out: true, ..apart.clone() }, train.clone()];
        let dataset = load(&files, &config(64, 0.5), &tokenizer, 64, 0).unwrap();
        assert_eq!(
            (dataset.train.len(), dataset.validation.len(), dataset.prompts.as_slice()),
            (10, 1, ["x".into()].as_slice())
        );
        let report = &dataset.report;
        assert_eq!((report.train_rows, report.validation_rows, report.skipped_rows), (10, 1, 1));
        assert_eq!(
            (report.files.as_slice(), report.skipped[0].at.as_str()),
            (["a.jsonl".into()].as_slice(), "b.jsonl, line 2")
        );
        assert_eq!(report.preview[0].raw, r#"{"prompt":"q0","completion":"a0"}"#);
        // One of them has to be left.
        let long = format!("{{\"prompt\":\"{}\",\"completion\":\"y\"}}\n", "x".repeat(99));
        let [long] = file("c.jsonl", &long);
        let problem = load(&[train, SourceFile { held_out: true, ..long }], &config(16, 0.0), &tokenizer, 64, 0);
        let problem = problem.unwrap_err();
        assert!(problem.what.contains("left to measure on") && problem.at == "c.jsonl, line 1", "{problem:?}");
        assert!(load(&[SourceFile { held_out: true, ..apart }], &config(64, 0.0), &tokenizer, 64, 0).is_err());
    }

    #[test]
    fn what_is_learned_is_a_setting() {
        let tokenizer = fixture(&[]);
        let turn = |role: &str, text: &str| format!("{{\"role\":\"{role}\",\"content\":\"{text}\"}}");
        let talk = [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")].join(",");
        let files = file("a.jsonl", &format!("{{\"messages\":[{talk}]}}\n"));
        let labels = |labels: Labels| {
            let config = DataConfig { labels, ..config(64, 0.0) };
            load(&files, &config, &tokenizer, 64, 0).unwrap().train[0].label_count()
        };
        let all = load(&files, &config(64, 0.0), &tokenizer, 64, 0).unwrap().train[0].tokens.len();
        assert!(labels(Labels::Last) < labels(Labels::Assistant), "one of two answers");
        assert_eq!(labels(Labels::All), all - 1, "all but the first, which nothing predicts");
    }

    #[test]
    fn a_limit_that_leaves_nothing_is_refused() {
        assert_eq!(load(&pairs(3), &config(64, 0.0), &fixture(&[]), 1, 0).unwrap_err().at, "data.max_length");
    }
}
