//! Rows from fields, whichever file they come from.

use std::borrow::Cow;

use serde_json::{Map, Value};
use stratune_protocol::{DataConfig, Problem};

use crate::label_columns::labelled;
use crate::message::{field, is_set, only_text, turn};
use crate::row::LabelledRow;
use crate::shape::{self, HISTORY, Prompt, Shape, TOOLS, Unclear, find};
use crate::{Conversation, Role, Row, Source, Turn, tools};

/// What rows are read for.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) config: &'a DataConfig,
    /// Texts with labels, rather than what a model is to write.
    pub(crate) is_labelled: bool,
}

impl<'a> From<&'a DataConfig> for Reading<'a> {
    fn from(config: &'a DataConfig) -> Self {
        Self { config, is_labelled: false }
    }
}

/// The rows of one file, while they are read.
pub(crate) struct Rows<'a> {
    /// What was read so far.
    pub(crate) source: Source,
    reading: Reading<'a>,
    /// What the fields mean: as the header says, or else the first row that has fields which are known.
    shape: Option<Shape>,
    /// Whether any row has the configured system text.
    has_system: bool,
}

impl<'a> Rows<'a> {
    /// The rows of a file whose fields each row names.
    pub(crate) fn new(reading: impl Into<Reading<'a>>) -> Self {
        Self { source: Source::default(), reading: reading.into(), shape: None, has_system: false }
    }

    /// The rows of a table with these columns.
    ///
    /// # Errors
    /// It is not clear what the columns are.
    pub(crate) fn of_table(name: &str, columns: Vec<String>, reading: impl Into<Reading<'a>>) -> Result<Self, Problem> {
        let reading = reading.into();
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        let shape = match reading.is_labelled {
            true => labelled(reading.config, &names),
            false => Shape::of_table(reading.config, &names),
        };
        let shape = shape.map_err(|Unclear { what, setting, next }| {
            let at = if setting.is_empty() { name.to_owned() } else { format!("{name}, data.{setting}") };
            Problem::input(what).at(at).next(next)
        })?;
        let source = Source { columns, ..Source::default() };
        Ok(Self { source, shape: Some(shape), ..Self::new(reading) })
    }

