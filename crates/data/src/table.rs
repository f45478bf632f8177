//! Rows from CSV and TSV.

use csv::{ReaderBuilder, StringRecord};
use stratune_protocol::{DataConfig, DataFormat, Problem};

use crate::{Row, Source, shape::Shape};

/// Reads a table with a header.
pub(crate) fn read(name: &str, text: &str, delimiter: u8, config: &DataConfig) -> Result<Source, Problem> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| {
        Problem::input(format!("the header cannot be read: {error}")).at(name).next("save the table again as CSV")
    })?;
    let columns: Vec<String> = header.iter().map(|column| column.trim().to_owned()).collect();
    let shape = shape(name, &columns, config)?;
    let system = shape.system(|column| index(&columns, column).is_some());
    let mut source = Source { columns, ..Source::default() };
    let read: Vec<_> = shape.fields().into_iter().chain(system).filter_map(|c| index(&source.columns, c)).collect();
    for c in (0..source.columns.len()).filter(|c| !read.contains(c)) {
        let column = source.columns[c].clone();
        source.pass_over(&column);
    }
    source.format = if delimiter == b'\t' { "tsv" } else { "csv" }.into();

    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                return Err(Problem::input(format!("the table cannot be read: {error}"))
                    .at(name)
                    .next("save the table again as CSV"));
            }
        }
        let (line, start) = record.position().map_or((0, 0), |place| (place.line(), place.byte() as usize));
        let end = reader.position().byte() as usize;
        let raw = text.get(start..end).unwrap_or_default();
        // The reader counts blank lines before a row as part of it.
        let blank = raw.chars().take_while(|c| matches!(c, '\r' | '\n')).filter(|&c| c == '\n').count() as u64;
        let at = format!("{name}, line {}", line + blank);
        let (fields, expected) = (record.len(), source.columns.len());
        if fields != expected {
            source.skip(at, format!("it has {fields} fields where the header has {expected}"));
        } else if end >= text.len() && raw.trim().contains('\n') && raw.matches('"').count() % 2 == 1 {
            // The reader takes the rest of the file for one field.
            source.skip(at, "a quote that opens here is never closed".into());
        } else {
            let cell = |name: &str| index(&source.columns, name).and_then(|c| record.get(c)).unwrap_or_default();
            let row = row(&shape, cell);
            match system.map(|column| (column, cell(column))).filter(|(_, text)| !text.is_empty()) {
                Some((column, text)) => match row.with_system(column, text) {
                    Ok(row) => source.keep(at, row),
                    Err(why) => source.skip(at, why),
                },
                None => source.keep(at, row),
            }
        }
    }
    Ok(source)
}

/// Which columns are what: as configured, else known by name, else the only one.
fn shape(name: &str, columns: &[String], config: &DataConfig) -> Result<Shape, Problem> {
    let has = |column: &str| index(columns, column).is_some();
    let listed = || format!("its columns are {}", columns.join(", "));
    for (field, column) in [("prompt_column", &config.prompt_column), ("completion_column", &config.completion_column)]
    {
        if !column.is_empty() && !has(column) {
            return Err(Problem::input(format!("there is no column '{column}'; {}", listed()))
                .at(format!("{name}, data.{field}"))
                .next(format!("set data.{field} to one of them")));
        }
    }
    let known =
        [DataFormat::Alpaca, DataFormat::PromptCompletion].into_iter().find_map(|format| Shape::of(format, has));
    let chosen = |column: &String| (!column.is_empty()).then(|| column.clone());
    let pair =
        |prompt, input, completion| Shape::Pair { format: DataFormat::PromptCompletion, prompt, input, completion };
    match (chosen(&config.prompt_column), chosen(&config.completion_column), known) {
        (Some(prompt), Some(completion), _) => return Ok(pair(prompt, None, completion)),
        (None, None, Some(known)) => return Ok(known),
        (Some(prompt), None, Some(Shape::Pair { completion, .. })) if completion != prompt => {
            return Ok(pair(prompt, None, completion));
        }
        (None, Some(completion), Some(Shape::Pair { prompt, input, .. })) if completion != prompt => {
            return Ok(pair(prompt, input, completion));
        }
        (None, None, None) => match columns {
            [only] if only.contains([';', '\t', ',']) => {}
            [only] => return Ok(Shape::Text { field: only.clone() }),
            _ if has("text") => return Ok(Shape::Text { field: "text".into() }),
            _ => {}
        },
        _ => {}
    }
    Err(Problem::input(format!("which column is the prompt and which is the completion is not clear; {}", listed()))
        .at(name)
        .next(
            "set data.prompt_column and data.completion_column, and check that commas (tabs in TSV) part the columns",
        ))
}

