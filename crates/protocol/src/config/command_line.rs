//! The command line that repeats a run.

/// The command line that repeats the run whose configuration is in `run.toml`, on these data files.
pub fn command_line<'a>(files: impl Iterator<Item = &'a str>, out: &str) -> String {
    let mut words = vec!["stratune train --config run.toml".to_string()];
    let files: Vec<String> = files.map(quoted).collect();
    if !files.is_empty() {
        words.push(format!("--data {}", files.join(" ")));
    }
    words.push(format!("--out {}", quoted(out)));
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,".contains(c)) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_reach_the_program_as_they_are() {
        for (files, command) in [
            (vec![], "stratune train --config run.toml --out run"),
            (vec!["a/b-1.jsonl"], "stratune train --config run.toml --data a/b-1.jsonl --out run"),
            (vec!["it's.csv", "a b"], r"stratune train --config run.toml --data 'it'\''s.csv' 'a b' --out run"),
            (vec![""], "stratune train --config run.toml --data '' --out run"),
        ] {
            assert_eq!(command_line(files.into_iter(), "run"), command);
        }
    }
}