    /// Adds a row; the first one that has a known shape decides the shape of all.
    pub(crate) fn add(&mut self, at: String, value: &Value) {
        let conversation;
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Array(_) if is_conversation(value) => {
                conversation = Map::from_iter([("messages".into(), value.clone())]);
                &conversation
            }
            _ => return self.skip(at, "the row is not an object with fields".into(), value),
        };
        if self.shape.is_none() {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            let shape = match self.reading.is_labelled {
                true => labelled(self.reading.config, &names),
                false => Shape::of_row(self.reading.config, &names),
            };
            match shape {
                Ok(shape) => {
                    self.shape = Some(shape);
                    self.source.columns = names.into_iter().map(str::to_owned).collect();
                }
                Err(Unclear { what, next, .. }) => return self.skip(at, format!("{what}: {next}"), value),
            }
        }
        let Some(shape) = self.shape.clone() else { return };
        match self.row(fields, &shape) {
            Ok(row) => self.source.keep(at, row, || value.to_string()),
            Err(why) => self.skip(at, why, value),
        }
    }

    fn skip(&mut self, at: String, why: String, value: &Value) {
        self.source.skip(at, why, || value.to_string());
    }

    /// All of them, under the name of the format; without one, that of what the fields mean.
    ///
    /// # Errors
    /// No row has the system text that is configured.
    pub(crate) fn finish(mut self, name: &str, format: Option<&str>) -> Result<Source, Problem> {
        let column = &self.reading.config.system_column;
        if !column.is_empty() && !self.has_system && !self.source.rows.is_empty() {
            return Err(Problem::input(format!("no row has '{column}'; there are {}", self.source.columns.join(", ")))
                .at(format!("{name}, data.system_column"))
                .next("set data.system_column to one of them"));
        }
        self.source.shape.clone_from(&self.shape);
        self.source.format = format.or(self.shape.as_ref().map(Shape::name)).unwrap_or("json").into();
        Ok(self.source)
    }

    /// The row in these fields. Those beside the shape's that hold something are noted, those of a message with the list
    /// before their name.
    fn row(&mut self, fields: &Map<String, Value>, shape: &Shape) -> Result<Row, String> {
        only_text(fields)?;
        let is_there = |name: &str| fields.get(name).is_some_and(is_set);
        let mut read = shape.fields();
        let mut row = match shape {
            Shape::Pair { prompt, input, completion, .. } => {
                let mut turns = history(fields)?;
                read.push(HISTORY);
                match prompt {
                    Prompt::Template(template) => {
                        turns.push(Turn::new(Role::User, template.filled(|column| cell(fields, column))?));
                    }
                    Prompt::Column(prompt) => match fields.get(prompt) {
                        Some(asked) if is_conversation(asked) => {
                            let asked = self.conversation(asked, prompt)?;
                            turns.extend(asked.into_iter().map(|turn| Turn { is_label: false, ..turn }));
                        }
                        _ => {
                            let input = input.as_deref().filter(|name| is_there(name));
                            let input = input.map_or(Ok("".into()), |name| field(fields, name))?;
                            turns.push(Turn::asked(&field(fields, prompt)?, &input));
                        }
                    },
                }
                match fields.get(completion) {
                    Some(answered) if is_conversation(answered) => {
                        turns.extend(self.conversation(answered, completion)?);
                    }
                    _ => turns.push(Turn::new(Role::Assistant, field(fields, completion)?)),
                }
                Row::Turns(turns.into())
            }
            Shape::Messages { list } => match fields.get(list) {
                Some(entries @ Value::Array(_)) => Row::Turns(self.conversation(entries, list)?.into()),
                Some(Value::String(text)) => match serde_json::from_str(text) {
                    Ok(entries @ Value::Array(_)) => Row::Turns(self.conversation(&entries, list)?.into()),
                    _ => return Err(format!("the field '{list}' is not a list, nor the text of one as JSON")),
                },
                _ => return Err(format!("the field '{list}' is missing or not a list")),
            },
            Shape::Text { field: name } => Row::Text(field(fields, name)?.into()),
            Shape::Labelled { text, pair, label } => Row::Labelled(LabelledRow {
                text: field(fields, text)?.into(),
                pair: pair.as_ref().map(|pair| field(fields, pair).map(Cow::into_owned)).transpose()?,
                label: written(fields, label)?,
            }),
        };
        let mut system = None;
        if let Row::Turns(Conversation { tools, .. }) = &mut row {
            if let Some(described) = fields.get(TOOLS).filter(|described| is_set(described)) {
                *tools = tools::described(described).map_err(|why| format!("the field '{TOOLS}' {why}"))?;
                read.push(TOOLS);
            }
            let configured = &self.reading.config.system_column;
            system = match find(fields.keys().map(String::as_str), configured) {
                Some(name) => {
                    self.has_system = true;
                    Some(name).filter(|name| is_there(name))
                }
                None => shape.system(fields.keys().map(String::as_str).filter(|name| is_there(name))),
            };
        }
        read.extend(system);
        let is_read = |name: &str| read.iter().any(|field| field.eq_ignore_ascii_case(name));
        for name in fields.keys().filter(|name| is_there(name) && !is_read(name)) {
            self.source.pass_over(name);
        }
        let row = match system {
            Some(name) => row.with_system(name, &field(fields, name)?)?,
            None => row,
        };
        Ok(row.with_system_prompt(&self.reading.config.system_prompt))
    }

    /// The turns in a list of messages.
    fn conversation(&mut self, entries: &Value, list: &str) -> Result<Vec<Turn>, String> {
        let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default().iter().enumerate();
        let mut unread = |name: &str| self.source.pass_over(&format!("{list}.{name}"));
        let mut read = |(m, entry)| turn(entry, &mut unread).map_err(|why| format!("in message {}, {why}", m + 1));
        entries.map(|entry: (usize, &Value)| read(entry)).collect()
    }
}

