//! Files to a data set: rows read, templated, tokenised, cut, counted, and split.

use rand::seq::SliceRandom;
use stratune_protocol::{DataConfig, DataReport, Problem, SkippedRow, draws};

use crate::batch::padded;
use crate::{Row, Sequence, SourceFile, Template, Tokenizer, read_rows, summary};

/// How many left-out rows a report lists.
const LISTED_SKIPPED: usize = 50;

/// How many prompts are kept to show what the model answers.
const PROMPTS: usize = 3;

/// Rows to train on and rows to measure on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// Rows to train on, in the files' order.
    pub train: Vec<Sequence>,
    /// Held-out rows, in the files' order.
    pub validation: Vec<Sequence>,
    /// The first prompts of held-out rows (of training rows if none is held out), for [`Template::prompt`].
    pub prompts: Vec<String>,
    /// What the data is.
    pub report: DataReport,
    /// Worth knowing, one sentence each.
    pub notices: Vec<String>,
}

/// Reads files and makes them ready to train on. No row is longer than `config.max_length` and `context` tokens.
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
    let limit = config.max_length.min(context);
    if limit < 2 {
        return Err(Problem::input(format!("rows of at most {limit} tokens leave nothing to learn"))
            .at("data.max_length")
            .next("set it to 2 or more"));
    }
    let source = read_rows(files, config)?;
    let template = Template::of(tokenizer)?;
    let mut encoded = Encoded { skipped: source.skipped, ..Encoded::default() };
    for (at, row) in &source.rows {
        match template.encode(tokenizer, row) {
            Ok(sequence) => encoded.add(at, row, sequence, limit, tokenizer.bos()),
            Err(problem) => encoded.skip(at, problem.what),
        }
    }
    if encoded.rows.is_empty() {
        let first = encoded.skipped.first();
        return Err(Problem::input(format!("no row is left to train on: {}", first.map_or("", |row| &row.why)))
            .at(first.map_or("data", |row| &row.at))
            .next("raise data.max_length, mend the rows, or choose other data"));
    }

    let count = |rows: &[Sequence]| rows.iter().map(|row| row.tokens.len() as u64).sum();
    let mut report = DataReport {
        files: files.iter().map(|file| file.name.clone()).collect(),
        format: source.format,
        columns: source.columns,
        truncated: encoded.truncated,
        skipped_rows: encoded.skipped.len(),
        tokens: count(&encoded.rows),
        learned_tokens: encoded.rows.iter().map(|row| row.learned_count() as u64).sum(),
        lengths: summary::histogram(&encoded.rows),
        width: padded(encoded.rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0)),
        preview: summary::preview(&encoded.rows, tokenizer),
        ..DataReport::default()
    };
    report.skipped = encoded.skipped;
    report.skipped.truncate(LISTED_SKIPPED);

    let held_out = held_out(encoded.rows.len(), config.validation_split, seed);
    let any = held_out.contains(&true);
    let mut dataset = Dataset::default();
    for ((row, prompt), held_out) in encoded.rows.into_iter().zip(encoded.prompts).zip(held_out) {
        if held_out == any && dataset.prompts.len() < PROMPTS {
            dataset.prompts.extend(prompt);
        }
        if held_out { dataset.validation.push(row) } else { dataset.train.push(row) }
    }
    report.train_rows = dataset.train.len();
    report.validation_rows = dataset.validation.len();
    dataset.report = report;
    if tokenizer.eos().is_none() {
        let notice = "The tokenizer has no end token, so the model cannot learn where an answer ends.";
        dataset.notices.push(notice.into());
    }
    Ok(dataset)
}

/// Rows on their way into a data set.
#[derive(Default)]
struct Encoded {
    rows: Vec<Sequence>,
    /// The prompt of each row, if it has one.
    prompts: Vec<Option<String>>,
    skipped: Vec<SkippedRow>,
    truncated: usize,
}