/// Where a column is; capitals do not matter.
fn index(columns: &[String], name: &str) -> Option<usize> {
    let exact = columns.iter().position(|column| column == name);
    exact.or_else(|| columns.iter().position(|column| column.eq_ignore_ascii_case(name)))
}

fn row<'a>(shape: &Shape, cell: impl Fn(&str) -> &'a str) -> Row {
    match shape {
        Shape::Pair { prompt, input, completion, .. } => {
            Row::pair(cell(prompt), input.as_deref().map_or("", &cell), cell(completion))
        }
        Shape::Messages { list: field } | Shape::Text { field } => Row::Text(cell(field).into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config(prompt: &str, completion: &str) -> DataConfig {
        DataConfig { prompt_column: prompt.into(), completion_column: completion.into(), ..DataConfig::default() }
    }

    #[test]
    fn columns_are_chosen_or_recognised() {
        let cases = [
            ("prompt,completion\np,c\n", config("", ""), Row::pair("p", "", "c")),
            ("Question,Answer\np,c\n", config("", ""), Row::pair("p", "", "c")),
            ("instruction,input,output\np,x,c\n", config("", ""), Row::pair("p", "x", "c")),
            ("a,b,c\n1,2,3\n", config("c", "a"), Row::pair("3", "", "1")),
            ("prompt,completion,b\np,c,x\n", config("", "b"), Row::pair("p", "", "x")),
            ("prompt,completion,b\np,c,x\n", config("b", ""), Row::pair("x", "", "c")),
            ("id,text\n1,\"a, \"\"b\"\"\nc\"\n", config("", ""), Row::Text("a, \"b\"\nc".into())),
            ("story\nonce\n", config("", ""), Row::Text("once".into())),
        ];
        for (text, config, row) in cases {
            assert_eq!(read("a.csv", text, b',', &config).unwrap().rows[0].1, row, "{text}");
        }
        assert_eq!(read("a.tsv", "input\toutput\na,b\tc\n", b'\t', &config("", "")).unwrap().format, "tsv");
    }

    #[test]
    fn a_column_of_system_texts_is_read_and_columns_beside_are_told() {
        let text = "id,System,prompt,completion\n1,s,p,c\n2,,p,c\n";
        let source = read("a.csv", text, b',', &config("", "")).unwrap();
        let with = Row::pair("p", "", "c").with_system("system", "s").unwrap();
        assert_eq!((&source.rows[0].1, &source.rows[1].1), (&with, &Row::pair("p", "", "c")));
        assert_eq!(source.unread, ["id"]);
        let chosen = read("a.csv", text, b',', &config("System", "completion")).unwrap();
        assert_eq!((&chosen.rows[0].1, chosen.unread), (&Row::pair("s", "", "c"), vec!["id".into(), "prompt".into()]));
    }

    #[test]
    fn unclear_columns_are_named() {
        let cases = [
            ("a,b\n1,2\n", config("", ""), "its columns are a, b"),
            ("a,b\n1,2\n", config("x", "b"), "no column 'x'; its columns are a, b"),
            ("a,b\n1,2\n", config("a", ""), "not clear"),
            ("prompt;completion\n1;2\n", config("", ""), "not clear"),
            ("", config("", ""), "not clear"),
        ];
        for (text, config, what) in cases {
            let problem = read("a.csv", text, b',', &config).unwrap_err();
            assert!(problem.what.contains(what) && problem.at.starts_with("a.csv"), "{problem:?}");
        }
    }

    #[test]
    fn bad_rows_are_left_out_with_their_line() {
        let text = "prompt,completion\np,c\n\none\n\"a\nb\",c\np,\np,\"never\nclosed\np,c\n";
        let source = read("a.csv", text, b',', &config("", "")).unwrap();
        assert_eq!(source.rows.len(), 2, "{source:?}");
        let skipped: Vec<_> = source.skipped.iter().map(|row| (row.at.as_str(), row.why.as_str())).collect();
        let expected = [
            ("a.csv, line 4", "it has 1 fields where the header has 2"),
            ("a.csv, line 7", "the answer is empty"),
            ("a.csv, line 8", "a quote that opens here is never closed"),
        ];
        assert_eq!(skipped, expected);
    }
}
