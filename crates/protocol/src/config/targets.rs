//! Which linear layers a method enters.

use std::str::FromStr;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::{ModelReport, Module, Problem, Role};

/// Every linear layer of the blocks, as PEFT says it.
const ALL_LINEAR: &str = "all-linear";

/// Which linear layers of the blocks a method enters, as PEFT's `target_modules` says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Given", into = "Given")]
pub enum Targets {
    /// All of them: `all-linear`.
    AllLinear,
    /// Those that one of these words names: a module's path or the end of it (`q_proj`, `self_attn.q_proj`), its role
    /// (`query`, `key`, `value`, `output`, `gate`, `up`, `down`), or a part of the block (`attention`, `mlp`). Where a model
    /// has queries, keys and values in one layer, each of their roles means that layer; so do `gate` and `up`. Where a decoder
    /// reads an encoder, the roles and `attention` mean the layers of that attention, too: those alone are `cross_query`,
    /// `cross_key`, `cross_value`, `cross_output`, or `cross_attention`.
    Listed(Vec<String>),
    /// Those whose whole path this regular expression matches.
    Pattern(String),
}

/// Decides of a linear layer whether it is meant.
pub type Matcher<'a> = Box<dyn Fn(&Module) -> bool + 'a>;

/// As files write it: a word, an expression or a list of words.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Given {
    Text(String),
    List(Vec<String>),
}

impl From<Given> for Targets {
    fn from(given: Given) -> Self {
        match given {
            Given::List(words) => Self::Listed(words),
            Given::Text(text) if text == ALL_LINEAR => Self::AllLinear,
            Given::Text(text) if is_plain(&text) => Self::Listed(vec![text]),
            Given::Text(text) => Self::Pattern(text),
        }
    }
}

impl From<Targets> for Given {
    fn from(targets: Targets) -> Self {
        match targets {
            Targets::AllLinear => Self::Text(ALL_LINEAR.into()),
            Targets::Listed(words) => Self::List(words),
            Targets::Pattern(pattern) => Self::Text(pattern),
        }
    }
}

/// Whether a text is a path and no expression. A dot alone could be either, and is a path's.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Words with commas between them, or one expression.
impl FromStr for Targets {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if text.split(',').all(|word| is_plain(word.trim())) && text != ALL_LINEAR {
            return Ok(Self::Listed(text.split(',').map(|word| word.trim().to_string()).collect()));
        }
        let targets = Self::from(Given::Text(text.to_string()));
        targets.matcher().map(drop)?;
        Ok(targets)
    }
}

impl std::fmt::Display for Targets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AllLinear => f.write_str(ALL_LINEAR),
            Self::Listed(words) => f.write_str(&words.join(",")),
            Self::Pattern(pattern) => f.write_str(pattern),
        }
    }
}

impl Targets {
    /// These words.
    pub fn listed(words: &[&str]) -> Self {
        Self::Listed(words.iter().map(ToString::to_string).collect())
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Listed(words) if words.is_empty())
    }

    /// What decides of a linear layer whether it is meant.
    ///
    /// # Errors
    /// The regular expression is none.
    pub fn matcher(&self) -> Result<Matcher<'_>, Problem> {
        Ok(match self {
            Self::AllLinear => Box::new(|_| true),
            Self::Listed(words) => Box::new(|module| words.iter().any(|word| names(word, module))),
            Self::Pattern(pattern) => {
                let whole = whole(pattern).map_err(|e| {
                    Problem::input(format!("'{pattern}' is no regular expression: {e}"))
                        .at("method.targets")
                        .next("name the layers, such as q_proj, or mend the expression")
                })?;
                Box::new(move |module| whole.is_match(&module.path))
            }
        })
    }

    /// Checks that everything that is named is there in a model.
    ///
    /// # Errors
    /// A word names no linear layer of a block; says which there are.
    pub fn check(&self, model: &ModelReport) -> Result<(), Problem> {
        let known = || {
            let names = model.linear_names();
            format!("use any of {}, attention, mlp or {ALL_LINEAR}", names.join(", "))
        };
        let missing = |what: String| Err(Problem::input(what).at("method.targets").next(known()));
        if let Self::Listed(words) = self
            && let Some(word) = words.iter().find(|word| !model.linears().any(|module| names(word, module)))
        {
            return missing(format!("no linear layer of the model is called '{word}'"));
        }
        let matches = self.matcher()?;
        if !model.linears().any(matches) {
            return missing(format!("no linear layer of the model fits '{self}'"));
        }
        Ok(())
    }
}