/// A label as it is written: a text, a number, or yes or no; empty if it is missing. A whole number has no fraction, as
/// tables write one whose column has gaps.
fn written(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    let label = match fields.get(name) {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        Some(_) => return Err(format!("the field '{name}' is no text and no number, and a row has one label")),
    };
    let whole = label.split_once('.').filter(|(whole, fraction)| {
        let is_zero = !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0');
        is_zero && !whole.is_empty() && whole.trim_start_matches('-').bytes().all(|digit| digit.is_ascii_digit())
    });
    Ok(whole.map_or(label.clone(), |(whole, _)| whole.to_owned()))
}

/// What a template shows of a column: a text, a number, or yes or no.
fn cell(fields: &Map<String, Value>, column: &str) -> Result<String, String> {
    let column = find(fields.keys().map(String::as_str), column).unwrap_or(column);
    match fields.get(column) {
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        Some(Value::Null) => Ok(String::new()),
        Some(_) => field(fields, column).map(Cow::into_owned),
        None => {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            let missing = shape::missing("prompt_template", column, &names);
            Err(format!("{}: {}", missing.what, missing.next))
        }
    }
}

/// Earlier turns beside a pair: a list of questions with their answers.
fn history(fields: &Map<String, Value>) -> Result<Vec<Turn>, String> {
    let wrong = || format!("the field '{HISTORY}' is not a list of pairs of texts");
    let mut turns = Vec::new();
    let entries = match fields.get(HISTORY) {
        Some(history) if is_set(history) => history.as_array().ok_or_else(wrong)?.as_slice(),
        _ => &[],
    };
    for entry in entries {
        let Some([Value::String(question), Value::String(answer)]) = entry.as_array().map(Vec::as_slice) else {
            return Err(wrong());
        };
        turns.extend([Turn::new(Role::User, question), Turn::new(Role::Assistant, answer)]);
    }
    Ok(turns)
}

