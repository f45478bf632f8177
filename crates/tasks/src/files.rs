//! Where a task's files are, and how their rows are taken from them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use csv::{ReaderBuilder, StringRecord};
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

/// A file that was found.
pub(crate) struct Source<'a> {
    /// Its path, as places name it.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    /// The files beside it.
    pub(crate) files: &'a dyn TaskFiles,
}

impl<'a> Source<'a> {
    /// The file at `path`, none if it is not there.
    pub(crate) fn find(files: &'a dyn TaskFiles, path: &str) -> Option<Self> {
        files.read(path).map(|bytes| Self { path: path.to_owned(), bytes, files })
    }

    /// A file in the same folder.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn beside(&self, name: &str) -> Result<Self, Problem> {
        let folder = self.path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let path = format!("{folder}{name}");
        Self::find(self.files, &path).ok_or_else(|| {
            Problem::input(format!("{} needs the file {name} beside it, which is not there", self.path)).at(path)
        })
    }

    /// What it says, without a byte order mark.
    ///
    /// # Errors
    /// It is not text in UTF-8.
    pub(crate) fn text(&self) -> Result<&str, Problem> {
        let text = std::str::from_utf8(&self.bytes).map_err(|error| {
            let line = self.bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
            Problem::input("the file is not text in UTF-8")
                .at(format!("{}, line {line}", self.path))
                .next("save it as UTF-8, or get it again")
        })?;
        Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
    }

    /// The rows of a JSON list.
    pub(crate) fn list(&self) -> Result<Vec<Row>, Problem> {
        let rows: Vec<Value> = serde_json::from_str(self.text()?)
            .map_err(|error| Problem::input(format!("it is no list in JSON: {error}")).at(&self.path).next(CUT_OFF))?;
        let at = |row: usize| format!("{}, row {}", self.path, row + 1);
        Ok(rows.into_iter().enumerate().map(|(row, value)| Row { at: at(row), value }).collect())
    }

    /// The rows of JSON lines.
    pub(crate) fn lines(&self) -> Result<Vec<Row>, Problem> {
        let lines = self.text()?.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
        let row = |(line, text): (usize, &str)| {
            let at = format!("{}, line {}", self.path, line + 1);
            match serde_json::from_str(text) {
                Ok(value) => Ok(Row { at, value }),
                Err(error) => Err(Problem::input(format!("the line is no JSON: {error}")).at(at).next(CUT_OFF)),
            }
        };
        lines.map(row).collect()
    }

    /// The rows of a table whose fields are parted by tabs and hold quotes like other letters. The first line names the
    /// columns, unless `columns` does. Rows with too few fields are an error, or left out if the published file `has_torn`
    /// ones.
    pub(crate) fn table(&self, columns: Option<&[&str]>, has_torn: bool) -> Result<Vec<Row>, Problem> {
        let lines = self.text()?.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let mut lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
        let names: Vec<&str> = match columns {
            Some(names) => names.to_vec(),
            None => lines.next().map(|(_, line)| line.split('\t').map(str::trim).collect()).unwrap_or_default(),
        };
        let mut rows = Vec::new();
        for (line, text) in lines {
            let at = format!("{}, line {}", self.path, line + 1);
            let fields: Vec<&str> = text.split('\t').collect();
            if fields.len() >= names.len() {
                rows.push(Row::of_cells(at, &names, fields));
            } else if !has_torn {
                return Err(too_few(fields.len(), names.len()).at(at));
            }
        }
        Ok(rows)
    }

    /// The rows of a table in which a quoted field may hold the delimiter, quotes and line ends.
    pub(crate) fn quoted(&self, delimiter: u8, columns: Option<&[&str]>) -> Result<Vec<Row>, Problem> {
        let text = self.text()?;
        let mut reader = ReaderBuilder::new();
        let mut reader =
            reader.delimiter(delimiter).flexible(true).has_headers(columns.is_none()).from_reader(text.as_bytes());
        let unreadable = |error: csv::Error| {
            Problem::input(format!("the table cannot be read: {error}")).at(&self.path).next(CUT_OFF)
        };
        let header = reader.headers().map_err(unreadable)?.clone();
        let names: Vec<&str> = columns.map_or_else(|| header.iter().map(str::trim).collect(), <[&str]>::to_vec);
        let (mut rows, mut record) = (Vec::new(), StringRecord::new());
        while reader.read_record(&mut record).map_err(unreadable)? {
            let (line, start) = record.position().map_or((0, 0), |place| (place.line(), place.byte() as usize));
            let raw = text.get(start..reader.position().byte() as usize).unwrap_or_default();
            // The reader counts blank lines before a row as part of it.
            let blank = raw.chars().take_while(|c| matches!(c, '\r' | '\n')).filter(|&c| c == '\n').count() as u64;
            let at = format!("{}, line {}", self.path, line + blank);
            if record.len() < names.len() {
                return Err(too_few(record.len(), names.len()).at(at));
            }
            rows.push(Row::of_cells(at, &names, &record));
        }
        Ok(rows)
    }
}

/// What a file that cannot be read to its end most often is.
const CUT_OFF: &str = "get the file again; it may have been cut off";

fn too_few(fields: usize, columns: usize) -> Problem {
    Problem::input(format!("the row has {fields} fields where the table has {columns}")).next(CUT_OFF)
}

/// A row with its place.
pub(crate) struct Row {
    pub(crate) at: String,
    pub(crate) value: Value,
}

impl Row {
    /// A row of a table. Of two columns with one name the first is meant.
    fn of_cells<'a>(at: String, names: &[&str], cells: impl IntoIterator<Item = &'a str>) -> Self {
        let mut row = Map::new();
        for (name, cell) in names.iter().zip(cells) {
            row.entry(*name).or_insert_with(|| cell.into());
        }
        Self { at, value: Value::Object(row) }
    }

    /// What is wrong with a field.
    pub(crate) fn problem(&self, field: &str, what: impl Into<String>) -> Problem {
        Problem::input(what).at(format!("{}, field '{field}'", self.at))
    }

    /// A field of any form, none if it is not there or null.
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        let inner = || field.split('.').try_fold(&self.value, |value, name| value.get(name));
        self.value.get(field).or_else(inner).filter(|value| !value.is_null())
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

    /// The rows of a list within a row, called `what` in places.
    pub(crate) fn rows(&self, field: &str, what: &str) -> Result<Vec<Self>, Problem> {
        let Value::Array(list) = self.field(field)? else {
            return Err(self.problem(field, "the field is no list"));
        };
        let at = |place: usize| format!("{}, {what} {}", self.at, place + 1);
        Ok(list.iter().enumerate().map(|(place, value)| Self { at: at(place), value: value.clone() }).collect())
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
