//! One GGUF file of the many that a repository has, by its name or by its quantisation.

use std::collections::BTreeMap;

use stratune_protocol::Problem;

use crate::entry::Entry;

/// Words in the names of GGUF files that are no language model by themselves: projectors of images, statistics, drafts.
const OTHERS: [&str; 6] = ["mmproj", "imatrix", "mtp", "draft", "eagle3", "dflash"];
/// Files that a message lists.
const SHOWN: usize = 12;
/// Pieces that a model may be in.
const MOST_PIECES: usize = 10_000;

/// A model of a repository: its files, by the name that they have in common.
type Models<'a> = BTreeMap<String, Vec<&'a Entry>>;

/// The files of the model that `wanted` names: a file, or a quantisation such as `Q4_K_M`.
///
/// # Errors
/// There is none, or several; says which there are.
pub(crate) fn choose(entries: &[Entry], wanted: &str) -> Result<Vec<Entry>, Problem> {
    let models = models(entries);
    if wanted.ends_with(".gguf") {
        let found = models.iter().find(|(_, files)| files.iter().any(|file| file.path == wanted));
        let Some((_, files)) = found else {
            return Err(Problem::input(format!("the repository has no file {wanted}; {}", list(&models)))
                .next("name one of its GGUF files, or a quantisation such as Q8_0"));
        };
        return whole(files);
    }
    let found: Vec<_> = models.iter().filter(|(name, _)| is_quantisation(name, wanted) && !is_other(name)).collect();
    match found.as_slice() {
        [(_, files)] => whole(files),
        [] => Err(Problem::input(format!("the repository has no GGUF file of {wanted}; {}", list(&models)))
            .next("name one of its GGUF files after the colon, or leave it out for the model as a folder")),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            Err(Problem::input(format!("{wanted} is several files: {}", shown(&names)))
                .next("name the file itself after the colon"))
        }
    }
}

/// The files of the only GGUF model; `None` if there is none.
///
/// # Errors
/// There are several: says which.
pub(crate) fn only(entries: &[Entry]) -> Result<Option<Vec<Entry>>, Problem> {
    let mut models = models(entries);
    models.retain(|name, _| !is_other(name));
    match models.len() {
        0 => Ok(None),
        1 => models.values().next().map(|files| whole(files)).transpose(),
        _ => Err(Problem::input(format!("the repository has several GGUF files; {}", list(&models)))
            .next("name one after a colon, by its quantisation or its name: owner/name:Q8_0")),
    }
}

fn models(entries: &[Entry]) -> Models<'_> {
    let mut models = Models::new();
    for entry in entries.iter().filter(|entry| entry.path.ends_with(".gguf")) {
        let stem = entry.path.trim_end_matches(".gguf");
        let name = piece(stem).map_or(stem, |(name, ..)| name);
        models.entry(name.to_string()).or_default().push(entry);
    }
    models
}

/// `a-00002-of-00003` as `a`, 2 and 3.
fn piece(stem: &str) -> Option<(&str, usize, usize)> {
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    Some((name, number.parse().ok()?, of.parse().ok()?))
}

/// All files of one model, the first first.
fn whole(files: &[&Entry]) -> Result<Vec<Entry>, Problem> {
    let pieces: Vec<_> = files.iter().map(|file| (piece(file.path.trim_end_matches(".gguf")), *file)).collect();
    let count = pieces.iter().find_map(|(piece, _)| piece.map(|(.., of)| of));
    let Some(count) = count else { return Ok(files.iter().map(|file| (*file).clone()).collect()) };
    let found = |number| pieces.iter().find(|(piece, _)| piece.is_some_and(|(_, n, of)| (n, of) == (number, count)));
    let all: Option<Vec<Entry>> = if count > MOST_PIECES {
        None
    } else {
        (1..=count).map(|n| found(n).map(|(_, file)| (*file).clone())).collect()
    };
    all.filter(|all| !all.is_empty()).ok_or_else(|| {
        let name = files.first().map_or("", |file| file.path.as_str());
        Problem::input(format!("{name} is one of {count} pieces, and the repository lacks others"))
            .next("choose another of its files")
    })
}

