//! Where a task's files are, and how their rows are taken from them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use csv::ReaderBuilder;
use serde_json::{Map, Value};
use stratune_protocol::Problem;

/// Files by their path below the folder of a task's family: a folder on disk, or what was dropped on a page.
pub trait TaskFiles {
    /// The bytes of a file, none if it is not there or cannot be read. Folders are parted by `/`.
    fn read(&self, path: &str) -> Option<Vec<u8>>;
}

/// A folder on disk.
#[derive(Clone, Debug)]
pub struct Folder(
    /// Where it is.
    pub PathBuf,
);

impl TaskFiles for Folder {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.0.join(path)).ok()
    }
}

impl TaskFiles for BTreeMap<String, Vec<u8>> {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.get(path).cloned()
    }
}

/// A file that was found, as text.
pub(crate) struct Source<'a> {
    /// Its path, as places name it.
    pub(crate) path: String,
    /// What it says, without a byte order mark.
    pub(crate) text: String,
    /// The files beside it.
    pub(crate) files: &'a dyn TaskFiles,
}

impl<'a> Source<'a> {
    /// The file at `path`, none if it is not there.
    ///
    /// # Errors
    /// It is not text in UTF-8.
    pub(crate) fn find(files: &'a dyn TaskFiles, path: &str) -> Option<Result<Self, Problem>> {
        let bytes = files.read(path)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let row =
                error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            Problem::input("the file is not text in UTF-8")
                .at(format!("{path}, line {}", row + 1))
                .next("save it as UTF-8, or get it again")
        });
        Some(text.map(|text| Self {
            path: path.to_owned(),
            text: text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text),
            files,
        }))
    }

    /// The rows of a JSON list.
    pub(crate) fn list(&self) -> Result<Vec<Row>, Problem> {
        let rows: Vec<Value> = serde_json::from_str(&self.text).map_err(|error| {
            Problem::input(format!("it is no list in JSON: {error}"))
                .at(&self.path)
                .next("get the file again; it may have been cut off")
        })?;
        let at = |row: usize| format!("{}, row {}", self.path, row + 1);
        Ok(rows.into_iter().enumerate().map(|(row, value)| Row { at: at(row), value }).collect())
    }

    /// The rows of JSON lines.
    pub(crate) fn lines(&self) -> Result<Vec<Row>, Problem> {
        let lines = self.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let row = |(line, text): (usize, &str)| {
            let at = format!("{}, line {}", self.path, line + 1);
            match serde_json::from_str(text) {
                Ok(value) => Ok(Row { at, value }),
                Err(error) => Err(Problem::input(format!("the line is no JSON: {error}"))
                    .at(at)
                    .next("get the file again; it may have been cut off")),
            }
        };
        lines.map(row).collect()
    }

    /// The rows of a table parted by tabs, in which quotes are letters like others. The first line names the columns,
    /// unless `columns` does.
    pub(crate) fn table(&self, columns: Option<&[&str]>) -> Result<Vec<Row>, Problem> {
        self.cells(ReaderBuilder::new().delimiter(b'\t').quoting(false), columns)
    }

    /// The rows of a table with a header; with `quoting` a quoted field may hold the delimiter and line ends.
    pub(crate) fn delimited(&self, delimiter: u8, quoting: bool) -> Result<Vec<Row>, Problem> {
        self.cells(ReaderBuilder::new().delimiter(delimiter).quoting(quoting), None)
    }

    fn cells(&self, reader: &mut ReaderBuilder, columns: Option<&[&str]>) -> Result<Vec<Row>, Problem> {
        let mut reader = reader.flexible(true).has_headers(columns.is_none()).from_reader(self.text.as_bytes());
        let unreadable = |error: csv::Error| {
            Problem::input(format!("the table cannot be read: {error}")).at(&self.path).next("get the file again")
        };
        let names: Vec<String> = match columns {
            Some(names) => names.iter().map(|&name| name.to_owned()).collect(),
            None => reader.headers().map_err(unreadable)?.iter().map(|name| name.trim().to_owned()).collect(),
        };
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(unreadable)?;
            let line = record.position().map_or(0, csv::Position::line);
            let at = format!("{}, line {line}", self.path);
            if record.len() < names.len() {
                let (has, expected) = (record.len(), names.len());
                return Err(Problem::input(format!("the row has {has} fields where the table has {expected}"))
                    .at(at)
                    .next("get the file again; it may have been cut off"));
            }
            let mut cells = Map::new();
            for (name, cell) in names.iter().zip(&record) {
                // Of two columns with one name the first is meant.
                cells.entry(name.as_str()).or_insert_with(|| cell.into());
            }
            rows.push(Row { at, value: Value::Object(cells) });
        }
        Ok(rows)
    }
}

/// A row with its place.
pub(crate) struct Row {
    pub(crate) at: String,
    pub(crate) value: Value,
}

impl Row {
    /// What is wrong with a field.
    pub(crate) fn problem(&self, field: &str, what: impl Into<String>) -> Problem {
        Problem::input(what).at(format!("{}, field '{field}'", self.at))
    }

    /// A field of any form, none if it is not there or null.
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        field.split('.').try_fold(&self.value, |value, name| value.get(name)).filter(|value| !value.is_null())
    }

    /// A field that must be there; `a.b` is the field b of the object a.
    pub(crate) fn field(&self, field: &str) -> Result<&Value, Problem> {
        self.get(field).ok_or_else(|| {
            let names: Vec<&str> =
                self.value.as_object().into_iter().flat_map(|row| row.keys()).map(String::as_str).collect();
            let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            self.problem(field, format!("the row has no field '{field}'; its fields are {has}"))
        })
    }

    /// A field that is text.
    pub(crate) fn text(&self, field: &str) -> Result<&str, Problem> {
        let value = self.field(field)?;
        value.as_str().ok_or_else(|| self.problem(field, "the field is not text"))
    }

    /// A field as the text of a label: text, a number, true or false.
    pub(crate) fn word(&self, field: &str) -> Result<String, Problem> {
        match self.field(field)? {
            Value::String(text) => Ok(text.trim().to_owned()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(truth) => Ok(truth.to_string()),
            _ => Err(self.problem(field, "the field is no label but a list or an object")),
        }
    }

    /// A field that is a number, or the text of one.
    pub(crate) fn number(&self, field: &str) -> Result<f64, Problem> {
        let word = self.word(field)?;
        let number = word.replace(',', "").parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| self.problem(field, format!("'{}' is no number", shortened(&word))))
    }

    /// Where in `labels` the field's label is.
    pub(crate) fn class(&self, field: &str, labels: &[impl AsRef<str>]) -> Result<usize, Problem> {
        let word = self.word(field)?;
        labels.iter().position(|label| label.as_ref() == word).ok_or_else(|| {
            let names: Vec<&str> = labels.iter().map(AsRef::as_ref).take(20).collect();
            let more = if labels.len() > 20 { format!(" and {} more", labels.len() - 20) } else { String::new() };
            self.problem(
                field,
                format!("'{}' is no label of the task; its labels are {}{more}", shortened(&word), names.join(", ")),
            )
        })
    }
}

/// The beginning of a text, for a message.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
