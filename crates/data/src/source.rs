//! File bytes to rows: which reader a file needs, and whether enough of it could be read.

use stratune_protocol::{DataConfig, DataFormat, Problem, SkippedRow};

use crate::images::{is_image, no_text};
use crate::{Row, fields::Reading, json, packed, row::line_feeds, shape, shape::Shape, table};

/// Most names of unread fields that are kept, and that a notice lists.
const UNREAD: usize = 64;
const LISTED: usize = 8;

/// How many rows are kept as they stand, of those that are read and of those that are left out; and of each how much.
const RAW_ROWS: usize = 16;
const RAW_SKIPPED: usize = 50;
const RAW_LENGTH: usize = 400;

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name; the ending tells the format.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Whether its rows are held out: never trained on, and measured on.
    pub held_out: bool,
}

/// The rows of some files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where each row stands, such as `train.jsonl, line 7`, and the row.
    pub rows: Vec<(String, Row)>,
    /// Rows that were left out, and why.
    pub skipped: Vec<SkippedRow>,
    /// Columns of the first table, or the fields of the first row.
    pub columns: Vec<String>,
    /// The first rows as they stand, shortened, with their places.
    pub raw: Vec<(String, String)>,
    /// Fields that rows have beside those that are read, in the order they came.
    pub unread: Vec<String>,
    /// What the fields of the first file's rows are.
    pub(crate) shape: Option<Shape>,
    /// The formats, as the configuration names them.
    pub format: String,
}

impl Source {
    /// Adds a row that stands so in the file, unless there is nothing to learn from it.
    pub(crate) fn keep(&mut self, at: String, row: Row, raw: impl FnOnce() -> String) {
        match row.emptiness() {
            Some(why) => self.skip(at, why.into(), raw),
            None => {
                if self.raw.len() < RAW_ROWS {
                    self.raw.push((at.clone(), shortened(&raw())));
                }
                self.rows.push((at, row.with_line_feeds()));
            }
        }
    }

    /// Notes a field that is not read.
    pub(crate) fn pass_over(&mut self, field: &str) {
        if self.unread.len() < UNREAD && !self.unread.iter().any(|name| name == field) {
            self.unread.push(field.into());
        }
    }

    /// A row as it stands in its file, shortened; empty if it is not one of the first.
    pub(crate) fn raw_of(&self, at: &str) -> String {
        self.raw.iter().find(|(place, _)| place == at).map(|(_, raw)| raw.clone()).unwrap_or_default()
    }

    /// What a person should know of the rows, one sentence each.
    pub fn notices(&self) -> Vec<String> {
        let listed = self.unread.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.unread.len() {
            0 => Vec::new(),
            n if n > LISTED => vec![format!("Rows have fields that are not read: {listed} and {} more.", n - LISTED)],
            _ => vec![format!("Rows have fields that are not read: {listed}.")],
        }
    }

    /// Notes a row that stands so in the file and is left out.
    pub(crate) fn skip(&mut self, at: String, why: String, raw: impl FnOnce() -> String) {
        let raw = if self.skipped.len() < RAW_SKIPPED { shortened(&raw()) } else { String::new() };
        self.skipped.push(SkippedRow { at, why, raw });
    }

    /// Adds another file's rows.
    fn append(&mut self, mut other: Self) {
        self.rows.append(&mut other.rows);
        self.skipped.append(&mut other.skipped);
        self.raw.append(&mut other.raw);
        self.raw.truncate(RAW_ROWS);
        other.unread.iter().for_each(|field| self.pass_over(field));
        if self.columns.is_empty() {
            self.columns = other.columns;
        }
        self.shape = self.shape.take().or(other.shape);
        if self.format.is_empty() {
            self.format = other.format;
        } else if !self.format.split(", ").any(|format| format == other.format) {
            self.format += &format!(", {}", other.format);
        }
    }
}

