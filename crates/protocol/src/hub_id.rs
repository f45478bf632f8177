//! What names a model or a dataset on the Hugging Face hub: `owner/name[@revision][:file]`, or an address of its pages.

use std::fmt;

use crate::Problem;

/// Hosts whose addresses are read; the second is the short form of the first.
const HOSTS: [&str; 2] = ["huggingface.co", "hf.co"];
/// Most characters of a repository's name, as the hub has it, and of a revision or a path, so that names of files end.
const LONGEST: (usize, usize) = (96, 250);
/// Ends of names that people give to files: what ends so is a path, and nobody is asked for it.
const FILES: [&str; 13] = [
    ".gguf",
    ".safetensors",
    ".bin",
    ".toml",
    ".json",
    ".jsonl",
    ".csv",
    ".tsv",
    ".txt",
    ".parquet",
    ".gz",
    ".zst",
    ".zip",
];

/// A model or dataset on the hub: its repository, and which state and file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`, or a name alone for the oldest models, such as `gpt2`.
    pub repository: String,
    /// A branch, a tag or a commit; `None`: the main branch.
    pub revision: Option<String>,
    /// Of a model a file, or the quantisation of one, such as `Q8_0`; `None`: the model as a folder. Of a dataset a split, such as
    /// `train` or `default/train`, or a file.
    pub file: Option<String>,
}

impl HubId {
    /// What `text` names: `None` if it is neither an id with an owner nor an address of the hub, so that a word or a path is never
    /// taken for one. An oldest model, which has no owner, is named by its address alone.
    ///
    /// # Errors
    /// It has the form of an id or an address, and names what cannot be on the hub, or no model.
    pub fn read(text: &str) -> Option<Result<Self, Problem>> {
        Self::read_as(text, false)
    }

    /// The same of a dataset.
    ///
    /// # Errors
    /// It has the form of an id or an address, and names what cannot be on the hub, or no dataset.
    pub fn read_dataset(text: &str) -> Option<Result<Self, Problem>> {
        Self::read_as(text, true)
    }

