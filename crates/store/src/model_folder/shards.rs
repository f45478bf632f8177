//! The safetensors files of a model folder: one, or several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use stratune_protocol::Problem;

use super::{DOWNLOAD, add, json};
use crate::folder::{Folder, check_name, listing, missing, place};
use crate::header::{Entry, Header, PREFIX};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Where each tensor is, by its name.
pub(super) struct Shards(BTreeMap<String, Located>);

/// Where a tensor is.
struct Located {
    shard: String,
    data_start: u64,
    entry: Entry,
}

/// What is read of `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Reads the headers of all files and adds them to a hash.
    ///
    /// # Errors
    /// There are no weights, a file of the index is missing or damaged, or the index says otherwise than the files.
    pub(super) async fn open(folder: &dyn Folder, hash: &mut Sha256) -> Result<Self, Problem> {
        let index = if folder.size(SINGLE).is_some() { None } else { Some(read_index(folder).await?) };
        let shards: BTreeSet<&str> = match &index {
            None => [SINGLE].into(),
            Some(index) => index.weight_map.values().map(String::as_str).collect(),
        };
        let mut tensors: BTreeMap<String, Located> = BTreeMap::new();
        for shard in shards {
            let (header, text, size) = read_header(folder, shard).await?;
            add(hash, &text);
            hash.update(size.to_le_bytes());
            for (name, entry) in header.tensors {
                if let Some(first) = tensors.get(&name) {
                    let what = format!("tensor '{name}' is in two files: {} and {shard}", first.shard);
                    return Err(Problem::input(what).at(folder.label()).next(DOWNLOAD));
                }
                tensors.insert(name, Located { shard: shard.into(), data_start: header.data_start, entry });
            }
        }
        for (name, shard) in index.iter().flat_map(|index| &index.weight_map) {
            if tensors.get(name).is_none_or(|t| t.shard != *shard) {
                let what = format!("tensor '{name}' is not in {shard}, where the index has it");
                return Err(Problem::input(what).at(place(folder, INDEX)).next(DOWNLOAD));
            }
        }
        Ok(Self(tensors))
    }

    /// How many tensors there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The shape of a tensor, if there is one of that name.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).map(|there| there.entry.shape.as_slice())
    }

    /// The file that a tensor lies in.
    #[cfg(test)]
    pub(super) fn file(&self, name: &str) -> &str {
        &self.0[name].shard
    }

    /// The number format of each tensor, as its header names it.
    pub(super) fn formats(&self) -> BTreeMap<&str, &str> {
        self.0.iter().map(|(name, there)| (name.as_str(), there.entry.dtype.as_str())).collect()
    }

    /// Some of a tensor's numbers, counted in row-major order and all of them there; none if there is no such tensor.
    ///
    /// # Errors
    /// They cannot be read, are of a format that is not read, or are not finite.
    pub(super) async fn numbers(
        &self,
        folder: &dyn Folder,
        name: &str,
        range: Range<usize>,
    ) -> Result<Option<Vec<f32>>, Problem> {
        let Some(Located { shard, data_start, entry }) = self.0.get(name) else { return Ok(None) };
        let at = place(folder, shard);
        let stored = entry.stored(name, &at)?;
        let byte = |number: usize| data_start + entry.data_offsets.0 + number as u64 * stored.bytes() as u64;
        let bytes = folder.read(shard, Some(byte(range.start)..byte(range.end))).await?;
        stored.decode(&bytes, range.start, name, &at).map(Some)
    }

    /// The first bytes, at most `most`, of every `step`th tensor in the order of their names, tensor by tensor.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) async fn beginnings(
        &self,
        folder: &dyn Folder,
        step: usize,
        most: u64,
    ) -> Result<Vec<Vec<u8>>, Problem> {
        let mut found = Vec::new();
        for Located { shard, data_start, entry } in self.0.values().step_by(step) {
            let (begin, end) = entry.data_offsets;
            found.push(folder.read(shard, Some(data_start + begin..data_start + end.min(begin + most))).await?);
        }
        Ok(found)
    }
}

/// Reads the index of a model in shards, and checks that each shard is there.
async fn read_index(folder: &dyn Folder) -> Result<Index, Problem> {
    if folder.size(INDEX).is_none() {
        let next = if folder.names().iter().any(|n| n.ends_with(".bin") || n.ends_with(".pth")) {
            "get the model in safetensors form, or as GGUF; other weight formats are not read"
        } else {
            DOWNLOAD
        };
        let what = format!("the weights are missing: neither {SINGLE} nor {INDEX}; {}", listing(folder));
        return Err(Problem::input(what).at(folder.label()).next(next));
    }
    let index: Index = json(folder, INDEX, &folder.read(INDEX, None).await?)?;
    for shard in index.weight_map.values() {
        check_name(shard, &place(folder, INDEX))?;
        if folder.size(shard).is_none() {
            return Err(missing(folder, shard, DOWNLOAD));
        }
    }
    Ok(index)
}

/// Reads the header of one file: parsed, as it stands, and the size of the file.
async fn read_header(folder: &dyn Folder, name: &str) -> Result<(Header, Vec<u8>, u64), Problem> {
    let at = place(folder, name);
    let size = folder.size(name).ok_or_else(|| missing(folder, name, DOWNLOAD))?;
    let prefix = folder.read(name, Some(0..PREFIX.min(size))).await?;
    let length = Header::length(&prefix, size, &at)?;
    let text = folder.read(name, Some(PREFIX..PREFIX + length)).await?;
    Ok((Header::parse(&text, size, &at)?, text, size))
}