impl Encoded {
    fn add(&mut self, at: &str, row: &Row, mut sequence: Sequence, limit: usize, bos: Option<u32>) {
        if sequence.tokens.len() < 2 {
            return self.skip(at, "it has fewer than 2 tokens".into());
        }
        if matches!(row, Row::Text(_)) {
            let pieces = pieces(&sequence, limit, bos);
            self.prompts.extend(pieces.iter().map(|_| None));
            return self.rows.extend(pieces);
        }
        let cut = sequence.cut(limit);
        if sequence.learned_count() == 0 {
            return self.skip(at, format!("nothing is left to learn after the cut at {limit} tokens"));
        }
        self.truncated += usize::from(cut);
        self.rows.push(sequence);
        self.prompts.push(row.prompt().map(str::to_owned));
    }

    fn skip(&mut self, at: &str, why: String) {
        self.skipped.push(SkippedRow { at: at.into(), why });
    }
}

/// A text in pieces of at most `limit` tokens. Each begins with `bos`, or else with the last token of the piece before,
/// so that every token is learned once.
fn pieces(text: &Sequence, limit: usize, bos: Option<u32>) -> Vec<Sequence> {
    let Some((&first, rest)) = text.tokens.split_first() else { return Vec::new() };
    let mut lead = first;
    let mut pieces = Vec::new();
    for tokens in rest.chunks(limit - 1) {
        let mut piece = Sequence::default();
        piece.extend([lead], false);
        piece.extend(tokens.iter().copied(), true);
        pieces.push(piece);
        lead = bos.or(tokens.last().copied()).unwrap_or(first);
    }
    pieces
}

/// Which of `rows` rows are held out: a share of them, at least one, never all.
fn held_out(rows: usize, share: f32, seed: u64) -> Vec<bool> {
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

    use super::*;
    use crate::tokenizer::tests::{fixture, fixture_with_bos};

    fn config(max_length: usize, validation_split: f32) -> DataConfig {
        DataConfig { max_length, validation_split, ..DataConfig::default() }
    }

    fn file(name: &str, text: &str) -> [SourceFile; 1] {
        [SourceFile { name: name.into(), bytes: text.as_bytes().to_vec() }]
    }

    fn pairs(rows: usize) -> [SourceFile; 1] {
        let row = |r| format!("{{\"prompt\":\"q{r}\",\"completion\":\"a{r}\"}}\n");
        file("a.jsonl", &(0..rows).map(row).collect::<String>())
    }

    #[test]
    fn the_split_holds_out_a_share_but_never_all() {
        let cases = [(10, 0.0, 0), (10, 0.1, 1), (10, 0.25, 3), (10, 0.01, 1), (1, 0.5, 0), (2, 0.99, 1), (3, 0.9, 2)];
        for (rows, share, count) in cases {
            let flags = held_out(rows, share, 7);
            assert_eq!(flags.iter().filter(|&&flag| flag).count(), count, "{rows} rows, {share}");
            assert_eq!(flags, held_out(rows, share, 7));
        }
        assert_ne!(held_out(40, 0.5, 1), held_out(40, 0.5, 2));
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
        assert_eq!(report.learned_tokens, all().map(|row| row.learned_count() as u64).sum::<u64>());
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
    fn every_token_of_a_text_is_learned_once() {
        let text = "The ferry leaves at seven. ".repeat(9);
        for (tokenizer, limit) in [(fixture(&[]), 16), (fixture_with_bos(), 16), (fixture(&[]), 2), (fixture(&[]), 500)]
        {
            let dataset = load(&file("a.txt", &text), &config(limit, 0.0), &tokenizer, 512, 0).unwrap();
            let (ids, eos) = (tokenizer.encode(&text).unwrap(), tokenizer.eos());
            let learned = dataset.train.iter().flat_map(|row| row.tokens.iter().zip(&row.learned));
            let learned: Vec<u32> = learned.filter(|(_, learned)| **learned).map(|(&token, _)| token).collect();
            // Without a first token of its own, the first of the text has nothing to be predicted from.
            let whole: Vec<u32> = ids.into_iter().chain(eos).skip(usize::from(tokenizer.bos().is_none())).collect();
            assert_eq!(learned, whole);
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

    #[test]
    fn a_limit_that_leaves_nothing_is_refused() {
        assert_eq!(load(&pairs(3), &config(64, 0.0), &fixture(&[]), 1, 0).unwrap_err().at, "data.max_length");
    }
}