    fn read_as(text: &str, dataset: bool) -> Option<Result<Self, Problem>> {
        if let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.strip_prefix("www.").unwrap_or(host);
            return HOSTS.contains(&host).then(|| Self::of_address(path, dataset).map_err(|problem| problem.at(text)));
        }
        let end = text.find(['@', ':']).unwrap_or(text.len());
        let (repository, rest) = text.split_at(end);
        let parts: Vec<&str> = repository.split('/').collect();
        let word = |part: &&str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain);
        let file = rest.is_empty() && FILES.iter().any(|end| repository.ends_with(end));
        if parts.len() != 2 || !parts.iter().all(word) || file {
            return None;
        }
        let (revision, file) = match rest.strip_prefix('@').map(|rest| rest.split_once(':').unwrap_or((rest, ""))) {
            Some((revision, file)) => (Some(revision), file),
            None => (None, rest.strip_prefix(':').unwrap_or_default()),
        };
        let colon = rest.contains(':');
        Some(Self::of_parts(repository, revision, colon.then_some(file)).map_err(|problem| problem.at(text)))
    }

    /// Of parts that are not trusted yet.
    ///
    /// # Errors
    /// One of them is no name that the hub can have, or would lead out of a folder that is named so.
    pub fn of_parts(repository: &str, revision: Option<&str>, file: Option<&str>) -> Result<Self, Problem> {
        check_repository(repository)?;
        revision.map_or(Ok(()), check_revision)?;
        file.map_or(Ok(()), check_path)?;
        Ok(Self { repository: repository.into(), revision: revision.map(Into::into), file: file.map(Into::into) })
    }

    /// The same model at a commit, and so for good.
    #[must_use]
    pub fn at_commit(&self, commit: &str) -> Self {
        Self { revision: Some(commit.into()), ..self.clone() }
    }

    /// The commit, if the revision is one in full.
    pub fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }

    /// Repository and commit of a name that says both, as runs keep it; else the name as it is.
    pub fn split(name: &str) -> (String, Option<String>) {
        match Self::read(name) {
            Some(Ok(id)) if id.commit().is_some() => (id.repository, id.revision),
            _ => (name.into(), None),
        }
    }

    /// What is behind the host's name in an address.
    fn of_address(path: &str, dataset: bool) -> Result<Self, Problem> {
        let mut path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        if dataset {
            path = path.strip_prefix("datasets/").ok_or_else(|| {
                Problem::input("the address is of no dataset").next("use the address of the dataset's page")
            })?;
        }
        let parts: Vec<String> = path.split('/').map(decoded).collect::<Option<_>>().ok_or_else(|| {
            Problem::input("the address is not UTF-8").next("copy the model's name from its page: owner/name")
        })?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if let Some(kind) =
            parts.first().filter(|kind| ["datasets", "spaces", "docs", "models", "papers"].contains(kind))
        {
            return Err(Problem::input(format!("the address is one of the hub's {kind}, and not of a model"))
                .next("use the address of the model's page"));
        }
        let page = |part: &str| ["tree", "blob", "resolve", "raw", "commit", "viewer"].contains(&part);
        let (repository, rest) = match parts.as_slice() {
            [name] => ((*name).to_string(), &parts[1..]),
            [name, second, ..] if page(second) => ((*name).to_string(), &parts[1..]),
            [owner, name, ..] => (format!("{owner}/{name}"), &parts[2..]),
            [] => (String::new(), &parts[..]),
        };
        match rest {
            [] => Self::of_parts(&repository, None, None),
            ["tree" | "commit", revision, ..] => Self::of_parts(&repository, Some(revision), None),
            ["blob" | "resolve" | "raw", revision, file @ ..] if !file.is_empty() => {
                let file = file.join("/");
                // Of a folder's files only all together are a model.
                let file = (dataset || file.ends_with(".gguf")).then_some(file);
                Self::of_parts(&repository, Some(revision), file.as_deref())
            }
            ["viewer"] if dataset => Self::of_parts(&repository, None, None),
            ["viewer", part @ ..] if dataset => Self::of_parts(&repository, None, Some(&part.join("/"))),
            _ => Err(Problem::input("the address is of no model or dataset").next("use the address of its page")),
        }
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        self.file.iter().try_for_each(|file| write!(f, ":{file}"))
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

fn check_repository(repository: &str) -> Result<(), Problem> {
    let parts: Vec<&str> = repository.split('/').collect();
    let good = |part: &&str| {
        let ends = [part.chars().next(), part.chars().last()];
        part.chars().all(is_plain) && ends.iter().all(|end| end.is_some_and(|c| !".-".contains(c)))
    };
    let bad = parts.len() > 2
        || !parts.iter().all(good)
        || ["..", "--"].iter().any(|pair| repository.contains(pair))
        || repository.ends_with(".git")
        || repository.len() > LONGEST.0;
    if bad {
        return Err(Problem::input(format!("'{}' is not the name of a repository on the hub", shown(repository)))
            .next("use owner/name as its page has it: letters, digits, '.', '_' and '-'"));
    }
    Ok(())
}

fn check_revision(revision: &str) -> Result<(), Problem> {
    let strange = |c: char| c.is_control() || c.is_whitespace() || "\\~^:?*[".contains(c);
    if revision.contains(strange) || check_path(revision).is_err() {
        return Err(Problem::input(format!("'{}' is not the name of a revision", shown(revision)))
            .next("use a branch, a tag or a commit, such as @main"));
    }
    Ok(())
}

/// Refuses the path of a file in a repository that would lead out of a folder, or name no file there.
///
/// # Errors
/// Says which path it is.
pub fn check_path(path: &str) -> Result<(), Problem> {
    let drive = path.as_bytes().get(1) == Some(&b':');
    let bad = path.len() > LONGEST.1
        || drive
        || path.contains(|c: char| c.is_control() || c == '\\')
        || path.split('/').any(|part| ["", ".", ".."].contains(&part));
    if bad {
        return Err(Problem::input(format!("'{}' is not the path of a file in a repository", shown(path)))
            .next("use a path as the repository's page lists it"));
    }
    Ok(())
}

/// A full commit: the 40 digits of a SHA-1.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The beginning of a name, as it can be printed.
fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}

