//! Which files of a dataset are rows to take: one split of one configuration.
//!
//! The hub's own conversion has `configuration/split/0000.parquet`. Other repositories say the split by a word in a file's name
//! or its folder, and the configuration by the folders above, of which `data` is none.

use std::collections::BTreeMap;

use stratune_protocol::Problem;

use crate::entry::Entry;

/// What is taken where nothing is named, as `load_dataset` of Hugging Face does.
const CONFIGURATION: &str = "default";
const SPLIT: &str = "train";
/// Words that name a split.
const WORDS: [(&str, &str); 9] = [
    ("train", SPLIT),
    ("training", SPLIT),
    ("validation", "validation"),
    ("valid", "validation"),
    ("dev", "validation"),
    ("val", "validation"),
    ("test", "test"),
    ("testing", "test"),
    ("eval", "test"),
];
/// Ends of files with rows, those first that are taken where the same rows are in several.
const ENDS: [&str; 5] = [".parquet", ".jsonl", ".json", ".csv", ".tsv"];
const PACKED: [&str; 2] = [".gz", ".zst"];
/// JSON files that say something about a dataset and hold none of it.
const ABOUT: [&str; 4] = ["dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"];
/// What the hub puts before a split of which it has converted the first 5 GB alone.
const PARTIAL: &str = "partial-";
/// Names that a message lists.
const SHOWN: usize = 12;

/// The rows that were chosen.
#[derive(Debug, PartialEq)]
pub(crate) struct ChosenRows {
    /// What they are called: `configuration/split`, or the path of a file.
    pub name: String,
    /// Their files, in order.
    pub files: Vec<Entry>,
    /// Whether there are more rows, which the hub has not converted.
    pub partial: bool,
    /// What else could have been named.
    pub others: Vec<String>,
}

/// Whether `part` of an id names a file, and not a split.
pub(crate) fn is_file(part: &str) -> bool {
    end(part).is_some()
}

/// The rows that `wanted` names: a split, a configuration, `configuration/split`, or a file. `None`: the split `train` of the
/// configuration `default`, or else of the only one.
///
/// # Errors
/// There are no such rows, or several; says which there are.
pub(crate) fn choose(entries: &[Entry], wanted: Option<&str>) -> Result<ChosenRows, Problem> {
    if let Some(path) = wanted.filter(|wanted| is_file(wanted)) {
        let file = entries.iter().find(|entry| entry.path == path).cloned();
        let file = file.ok_or_else(|| {
            Problem::input(format!("the dataset has no file {path}")).next("name a file as the dataset's page lists it")
        })?;
        return Ok(ChosenRows { name: path.into(), files: vec![file], partial: false, others: Vec::new() });
    }
    let splits = splits(entries);
    if splits.is_empty() {
        return Err(Problem::input("the dataset has no rows as Parquet, JSON or CSV")
            .next("use another dataset, or make files of it"));
    }
    let names: Vec<String> = splits.keys().map(|(configuration, split)| format!("{configuration}/{split}")).collect();
    let of = |wanted: &str| splits.keys().any(|(configuration, _)| configuration == wanted);
    let (configuration, split) = match wanted.map(|wanted| wanted.rsplit_once('/').unwrap_or(("", wanted))) {
        None => (None, None),
        Some((configuration, split)) if !configuration.is_empty() => (Some(configuration), Some(split)),
        Some((_, split)) if splits.keys().any(|(_, name)| name == split) => (None, Some(split)),
        Some((_, configuration)) if of(configuration) => (Some(configuration), None),
        Some((_, other)) => return Err(none(other, &names)),
    };
    let fits = |(c, s): &(String, String)| {
        configuration.is_none_or(|wanted| c == wanted) && split.is_none_or(|wanted| s == wanted)
    };
    let mut fitting: Vec<&(String, String)> = splits.keys().filter(|key| fits(key)).collect();
    // What was left open is what is usual, if that is there.
    let usual = |keys: &mut Vec<&(String, String)>, open: bool, is: &dyn Fn(&(String, String)) -> bool| {
        if open && keys.iter().any(|key| is(key)) {
            keys.retain(|key| is(key));
        }
    };
    usual(&mut fitting, configuration.is_none(), &|(c, _)| c == CONFIGURATION);
    usual(&mut fitting, split.is_none(), &|(_, s)| s == SPLIT);
    let key = match fitting.as_slice() {
        [key] => (*key).clone(),
        [] => return Err(none(wanted.unwrap_or_default(), &names)),
        several => {
            let several: Vec<String> = several.iter().map(|(c, s)| format!("{c}/{s}")).collect();
            return Err(Problem::input(format!("the dataset has several parts: {}", shown(&several)))
                .next("name one after a colon: owner/name:configuration/split"));
        }
    };
    let name = format!("{}/{}", key.0, key.1);
    let (partial, files) = splits.get(&key).cloned().unwrap_or_default();
    check_pieces(&files)?;
    let others = names.into_iter().filter(|other| *other != name).collect();
    Ok(ChosenRows { name, files: files.into_iter().cloned().collect(), partial, others })
}

