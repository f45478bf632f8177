//! What `--method` names: methods, or a structure's file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use stratune_peft::{MethodNames, Methods, Structure};
use stratune_protocol::{ModelReport, Problem};
use stratune_train::RunConfig;

use crate::open;

/// Methods by their names, or a file that says what stands where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// Names of methods and combinations.
    Names(MethodNames),
    /// A structure's file.
    Structure(PathBuf),
}

impl FromStr for Chosen {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if is_file(text) {
            return Ok(Self::Structure(text.into()));
        }
        text.parse().map(Self::Names)
    }
}

fn is_file(text: &str) -> bool {
    Path::new(text).extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
}

/// The methods of a structure's file on this model.
///
/// # Errors
/// There is no such file, it is no structure, or the model lacks what it names.
pub fn read_structure(path: &Path, model: &ModelReport) -> Result<Methods, Problem> {
    let at = path.display().to_string();
    Structure::from_json(&open::read(path)?, &at)?.methods(model).map_err(|problem| problem.at(at))
}

/// Refuses flags beside a structure that says itself what they do; each with whether it was given.
///
/// # Errors
/// Names the first.
pub fn says_sizes(structure: Option<&Path>, flags: &[(&str, bool)]) -> Result<(), Problem> {
    match structure.zip(flags.iter().find(|(_, given)| *given)) {
        None => Ok(()),
        Some((path, (flag, _))) => {
            let what = format!("{} says itself what is where and how large", path.display());
            Err(Problem::input(what).at(*flag).next("leave it out, or change the structure"))
        }
    }
}

/// A run's file, and the structure beside it that it names.
///
/// # Errors
/// It cannot be read; names file and line.
pub fn read_config(path: &Path) -> Result<(RunConfig, Option<PathBuf>), Problem> {
    let text = String::from_utf8(open::read(path)?)
        .map_err(|_| Problem::input("the configuration is not UTF-8").at(path.display().to_string()))?;
    let (text, named) = without_structure(&text);
    let config = RunConfig::from_toml(&text).map_err(|p| {
        let at = format!("{} {}", path.display(), p.at);
        p.at(at.trim())
    })?;
    Ok((config, named.map(|name| path.with_file_name(name))))
}

/// A configuration's text without `method = "….json"`, whose lines stay where they are, and the structure that it names.
fn without_structure(text: &str) -> (String, Option<String>) {
    let table: Option<toml::Table> = toml::from_str(text).ok();
    let named = table.and_then(|table| table.get("method")?.as_str().map(String::from)).filter(|name| is_file(name));
    let Some(name) = named else { return (text.into(), None) };
    let names_it = |line: &str| line.split_once('=').is_some_and(|(key, _)| key.trim() == "method");
    let lines = text.lines().map(|line| if names_it(line) { "" } else { line });
    (lines.flat_map(|line| [line, "\n"]).collect(), Some(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_from_names() {
        assert_eq!("a/structure.json".parse::<Chosen>().unwrap(), Chosen::Structure("a/structure.json".into()));
        assert!(matches!("lora,bitfit".parse::<Chosen>().unwrap(), Chosen::Names(_)));
        assert!("loora".parse::<Chosen>().is_err());
    }

    #[test]
    fn a_configuration_may_name_a_structure() {
        let text = "model = \"starter\"\nmethod = \"found.json\"  # of last week\n[train]\nsteps = 3\n";
        let (rest, named) = without_structure(text);
        assert_eq!(named.as_deref(), Some("found.json"));
        assert_eq!(rest, "model = \"starter\"\n\n[train]\nsteps = 3\n");
        for text in ["[method]\nrank = 3\n", "method = 3\n", "method = ["] {
            assert_eq!(without_structure(text), (text.to_string(), None));
        }
    }
}
