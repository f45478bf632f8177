//! Variables of the environment in a study's file: it is the same on every machine, wherever models and data are.

use stratune_protocol::Problem;
use toml::{Table, Value};

/// The text, with what `value` knows in the place of each `${NAME}`.
///
/// # Errors
/// A variable that is not set; names it.
pub fn filled(text: &str, value: &impl Fn(&str) -> Option<String>) -> Result<String, Problem> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, name, after)) = variable(rest) {
        let value = value(name).ok_or_else(|| {
            Problem::input(format!("the variable {name} is not set"))
                .at(text)
                .next(format!("set it to the folder that is meant: export {name}=…"))
        })?;
        out.push_str(before);
        out.push_str(&value);
        rest = after;
    }
    Ok(out + rest)
}

/// The same of all texts of a table.
///
/// # Errors
/// As [`filled`] has them.
pub fn filled_table(table: &Table, value: &impl Fn(&str) -> Option<String>) -> Result<Table, Problem> {
    table.iter().map(|(key, of)| Ok((key.clone(), filled_value(of, value)?))).collect()
}

fn filled_value(of: &Value, value: &impl Fn(&str) -> Option<String>) -> Result<Value, Problem> {
    Ok(match of {
        Value::String(text) => Value::String(filled(text, value)?),
        Value::Array(all) => Value::Array(all.iter().map(|one| filled_value(one, value)).collect::<Result<_, _>>()?),
        Value::Table(table) => Value::Table(filled_table(table, value)?),
        other => other.clone(),
    })
}

/// What is before the first `${NAME}`, its name, and what is behind it.
fn variable(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("${")?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn known(name: &str) -> Option<String> {
        (name == "DATA").then(|| "/d ata".into())
    }

    #[test]
    fn variables_are_filled_in_wherever_texts_are() {
        for (text, want) in [
            ("a", "a"),
            ("${DATA}/x", "/d ata/x"),
            ("a${DATA}b${DATA}", "a/d atab/d ata"),
            ("$DATA ${DATA", "$DATA ${DATA"),
        ] {
            assert_eq!(filled(text, &known).unwrap(), want);
        }
        let table: Table = toml::from_str("a = 1\nb = [\"${DATA}\", { c = \"${DATA}/y\" }]").unwrap();
        let want: Table = toml::from_str("a = 1\nb = [\"/d ata\", { c = \"/d ata/y\" }]").unwrap();
        assert_eq!(filled_table(&table, &known).unwrap(), want);
        let problem = filled("${MODELS}/x", &known).unwrap_err();
        assert!(problem.what.contains("MODELS is not set") && problem.at == "${MODELS}/x", "{problem:?}");
    }
}