/// Whether a value is a list of messages, rather than a text in parts.
fn is_conversation(value: &Value) -> bool {
    let first = value.as_array().and_then(|entries| entries.first());
    first.is_some_and(|entry| ["role", "from"].iter().any(|name| entry.get(name).is_some()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    type Change = fn(&mut DataConfig);

    fn config(change: Change) -> DataConfig {
        let mut config = DataConfig::default();
        change(&mut config);
        config
    }

    fn turns(said: &[(Role, &str)]) -> Row {
        Row::Turns(said.iter().map(|&(role, text)| Turn::new(role, text)).collect::<Vec<_>>().into())
    }

    #[test]
    fn columns_are_what_the_configuration_says() {
        use Role::{Assistant as A, System as S, User as U};
        let talk = r#"[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]"#;
        let row = json!({"Ask": "q", "say": "s", "n": 7, "yes": true, "who": "w", "talk": talk, "completion": "c"});
        let cases: [(Change, Row); 7] = [
            (|c| (c.prompt_column, c.completion_column) = ("ask".into(), "say".into()), turns(&[(U, "q"), (A, "s")])),
            (|c| c.messages_column = "talk".into(), turns(&[(U, "u"), (A, "a")])),
            (
                |c| (c.messages_column, c.system_column) = ("talk".into(), "Who".into()),
                turns(&[(S, "w"), (U, "u"), (A, "a")]),
            ),
            (|c| c.prompt_template = "{ask}? {n} {yes} {{}}".into(), turns(&[(U, "q? 7 true {}"), (A, "c")])),
            (
                |c| (c.prompt_template, c.system_prompt) = ("{ask}".into(), "p".into()),
                turns(&[(S, "p"), (U, "q"), (A, "c")]),
            ),
            (
                |c| {
                    (c.prompt_column, c.system_column, c.system_prompt) = ("ask".into(), "who".into(), "p".into());
                },
                turns(&[(S, "w"), (U, "q"), (A, "c")]),
            ),
            (|c| (c.prompt_column, c.completion_column) = ("talk".into(), "say".into()), turns(&[(U, talk), (A, "s")])),
        ];
        for (change, wanted) in cases {
            let config = config(change);
            let mut rows = Rows::new(&config);
            rows.add("a".into(), &row);
            let source = rows.finish("a", None).unwrap();
            assert_eq!(source.rows.first().map(|(_, row)| row), Some(&wanted), "{config:?} {:?}", source.skipped);
            let columns = row.as_object().unwrap().keys().cloned().collect();
            let mut rows = Rows::of_table("a", columns, &config).unwrap();
            rows.add("a".into(), &row);
            assert_eq!(rows.source.rows[0].1, wanted);
        }
    }

    #[test]
    fn a_row_without_a_column_says_which_there_are_and_what_to_set() {
        let row = json!({"a": "1", "b": "2"});
        let cases: [(Change, &str); 4] = [
            (
                |c| c.prompt_column = "x".into(),
                "there is no column 'x'; its columns are a, b: set data.prompt_column to",
            ),
            (|c| c.prompt_template = "{a} {y}".into(), "there is no column 'y'"),
            (|c| c.messages_column = "z".into(), "set data.messages_column"),
            (|_| {}, "its fields (a, b) are not those of any known format: set data.prompt_column"),
        ];
        for (change, why) in cases {
            let config = config(change);
            let mut rows = Rows::new(&config);
            rows.add("f, row 1".into(), &row);
            let skipped = &rows.source.skipped[0];
            assert!(skipped.why.contains(why), "{skipped:?}");
            assert_eq!(skipped.raw, r#"{"a":"1","b":"2"}"#);
        }
        // A later row without it.
        let config = config(|c| c.prompt_template = "{a} {b}".into());
        let mut rows = Rows::new(&config);
        rows.add("1".into(), &json!({"a": "1", "b": null, "completion": "c"}));
        rows.add("2".into(), &json!({"a": "1", "completion": "c"}));
        assert_eq!(rows.source.rows.len(), 1);
        assert!(rows.source.skipped[0].why.contains("no column 'b'"), "{:?}", rows.source.skipped);
    }

    #[test]
    fn a_system_column_that_no_row_has_is_refused() {
        let config = config(|c| c.system_column = "s".into());
        let pair = json!({"prompt": "p", "completion": "c"});
        let with = json!({"prompt": "p", "completion": "c", "s": "t"});
        let mut rows = Rows::new(&config);
        rows.add("1".into(), &pair);
        assert_eq!(rows.finish("f", None).unwrap_err().at, "f, data.system_column");
        let mut rows = Rows::new(&config);
        rows.add("1".into(), &pair);
        rows.add("2".into(), &with);
        assert_eq!(rows.finish("f", None).unwrap().rows.len(), 2);
        assert!(Rows::of_table("f", vec!["prompt".into(), "completion".into()], &config).is_err());
    }

    #[test]
    fn tools_come_with_a_conversation() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let row = json!({
            "messages": [
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "content": "7"},
                {"role": "assistant", "content": "a"},
            ],
            "tools": tools.to_string(),
        });
        let config = DataConfig::default();
        let mut rows = Rows::new(&config);
        rows.add("1".into(), &row);
        let Some((_, Row::Turns(talk))) = rows.source.rows.first() else { panic!("{:?}", rows.source) };
        assert_eq!((json!(talk.tools), talk.turns.len(), talk.turns[1].calls().len()), (tools, 4, 1));
        assert!(rows.source.unread.is_empty() && talk.has_tools());
        rows.add("2".into(), &json!({"prompt": "p", "completion": "c", "messages": [], "tools": "["}));
        assert!(rows.source.skipped[0].why.contains("missing") || rows.source.skipped[0].why.contains("'tools'"));
    }
}