/// An expression that has to match a whole text, as Python's `fullmatch` does.
pub fn whole(pattern: &str) -> Result<Regex, regex_lite::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

fn names(word: &str, module: &Module) -> bool {
    let role = |role: Role| role.name() == word;
    let (of, fused) = (module.role, module.role.fused());
    let own = of.in_self_attention();
    let alike = fused.iter().copied().chain(own).any(role);
    module.is_named(word)
        || role(of)
        || alike
        || [Some(of), own].into_iter().flatten().any(|of| of.part() == Some(word))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::architecture::testing::model;

    fn matched(targets: &Targets) -> Vec<String> {
        let model = model(2, [4, 8, 4, 2]);
        let matches = targets.matcher().unwrap();
        let found = model.linears().filter(|module| matches(module));
        found.map(|module| module.path.trim_start_matches("model.layers.").to_string()).collect()
    }

    #[test]
    fn layers_are_named_as_peft_names_them() {
        for (text, want) in [
            ("q_proj", "0.self_attn.q_proj 1.self_attn.q_proj"),
            ("query", "0.self_attn.q_proj 1.self_attn.q_proj"),
            ("layers.1.self_attn.q_proj", "1.self_attn.q_proj"),
            (
                "mlp,1.self_attn.v_proj",
                "0.mlp.gate_proj 0.mlp.up_proj 0.mlp.down_proj 1.self_attn.v_proj 1.mlp.gate_proj 1.mlp.up_proj 1.mlp.down_proj",
            ),
            (r".*\.1\..*(k|v)_proj", "1.self_attn.k_proj 1.self_attn.v_proj"),
            // An expression is for the whole path.
            ("(q_proj)", ""),
        ] {
            assert_eq!(matched(&text.parse().unwrap()).join(" "), want, "{text}");
        }
        assert_eq!(matched(&"all-linear".parse().unwrap()).len(), 14);
    }

    #[test]
    fn a_layer_that_is_several_is_each_of_them() {
        let mut model = model(1, [4, 8, 4, 2]);
        model.modules.retain(|module| ![Role::Key, Role::Value].contains(&module.role));
        for module in model.modules.iter_mut().filter(|module| module.role == Role::Query) {
            (module.path, module.role) = ("model.layers.0.self_attn.qkv_proj".into(), Role::QueryKeyValue);
        }
        for word in ["key", "query_key_value", "qkv_proj"] {
            let targets = Targets::listed(&[word]);
            targets.check(&model).unwrap();
            let matches = targets.matcher().unwrap();
            assert_eq!(model.linears().filter(|module| matches(module)).count(), 1, "{word}");
        }
        let problem = Targets::listed(&["q_proj"]).check(&model).unwrap_err();
        assert!(problem.what.contains("q_proj") && problem.next.contains("qkv_proj"), "{problem}");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in ["\"all-linear\"", "[\"q_proj\",\"mlp\"]", "\".*q_proj\"", "[]"] {
            let targets: Targets = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&targets).unwrap(), text);
        }
        assert_eq!(serde_json::from_str::<Targets>("\"q_proj\"").unwrap(), Targets::listed(&["q_proj"]));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let model = model(1, [4, 8, 4, 2]);
        for (text, named) in [("q_prj", "'q_prj'"), ("q_proj,lm_head", "'lm_head'"), (".*x", "'.*x'")] {
            let problem = text.parse::<Targets>().unwrap().check(&model).unwrap_err();
            assert!(problem.what.contains(named) && problem.next.contains("q_proj"), "{problem}");
        }
        "attention,down_proj".parse::<Targets>().unwrap().check(&model).unwrap();
        assert!("(q".parse::<Targets>().unwrap_err().what.contains("no regular expression"));
    }
}
