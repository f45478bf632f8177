//! Rows as sequences, with where each is from.

use stratune_protocol::{Problem, SkippedRow};

use crate::{Row, Sequence, Source};

/// Rows on their way into a data set.
#[derive(Default)]
pub(crate) struct Encoded {
    /// Most tokens of a row.
    limit: usize,
    /// The token that every text begins with.
    bos: Option<u32>,
    pub(crate) rows: Vec<Sequence>,
    /// Where each is from.
    pub(crate) from: Vec<Origin>,
    /// Units are held out as a whole: the answers of one conversation are one, each piece of a text is one.
    pub(crate) units: usize,
    pub(crate) skipped: Vec<SkippedRow>,
    pub(crate) truncated: usize,
}

/// Where a sequence is from.
pub(crate) struct Origin {
    /// The prompt that it begins with, if it has one.
    pub(crate) prompt: Option<String>,
    /// The unit that it is of.
    pub(crate) unit: usize,
    /// Which row of its source.
    row: usize,
}

impl Encoded {
    /// None yet.
    pub(crate) fn new(limit: usize, bos: Option<u32>) -> Self {
        Self { limit, bos, ..Self::default() }
    }

    /// Adds the rows of a source, and those it left out. `encode` makes a row's sequences, and says whether it has cut any.
    pub(crate) fn read(
        &mut self,
        source: &mut Source,
        encode: &mut impl FnMut(&Row) -> Result<(Vec<Sequence>, bool), Problem>,
    ) {
        self.skipped.append(&mut source.skipped);
        for (r, (at, row)) in source.rows.iter().enumerate() {
            let skipped = match encode(row) {
                Ok((sequences, cut)) => self.add(r, row, sequences, cut).err(),
                Err(problem) => Some(problem.what),
            };
            if let Some(why) = skipped {
                self.skipped.push(SkippedRow { at: at.clone(), why, raw: source.raw_of(at) });
            }
        }
    }

    /// Adds the sequences of a row; an error says why there is nothing in them.
    fn add(&mut self, r: usize, row: &Row, mut sequences: Vec<Sequence>, mut cut: bool) -> Result<(), String> {
        // The first token is never a label, but a row may have one as a whole.
        if sequences.iter().all(|sequence| sequence.tokens.len() < 2 && sequence.label.is_none()) {
            return Err("it has fewer than 2 tokens".into());
        }
        if matches!(row, Row::Text(_)) {
            for piece in sequences.iter().flat_map(|text| pieces(text, self.limit, self.bos)) {
                self.rows.push(piece);
                self.from.push(Origin { prompt: None, unit: self.units, row: r });
                self.units += 1;
            }
            return Ok(());
        }
        sequences.iter_mut().for_each(|sequence| cut |= sequence.cut(self.limit));
        sequences.retain(|sequence| sequence.label_count() > 0);
        if sequences.is_empty() {
            return Err(format!("nothing is left to learn after the cut at {} tokens", self.limit));
        }
        self.truncated += usize::from(cut);
        for (s, sequence) in sequences.into_iter().enumerate() {
            self.rows.push(sequence);
            let prompt = row.prompt().filter(|_| s == 0).map(str::to_owned);
            self.from.push(Origin { prompt, unit: self.units, row: r });
        }
        self.units += 1;
        Ok(())
    }

    /// That there are rows.
    pub(crate) fn any(&self, purpose: &str) -> Result<(), Problem> {
        if !self.rows.is_empty() {
            return Ok(());
        }
        let first = self.skipped.first();
        Err(Problem::input(format!("no row is left to {purpose}: {}", first.map_or("", |row| &row.why)))
            .at(first.map_or("data", |row| &row.at))
            .next("raise data.max_length, mend the rows, or choose other data"))
    }

    /// A sequence's row as it stands in the file.
    pub(crate) fn raw(&self, sequence: usize, source: &Source) -> String {
        let row = self.from.get(sequence).and_then(|from| source.rows.get(from.row));
        row.map(|(at, _)| source.raw_of(at)).unwrap_or_default()
    }
}

/// A text in pieces of at most `limit` tokens. Each begins with `bos`, or else with the last token of the piece before,
/// so that every token is a label once.
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
