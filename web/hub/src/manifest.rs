//! What a directory of the browser's storage holds: `kept.json`, written before the first byte and after each whole file.

use serde::{Deserialize, Serialize};
use stratune_protocol::KeptFiles;

/// How the names of these directories begin: the storage is that of the origin, which may have other pages.
pub const PREFIX: &str = "hub-";

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The name that a run keeps.
    pub name: String,
    /// Whether it is a dataset, and no model.
    pub dataset: bool,
    /// Its files, in order.
    pub files: Vec<KeptFile>,
}

/// A file in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// What it is called there.
    pub name: String,
    /// Bytes that it has when it is whole.
    pub bytes: u64,
    /// Whether all of it is there, and its hash is right.
    pub whole: bool,
}

impl Manifest {
    /// What is kept, of files that have so many bytes now.
    pub fn kept(&self, there: &[u64]) -> KeptFiles {
        let sizes = self.files.iter().zip(there);
        let whole = sizes.clone().all(|(file, there)| file.whole && file.bytes == *there);
        KeptFiles {
            name: self.name.clone(),
            dataset: self.dataset,
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            there: sizes.map(|(file, there)| file.bytes.min(*there)).sum(),
            whole: whole && there.len() == self.files.len(),
        }
    }
}

/// The directory of what is kept under a name. A name of the hub has no two hyphens side by side.
pub fn directory(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_@".contains(c) { c.to_string() } else { "--".into() };
    format!("{PREFIX}{}", name.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_files_are_whole() {
        let file = |name: &str, whole| KeptFile { name: name.into(), bytes: 10, whole };
        let manifest = |second| Manifest {
            name: "o/n@c".into(),
            dataset: false,
            files: vec![file("config.json", true), file("model.safetensors", second)],
        };
        for (second, there, bytes, whole) in [
            (true, vec![10, 10], 20, true),
            (false, vec![10, 10], 20, false),
            (true, vec![10, 9], 19, false),
            (true, vec![10, 11], 20, false),
            (true, vec![10], 10, false),
        ] {
            let kept = manifest(second).kept(&there);
            assert_eq!((kept.there, kept.bytes, kept.whole), (bytes, 20, whole), "{there:?}");
        }
    }

    #[test]
    fn directories_are_told_apart() {
        let names = ["o/n@c", "o/n@c:Q8_0", "o/n@c:q/a.gguf", "o-n@c", "o/n@d"];
        let mut directories: Vec<_> = names.iter().map(|name| directory(name)).collect();
        assert_eq!(directories[2], "hub-o--n@c--q--a.gguf");
        directories.sort();
        directories.dedup();
        assert_eq!(directories.len(), names.len());
        assert!(directories.iter().all(|name| !name.contains(['/', ':', '\\'])));
    }
}
