//! Rows from CSV and TSV.

use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};
use stratune_protocol::Problem;

use crate::Source;
use crate::fields::{Reading, Rows};

/// Reads a table with a header.
pub(crate) fn read<'a>(
    name: &str,
    text: &str,
    delimiter: u8,
    reading: impl Into<Reading<'a>>,
) -> Result<Source, Problem> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| {
        Problem::input(format!("the header cannot be read: {error}")).at(name).next("save the table again as CSV")
    })?;
    let columns: Vec<String> = header.iter().map(|column| column.trim().to_owned()).collect();
    let mut rows = Rows::of_table(name, columns.clone(), reading)?;

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
        let is_open = end >= text.len() && raw.trim().contains('\n') && raw.matches('"').count() % 2 == 1;
        let (fields, expected) = (record.len(), columns.len());
        let raw = || raw.trim().to_owned();
        if fields != expected {
            rows.source.skip(at, format!("it has {fields} fields where the header has {expected}"), raw);
        } else if is_open {
            // The reader takes the rest of the file for one field.
            rows.source.skip(at, "a quote that opens here is never closed".into(), raw);
        } else {
            let mut cells = Map::new();
            for (column, cell) in columns.iter().zip(&record) {
                // Of two columns with one name the first is meant.
                cells.entry(column.as_str()).or_insert_with(|| cell.into());
            }
            rows.add(at, &Value::from(cells));
        }
    }
    rows.finish(name, Some(if delimiter == b'\t' { "tsv" } else { "csv" }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::DataConfig;

    use super::*;
    use crate::Row;

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