/// Names as a message has them.
pub(crate) fn shown(names: &[String]) -> String {
    match names.len() {
        count if count > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

fn none(wanted: &str, names: &[String]) -> Problem {
    Problem::input(format!("the dataset has no part {wanted}; there are {}", shown(names)))
        .next("name one of these after the colon")
}

/// Files by configuration and split, and whether the hub has converted a part of them alone.
fn splits(entries: &[Entry]) -> BTreeMap<(String, String), (bool, Vec<&Entry>)> {
    let mut splits: BTreeMap<(String, String), (bool, Vec<&Entry>)> = BTreeMap::new();
    // Rows are in one form at a time.
    let best = entries.iter().filter(|entry| holds_rows(entry)).filter_map(|entry| end(&entry.path)).min();
    let of_best = entries.iter().filter(|entry| holds_rows(entry) && end(&entry.path) == best);
    for entry in of_best {
        let (configuration, split, partial) = place(&entry.path);
        let there = splits.entry((configuration, split)).or_default();
        there.0 |= partial;
        there.1.push(entry);
    }
    splits.values_mut().for_each(|(_, files)| files.sort_by(|a, b| a.path.cmp(&b.path)));
    splits
}

fn holds_rows(entry: &Entry) -> bool {
    let hidden = entry.path.split('/').any(|part| part.starts_with('.'));
    end(&entry.path).is_some() && !hidden && !ABOUT.contains(&entry.name())
}

/// Which of the ends of files with rows a path has.
fn end(path: &str) -> Option<usize> {
    let path = path.to_lowercase();
    let plain = PACKED.iter().find_map(|packed| path.strip_suffix(packed)).unwrap_or(&path);
    ENDS.iter().position(|end| plain.ends_with(end))
}

/// Configuration and split of a file, and whether it is of a split that is converted in part.
fn place(path: &str) -> (String, String, bool) {
    let parts: Vec<&str> = path.split('/').collect();
    if let ([configuration, split, _], Some(_)) = (parts.as_slice(), piece(path)) {
        let whole = split.strip_prefix(PARTIAL);
        return ((*configuration).into(), whole.unwrap_or(split).into(), whole.is_some());
    }
    let (file, folders) = parts.split_last().unwrap_or((&"", &[]));
    let by_folder = folders.last().and_then(|folder| word(folder));
    // A folder that says the split is none of the configuration's.
    let folders = &folders[..folders.len() - usize::from(by_folder.is_some())];
    let folders: Vec<&str> = folders.iter().copied().filter(|folder| *folder != "data").collect();
    let configuration = if folders.is_empty() { CONFIGURATION.into() } else { folders.join("-") };
    (configuration, word(file).or(by_folder).unwrap_or(SPLIT).into(), false)
}

/// Which piece a file of the hub's conversion is: 2 of `configuration/split/0002.parquet`.
fn piece(path: &str) -> Option<usize> {
    let name = path.rsplit('/').next()?.strip_suffix(".parquet")?;
    let numbered = name.len() == 4 && path.matches('/').count() == 2;
    if numbered { name.parse().ok() } else { None }
}

/// The split that a word of a name says.
fn word(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.find_map(|word| Some(WORDS.iter().find(|(said, _)| *said == word)?.1))
}

/// Refuses pieces whose names say how many there are, if that is another number.
fn check_pieces(files: &[&Entry]) -> Result<(), Problem> {
    let right = |(k, entry): (usize, &&Entry)| {
        let stem = entry.name().split('.').next()?;
        let (rest, of) = stem.rsplit_once("-of-")?;
        let (n, of): (usize, usize) = (rest.rsplit('-').next()?.parse().ok()?, of.parse().ok()?);
        Some((n, of) == (k, files.len()))
    };
    if files.iter().enumerate().filter_map(right).all(|right| right) { Ok(()) } else { Err(pieces_missing(files)) }
}

/// Refuses files of the hub's conversion that are not all from the first on.
///
/// # Errors
/// Some are missing.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn check_numbers(files: &[Entry]) -> Result<(), Problem> {
    let number = |(k, entry): (usize, &Entry)| Some(piece(&entry.path)? == k);
    if files.iter().enumerate().filter_map(number).all(|right| right) {
        Ok(())
    } else {
        Err(pieces_missing(&files.iter().collect::<Vec<_>>()))
    }
}

fn pieces_missing(files: &[&Entry]) -> Problem {
    let name = files.first().map_or("", |file| file.path.as_str());
    Problem::input(format!("pieces beside {name} are missing"))
        .next("name a single file after the colon, or use another dataset")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::choose::tests::{entries, paths};

    fn chosen(names: &[&str], wanted: Option<&str>) -> Result<(String, Vec<String>), Problem> {
        let rows = choose(&entries(names), wanted)?;
        Ok((rows.name, paths(&rows.files).into_iter().map(str::to_owned).collect()))
    }

    #[test]
    fn the_hubs_conversion_is_read() {
        let all = [
            ".gitattributes",
            "default/test/0000.parquet",
            "default/train/0001.parquet",
            "default/train/0000.parquet",
            "extra/partial-train/0000.parquet",
        ];
        let (name, files) = chosen(&all, None).unwrap();
        assert_eq!((name.as_str(), files), ("default/train", vec![all[3].to_string(), all[2].to_string()]));
        for (wanted, name) in [
            ("test", "default/test"),
            ("extra", "extra/train"),
            ("extra/train", "extra/train"),
            ("default/test", "default/test"),
            ("default/test/0000.parquet", "default/test/0000.parquet"),
        ] {
            assert_eq!(chosen(&all, Some(wanted)).unwrap().0, name, "{wanted}");
        }
        let rows = choose(&entries(&all), Some("extra")).unwrap();
        assert!(rows.partial);
        assert_eq!(rows.others, ["default/test", "default/train"]);
        for (numbers, right) in [(&["0000", "0001"][..], true), (&["0000", "0002"], false), (&["0001"], false)] {
            let names: Vec<String> = numbers.iter().map(|n| format!("default/train/{n}.parquet")).collect();
            let files = entries(&names.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(check_numbers(&files).is_ok(), right, "{numbers:?}");
        }
    }

    #[test]
    fn other_repositories_say_it_by_words() {
        for (all, wanted, name, count) in [
            (vec!["train.jsonl", "test.jsonl", "README.md"], None, "default/train", 1),
            (vec!["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], None, "default/train", 2),
            (vec!["en/train.csv", "de/train.csv"], Some("de"), "de/train", 1),
            (vec!["en/dev.csv", "en/x.csv"], Some("validation"), "en/validation", 1),
            (vec!["rows.json.gz", "dataset_infos.json"], None, "default/train", 1),
            (vec!["train.parquet", "train.csv", "test.csv"], None, "default/train", 1),
            (vec!["test/a.jsonl", "test/b.jsonl"], None, "default/test", 2),
            (vec!["constrained.jsonl"], None, "default/train", 1),
        ] {
            let (found, files) = chosen(&all, wanted).unwrap();
            assert_eq!((found.as_str(), files.len()), (name, count), "{all:?}");
        }
    }

    #[test]
    fn what_is_not_there_or_several_is_told() {
        for (all, wanted, what) in [
            (vec!["README.md", "a.bin"], None, "no rows as Parquet"),
            (vec!["train.jsonl"], Some("test"), "no part test; there are default/train"),
            (vec!["train.jsonl"], Some("x.csv"), "no file x.csv"),
            (vec!["en/train.csv", "de/train.csv"], None, "several parts: de/train, en/train"),
            (vec!["dev.csv", "test.csv"], None, "several parts: default/test, default/validation"),
            (vec!["en/train.csv"], Some("en/test"), "no part en/test"),
            (vec!["train-00000-of-00002.parquet"], None, "are missing"),
        ] {
            let problem = chosen(&all, wanted).unwrap_err();
            assert!(problem.what.contains(what) && !problem.next.is_empty(), "{all:?}: {problem:?}");
        }
    }
}
