//! What a repository is on the hub that is on the machine itself, and how its files are known.

use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A file of a repository.
#[derive(Clone)]
pub struct RemoteFile {
    pub path: String,
    pub bytes: Vec<u8>,
    /// Whether it is kept as a large file, by SHA-256.
    pub large: bool,
}

/// A repository at one commit.
#[derive(Clone, Default)]
pub struct Repository {
    /// Whether it is a dataset, and no model.
    pub dataset: bool,
    pub id: String,
    /// A name of before, which the hub sends on from.
    pub former: Option<String>,
    pub commit: String,
    /// The only branch that has this commit; `None`: `main` and `refs/pr/1`.
    pub branch: Option<String>,
    pub gated: bool,
    pub files: Vec<RemoteFile>,
    /// Entries of the listing that no file stands behind.
    pub entries: Vec<Value>,
    /// Entries on a page of the listing; 0: all of them.
    pub page: usize,
    /// Whether each page of the listing names another.
    pub endless: bool,
}

impl Repository {
    pub fn new(id: &str, commit: &str, files: &[(&str, &[u8], bool)]) -> Self {
        let file = |(path, bytes, large): &(&str, &[u8], bool)| RemoteFile {
            path: (*path).into(),
            bytes: bytes.to_vec(),
            large: *large,
        };
        Self { id: id.into(), commit: commit.into(), files: files.iter().map(file).collect(), ..Self::default() }
    }

    pub fn dataset(id: &str, commit: &str, files: &[(&str, &[u8], bool)]) -> Self {
        Self { dataset: true, ..Self::new(id, commit, files) }
    }

    pub fn plural(&self) -> &'static str {
        if self.dataset { "datasets" } else { "models" }
    }

    /// What comes before the id in the address of a page.
    pub fn prefix(&self) -> &'static str {
        if self.dataset { "datasets/" } else { "" }
    }

    pub fn revisions(&self) -> Vec<&str> {
        let commit = self.commit.as_str();
        self.branch.as_ref().map_or_else(|| vec![commit, "main", "refs/pr/1"], |branch| vec![commit, branch])
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of bytes, which large files are known by.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The hash that git has of a file with these bytes.
pub fn git_sha1(bytes: &[u8]) -> String {
    hex(&Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

/// An address's path without its percent signs.
pub fn percent_decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}