/// Reads the rows of all files in order.
///
/// # Errors
/// There is no file, one is empty, not UTF-8 or of no known format, or more than half of its rows are bad.
pub fn read_rows(files: &[SourceFile], config: &DataConfig) -> Result<Source, Problem> {
    read_all(files.iter(), config.into())
}

/// As [`read_rows`], of some of the files.
pub(crate) fn read_all<'a>(files: impl Iterator<Item = &'a SourceFile>, reading: Reading) -> Result<Source, Problem> {
    let mut files = files.peekable();
    if files.peek().is_none() {
        return Err(Problem::input("no data file is given").at("data.files").next(shape::KNOWN));
    }
    let mut all = Source::default();
    for file in files {
        all.append(read_file(&file.name, &file.bytes, reading)?);
    }
    all.rows.iter_mut().for_each(|(_, row)| row.choose(reading.config.labels));
    Ok(all)
}

fn read_file(name: &str, bytes: &[u8], reading: Reading) -> Result<Source, Problem> {
    let format = reading.config.format;
    if is_image(bytes) {
        return Err(no_text(name));
    }
    let bytes = packed::unpacked(name, bytes, format)?;
    let name = packed::plain_name(name);
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        Problem::input(format!("the file is not UTF-8 text: byte {} does not fit", error.valid_up_to()))
            .at(name)
            .next("save the file as UTF-8")
    })?;
    if let Some((columns, rows)) = packed::table(text) {
        return enough(name, json::read_table(name, columns, rows, reading)?);
    }
    let text = &*line_feeds(text.strip_prefix('\u{feff}').unwrap_or(text));
    if text.trim().is_empty() {
        return Err(Problem::input("the file is empty").at(name).next("choose a file with rows in it"));
    }
    let source = match reader(name, text, format)? {
        Reader::Json => json::read(name, text, reading)?,
        Reader::Table(delimiter) => table::read(name, text, delimiter, reading)?,
        Reader::Text if reading.is_labelled => {
            return Err(Problem::input("plain text has no labels")
                .at(name)
                .next("give a table in CSV, TSV or Parquet, or rows in JSON, with a text and its label"));
        }
        Reader::Text => {
            let rows = vec![(name.to_owned(), Row::Text(text.to_owned()))];
            Source { rows, format: "text".into(), ..Source::default() }
        }
    };
    enough(name, source)
}

/// What reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Json,
    Table(u8),
    Text,
}

fn reader(name: &str, text: &str, format: DataFormat) -> Result<Reader, Problem> {
    match format {
        DataFormat::Alpaca | DataFormat::PromptCompletion | DataFormat::Messages => return Ok(Reader::Json),
        DataFormat::Csv => return Ok(Reader::Table(b',')),
        DataFormat::Tsv => return Ok(Reader::Table(b'\t')),
        DataFormat::Text => return Ok(Reader::Text),
        DataFormat::Parquet => return Err(Problem::input("the file is no Parquet").at(name).next(shape::KNOWN)),
        DataFormat::Auto => {}
    }
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("json" | "jsonl" | "ndjson") => Ok(Reader::Json),
        Some("csv") => Ok(Reader::Table(b',')),
        Some("tsv" | "tab") => Ok(Reader::Table(b'\t')),
        Some("txt" | "md") => Ok(Reader::Text),
        _ if text.trim_start().starts_with(['{', '[']) => Ok(Reader::Json),
        _ => Err(Problem::input("the file's format is not known").at(name).next(shape::KNOWN)),
    }
}

/// The beginning of a row.
fn shortened(raw: &str) -> String {
    match raw.char_indices().nth(RAW_LENGTH) {
        Some((end, _)) => format!("{} …", &raw[..end]),
        None => raw.into(),
    }
}

