//! A file of a repository as the hub lists it: its path, its size, and the hash that its bytes are checked with.

use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use stratune_protocol::{Problem, check_path};

/// The hash of a file's bytes, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256: files that are kept beside git.
    Sha256(String),
    /// What git calls a file: SHA-1 of its length and its bytes.
    Git(String),
}

impl Hash {
    /// The digits, by which the cache calls the file.
    pub fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }

    /// What takes the bytes of a file of this size.
    pub(crate) fn hasher(&self, size: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Git(_) => Hasher::Git(Sha1::new().chain_update(format!("blob {size}\0"))),
        }
    }
}

/// Takes a file's bytes one part after the other.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    pub fn digits(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Git(hash) => hex(&hash.finalize()),
        }
    }
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is in the repository; it leads out of no folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The hash of its bytes.
    pub hash: Hash,
}

/// An entry of a listing as it comes.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Entry {
    /// The files of one page of a listing.
    ///
    /// # Errors
    /// The page is no listing, or has a path that leads out of a folder: then nothing of it is trusted.
    pub(crate) fn page(json: &[u8]) -> Result<Vec<Self>, Problem> {
        let bad = |what: String| Problem::input(what).next("report it on the model's page, or use another model");
        let listed: Vec<Listed> =
            serde_json::from_slice(json).map_err(|e| bad(format!("the hub's list of files cannot be read: {e}")))?;
        let mut entries = Vec::new();
        for Listed { kind, path, size, oid, lfs } in listed {
            check_path(&path)
                .map_err(|problem| bad(format!("the hub's list of files cannot be trusted: {}", problem.what)))?;
            if kind != "file" {
                continue;
            }
            let (size, hash) = match lfs {
                Some(lfs) => (lfs.size, Hash::Sha256(lfs.oid)),
                None => (size, Hash::Git(oid)),
            };
            let long = if matches!(hash, Hash::Sha256(_)) { 64 } else { 40 };
            let digits = hash.digits();
            // The cache makes a file's name of it.
            if digits.len() != long || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                return Err(bad(format!("the hub's list of files has no hash for {path}")));
            }
            entries.push(Self { path, size, hash });
        }
        Ok(entries)
    }

    /// Its name without its folders.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{git_sha1, sha256};

    #[test]
    fn hashes_are_those_of_git_and_sha256() {
        for (hash, bytes, digits) in [
            (Hash::Git(String::new()), b"hello\n".as_slice(), "ce013625030ba8dba906f756967f9e9ca394464a"),
            (Hash::Git(String::new()), b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            (Hash::Sha256(String::new()), b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            let mut hasher = hash.hasher(bytes.len() as u64);
            bytes.chunks(2).for_each(|part| hasher.update(part));
            assert_eq!(hasher.digits(), digits);
        }
    }

    #[test]
    fn a_listing_is_read_and_a_hostile_one_refused() {
        let (git, sha) = (git_sha1(b"a"), sha256(b"b"));
        let good = json!([
            { "type": "directory", "path": "sub", "oid": git, "size": 0 },
            { "type": "file", "path": "sub/config.json", "oid": git, "size": 1 },
            { "type": "file", "path": "w.safetensors", "oid": git, "size": 130,
              "lfs": { "oid": sha, "size": 9, "pointerSize": 130 }, "xetHash": "x" },
        ]);
        let read = Entry::page(good.to_string().as_bytes()).unwrap();
        assert_eq!(
            read,
            [
                Entry { path: "sub/config.json".into(), size: 1, hash: Hash::Git(git.clone()) },
                Entry { path: "w.safetensors".into(), size: 9, hash: Hash::Sha256(sha.clone()) },
            ]
        );
        let file = |path: &str, oid: &str| json!([{ "type": "file", "path": path, "oid": oid, "size": 1 }]);
        for bad in [
            file("../x", &git),
            file("/etc/passwd", &git),
            file("a/../../x", &git),
            file("a\\x", &git),
            file("a\u{0}b", &git),
            file("", &git),
            file("ok", "../../../../../../../../../../../../../../"),
            file("ok", ""),
            file("ok", &git.to_uppercase()),
            json!([{ "type": "file", "path": "ok", "oid": git, "size": 1, "lfs": { "oid": git, "size": 1 } }]),
            json!([{ "type": "file", "path": "ok", "oid": git, "size": -1 }]),
            json!([{ "type": "directory", "path": "..", "oid": git }]),
            json!({ "error": "no" }),
        ] {
            let problem = Entry::page(bad.to_string().as_bytes()).unwrap_err();
            assert!(problem.what.contains("list of files"), "{bad}: {problem:?}");
        }
        assert!(Entry::page(b"<html>").is_err());
    }
}