/// A part of an address without its percent signs.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        bytes.push(if byte == b'%' { (digit(rest.next())? * 16 + digit(rest.next())?) as u8 } else { byte });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn ids_and_addresses_are_read() {
        for (text, canonical) in [
            ("owner/name", "owner/name"),
            ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
            ("o/n@refs/pr/1", "o/n@refs/pr/1"),
            ("o/n@v1.0:sub/a-Q4_K_M.gguf", "o/n@v1.0:sub/a-Q4_K_M.gguf"),
            ("o/n:Q8_0", "o/n:Q8_0"),
            ("o/name.gguf:Q8_0", "o/name.gguf:Q8_0"),
            ("https://huggingface.co/o/n", "o/n"),
            ("https://huggingface.co/o/n/", "o/n"),
            ("https://hf.co/o/n?library=transformers", "o/n"),
            ("https://huggingface.co/gpt2", "gpt2"),
            ("https://huggingface.co/gpt2/tree/main", "gpt2@main"),
            ("https://huggingface.co/o/n/tree/refs%2Fpr%2F1", "o/n@refs/pr/1"),
            ("https://huggingface.co/o/n/blob/main/a%20b.gguf", "o/n@main:a b.gguf"),
            ("https://huggingface.co/o/n/resolve/main/q/a.gguf?download=true", "o/n@main:q/a.gguf"),
            ("https://huggingface.co/o/n/blob/main/config.json", "o/n@main"),
        ] {
            assert_eq!(HubId::read(text).unwrap().unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn datasets_have_addresses_of_their_own() {
        for (text, canonical) in [
            ("o/n", "o/n"),
            ("o/n:default/train", "o/n:default/train"),
            ("o/n@refs/convert/parquet:train", "o/n@refs/convert/parquet:train"),
            ("https://huggingface.co/datasets/o/n", "o/n"),
            ("https://huggingface.co/datasets/imdb/", "imdb"),
            ("https://hf.co/datasets/o/n/viewer", "o/n"),
            ("https://huggingface.co/datasets/o/n/viewer/default/train?p=1", "o/n:default/train"),
            ("https://huggingface.co/datasets/o/n/blob/main/data/a.jsonl", "o/n@main:data/a.jsonl"),
        ] {
            assert_eq!(HubId::read_dataset(text).unwrap().unwrap().to_string(), canonical, "{text}");
        }
        for text in ["example", "rows.jsonl", "data/rows.csv", "./o/n", "https://example.org/datasets/o/n"] {
            assert_eq!(HubId::read_dataset(text), None, "{text}");
        }
        assert!(HubId::read_dataset("https://huggingface.co/o/n").unwrap().is_err());
    }

    #[test]
    fn words_and_paths_are_no_ids() {
        for text in [
            "starter",
            "gpt2",
            "run",
            "./a/b",
            "../a",
            "a/b/c",
            "/a/b",
            "~/b",
            "a\\b",
            "a/",
            "/b",
            "C:/b",
            "a b/c",
            "",
            ".hidden/b",
            "models/x.gguf",
            "data/rows.csv",
            "out/model.safetensors",
            "https://example.org/o/n",
            "ftp://huggingface.co/o/n",
        ] {
            assert_eq!(HubId::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_there_is_refused() {
        for text in [
            "o/..",
            "o/a..b",
            "o/a--b",
            "o/-a",
            "o/a.",
            "o/a.git",
            "o/n@",
            "o/n@../x",
            "o/n@a b",
            "o/n@/main",
            "o/n@a\\b",
            "o/n:",
            "o/n:../../x.gguf",
            "o/n:/etc/passwd",
            "o/n:a\\b.gguf",
            "o/n:a//b.gguf",
            "o/n:a\nb",
            "o/n@main:C:\\x",
            "https://huggingface.co/",
            "https://huggingface.co/datasets/o/n",
            "https://huggingface.co/o/n/tree/..%2F..%2Fx",
            "https://huggingface.co/o/n/blob/main/%2e%2e/x.gguf",
            "https://huggingface.co/o/n/blob/main",
            "https://huggingface.co/o/n/what/main",
            "https://huggingface.co/o/n/tree/%ff",
            "https://huggingface.co/o/n/tree/%",
        ] {
            let Some(Err(problem)) = HubId::read(text) else {
                // A name that begins with a dot is a path to begin with.
                assert!(text == "o/..", "{text}: {:?}", HubId::read(text));
                continue;
            };
            assert!(!problem.next.is_empty() && !problem.what.contains('\n'), "{problem:?}");
        }
        let long = format!("o/{}", "n".repeat(100));
        assert!(HubId::read(&long).unwrap().is_err());
    }

    #[test]
    fn a_run_keeps_repository_and_commit() {
        let id = HubId::read("o/n@main:Q8_0").unwrap().unwrap();
        assert_eq!(id.commit(), None);
        let pinned = id.at_commit(COMMIT);
        assert_eq!((pinned.commit(), pinned.to_string()), (Some(COMMIT), format!("o/n@{COMMIT}:Q8_0")));
        assert_eq!(HubId::split(&pinned.to_string()), ("o/n".into(), Some(COMMIT.into())));
        for name in ["o/n", "o/n@main", "models/smol", "starter"] {
            assert_eq!(HubId::split(name), (name.into(), None));
        }
    }
}