/// A file of which most rows are bad is not what somebody meant to train on.
fn enough(name: &str, source: Source) -> Result<Source, Problem> {
    let total = source.rows.len() + source.skipped.len();
    match source.skipped.first() {
        Some(first) if source.skipped.len() * 2 > total => {
            let what = format!("{} of {total} rows cannot be used; the first: {}", source.skipped.len(), first.why);
            Err(Problem::input(what).at(first.at.clone()).next(format!("mend the rows, or {}", shape::KNOWN)))
        }
        _ if total == 0 => Err(Problem::input("the file has no rows").at(name).next("choose a file with rows in it")),
        _ => Ok(source),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &[u8])], format: DataFormat) -> Result<Source, Problem> {
        let file =
            |&(name, bytes): &(&str, &[u8])| SourceFile { name: name.into(), bytes: bytes.to_vec(), held_out: false };
        let files: Vec<_> = files.iter().map(file).collect();
        read_rows(&files, &DataConfig { format, ..DataConfig::default() })
    }

    #[test]
    fn files_are_read_by_their_ending_or_their_first_character() {
        let json = br#"{"prompt":"p","completion":"c"}"#;
        let cases: [(&str, &[u8], &str); 7] = [
            ("a.JSONL", json, "prompt_completion"),
            ("rows", json, "prompt_completion"),
            ("a.csv", b"\xef\xbb\xbfprompt,completion\np,c", "csv"),
            ("a.tsv", b"prompt\tcompletion\np\tc", "tsv"),
            ("a.txt", b"{once upon a time", "text"),
            ("a.md", b"# once", "text"),
            ("a.ndjson", json, "prompt_completion"),
        ];
        for (name, bytes, format) in cases {
            let source = read(&[(name, bytes)], DataFormat::Auto).unwrap();
            assert_eq!((source.format.as_str(), source.rows.len()), (format, 1), "{name}");
        }
        assert_eq!(read(&[("a.csv", b"a,b\n1,2")], DataFormat::Text).unwrap().format, "text");
    }

    #[test]
    fn line_ends_do_not_change_what_is_read() {
        let files: [(&str, &str); 6] = [
            (
                "a.jsonl",
                "{\"prompt\":\"p\",\"completion\":\"c\"}\n{\"text\":1}\n{\"prompt\":\"q\",\"completion\":\"d\"}\n",
            ),
            (
                "a.json",
                "[\n{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n]\n",
            ),
            ("a.csv", "prompt,completion\np,\"c\nd\"\n\nq,d\n"),
            ("a.tsv", "prompt\tcompletion\np\tc\nq\n"),
            ("a.txt", "one\n\ntwo\n"),
            ("a.md", "# one\ntwo"),
        ];
        for (name, text) in files {
            let source = read(&[(name, text.as_bytes())], DataFormat::Auto).unwrap();
            for end in ["\r\n", "\r"] {
                let other = text.replace('\n', end);
                assert_eq!(read(&[(name, other.as_bytes())], DataFormat::Auto).unwrap(), source, "{name} {end:?}");
            }
        }
        let escaped = br#"{"prompt":"p\r\nq","completion":"c\r"}"#;
        let source = read(&[("a.jsonl", escaped)], DataFormat::Auto).unwrap();
        assert_eq!(source.rows[0].1, Row::pair("p\nq", "", "c\n"));
    }

    #[test]
    fn a_notice_lists_few_of_many_fields() {
        let mut source = Source::default();
        assert!(source.notices().is_empty());
        ["b", "a", "b"].into_iter().for_each(|field| source.pass_over(field));
        assert_eq!(source.notices(), ["Rows have fields that are not read: b, a."]);
        (0..100).for_each(|k| source.pass_over(&k.to_string()));
        assert_eq!(source.notices(), ["Rows have fields that are not read: b, a, 0, 1, 2, 3, 4, 5 and 56 more."]);
    }

    #[cfg(feature = "unpack")]
    #[test]
    fn packed_files_are_read_as_they_are_unpacked() {
        use crate::compressed::tests::{gzip, zstd};
        use crate::parquet::tests::file;

        let unpacked = |name: &str, bytes: &[u8]| {
            let mut all = Vec::new();
            crate::unpack(name, bytes.into(), DataFormat::Auto, &mut all).unwrap();
            read(&[(name, &all)], DataFormat::Auto).unwrap()
        };
        for (name, text) in
            [("a.jsonl", "{\"prompt\":\"p\",\"completion\":\"c\"}\n"), ("a.csv", "prompt,completion\np,c\n")]
        {
            let plain = read(&[(name, text.as_bytes())], DataFormat::Auto).unwrap();
            for (ending, bytes) in [(".gz", gzip(text.as_bytes())), (".zst", zstd(text.as_bytes()))] {
                let name = format!("{name}{ending}");
                assert_eq!(read(&[(&name, &bytes)], DataFormat::Auto).unwrap(), plain, "{name}");
                // Whoever has unpacked it.
                assert_eq!(unpacked(&name, &bytes), plain, "{name}");
            }
        }
        for name in ["snappy.parquet", "delta.parquet", "rows.jsonl.gz"] {
            assert_eq!(unpacked(name, &file(name)), read(&[(name, &file(name))], DataFormat::Auto).unwrap(), "{name}");
        }
    }

    #[cfg(not(feature = "unpack"))]
    #[test]
    fn packed_files_are_refused_where_nothing_unpacks() {
        let problem = read(&[("a.csv.gz", packed::GZIP)], DataFormat::Auto).unwrap_err();
        assert!(problem.what.contains("compressed") && problem.at == "a.csv.gz", "{problem:?}");
    }

    #[test]
    fn rows_are_shown_as_they_stand_and_shortened() {
        let long = "é".repeat(2 * RAW_LENGTH);
        assert_eq!(shortened(&long).chars().count(), RAW_LENGTH + 2);
        let mut source = Source::default();
        (0..100).for_each(|k| source.keep(k.to_string(), Row::pair("p", "", "c"), || long.clone()));
        (0..100).for_each(|k| source.skip(k.to_string(), "why".into(), || long.clone()));
        assert_eq!((source.raw.len(), source.rows.len()), (RAW_ROWS, 100));
        assert_eq!(source.skipped.iter().filter(|row| !row.raw.is_empty()).count(), RAW_SKIPPED);
        assert_eq!((source.raw_of("3"), source.raw_of("99").as_str()), (shortened(&long), ""));
    }

    #[test]
    fn several_files_follow_each_other() {
        let source =
            read(&[("b.txt", b"one"), ("a.csv", b"text\ntwo\n"), ("c.txt", b"three")], DataFormat::Auto).unwrap();
        let places: Vec<_> = source.rows.iter().map(|(at, _)| at.as_str()).collect();
        assert_eq!(places, ["b.txt", "a.csv, line 2", "c.txt"]);
        assert_eq!((source.format.as_str(), source.columns.as_slice()), ("text, csv", ["text".to_owned()].as_slice()));
    }

    #[test]
    fn unusable_files_are_told() {
        let cases: [(&str, &[u8], &str, &str); 8] = [
            ("a.txt", b"ab\xff", "byte 2", "a.txt"),
            ("a.txt", b" \n", "empty", "a.txt"),
            ("a.bin", b"what", "not known", "a.bin"),
            ("a.json", b"[]", "no rows", "a.json"),
            ("a.csv", b"prompt,completion\n", "no rows", "a.csv"),
            ("a.jsonl", b"{\"a\":1}", "1 of 1 rows cannot be used; the first: its fields (a)", "a.jsonl, line 1"),
            ("a.jsonl", b"{\"prompt\":\"p\",\"completion\":\"c\"}\n{}\n7\n", "2 of 3 rows", "a.jsonl, line 2"),
            ("a.json", b"[", "not valid JSON", "a.json, line 1"),
        ];
        for (name, bytes, what, at) in cases {
            let problem = read(&[(name, bytes)], DataFormat::Auto).unwrap_err();
            assert!(problem.what.contains(what) && problem.at == at && !problem.next.is_empty(), "{problem:?}");
        }
        assert!(read(&[], DataFormat::Auto).is_err());
    }
}