/// Whether a file's name says this quantisation: the whole of it, so that `F16` is not in `BF16` nor `Q4_K` in `Q4_K_M`. A folder may
/// say it instead.
fn is_quantisation(name: &str, wanted: &str) -> bool {
    let (name, wanted) = (name.to_uppercase(), wanted.to_uppercase());
    name.match_indices(&wanted).any(|(at, _)| {
        let before = name[..at].chars().next_back().is_none_or(|c| "-._/".contains(c));
        let after = name[at + wanted.len()..].chars().next().is_none_or(|c| "-./".contains(c));
        before && after && !wanted.is_empty()
    })
}

/// Whether it is a file beside a model.
fn is_other(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    name.split(['-', '.', '_']).any(|word| OTHERS.contains(&word))
}

fn list(models: &Models<'_>) -> String {
    let names: Vec<&str> = models.keys().map(String::as_str).collect();
    if names.is_empty() { "it has no GGUF files".into() } else { format!("there are {}", shown(&names)) }
}

fn shown(names: &[&str]) -> String {
    match names.len() {
        count if count > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::choose::tests::{entries, paths};

    #[test]
    fn a_quantisation_is_a_word_of_the_name() {
        for (name, wanted, is) in [
            ("a-Q4_K_M", "Q4_K_M", true),
            ("a-q4_k_m", "Q4_K_M", true),
            ("a.Q8_0", "q8_0", true),
            ("a_f16", "F16", true),
            ("a-Q4_K_M", "Q4_K", false),
            ("a-Q4_K_S", "Q4_K", false),
            ("a-BF16", "F16", false),
            ("a-IQ4_XS", "Q4_XS", false),
            ("Q4_K_M/a-Q4_K_M", "Q4_K_M", true),
            ("a", "", false),
        ] {
            assert_eq!(is_quantisation(name, wanted), is, "{wanted} in {name}");
        }
    }

    #[test]
    fn one_file_is_chosen_with_all_its_pieces() {
        let all = entries(&[
            "a-Q4_K_M.gguf",
            "a-Q4_K_S.gguf",
            "a-bf16.gguf",
            "b/a-Q8_0-00002-of-00002.gguf",
            "b/a-Q8_0-00001-of-00002.gguf",
            "a-UD-Q2_K.gguf",
            "a-Q2_K.gguf",
            "a-Q6_K-00001-of-00002.gguf",
            "mmproj-a-Q5_0.gguf",
        ]);
        let both = vec!["b/a-Q8_0-00001-of-00002.gguf", "b/a-Q8_0-00002-of-00002.gguf"];
        for (wanted, found) in [
            ("Q4_K_M", vec!["a-Q4_K_M.gguf"]),
            ("q8_0", both.clone()),
            ("b/a-Q8_0-00002-of-00002.gguf", both),
            ("UD-Q2_K", vec!["a-UD-Q2_K.gguf"]),
            ("mmproj-a-Q5_0.gguf", vec!["mmproj-a-Q5_0.gguf"]),
        ] {
            assert_eq!(paths(&choose(&all, wanted).unwrap()), found, "{wanted}");
        }
        for (wanted, what) in [
            ("Q2_K", "several files: a-Q2_K, a-UD-Q2_K"),
            ("Q6_K", "lacks others"),
            ("Q5_0", "no GGUF file of Q5_0; there are"),
            ("F16", "no GGUF file of F16"),
            ("x.gguf", "no file x.gguf; there are a-Q2_K, "),
            ("config.json", "no GGUF file of config.json"),
        ] {
            let problem = choose(&all, wanted).unwrap_err();
            assert!(problem.what.contains(what), "{wanted}: {problem:?}");
        }
        let huge = entries(&["a-00001-of-99999999999.gguf"]);
        assert!(choose(&huge, "a-00001-of-99999999999.gguf").is_err());
        assert!(choose(&entries(&["a-00001-of-00000.gguf"]), "a-00001-of-00000.gguf").is_err());
    }

    #[test]
    fn the_only_one_need_not_be_named() {
        let one = entries(&["README.md", "a-Q4_0.gguf", "mmproj-a.gguf"]);
        assert_eq!(paths(&only(&one).unwrap().unwrap()), ["a-Q4_0.gguf"]);
        assert_eq!(only(&entries(&["README.md"])).unwrap(), None);
        assert!(only(&entries(&["a.gguf", "b.gguf"])).unwrap_err().what.contains("a, b"));
    }
}
