//! Metadata of a GGUF file by their keys.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::families::{Fields, Given};

/// Keys of one architecture, which begin with its name.
#[derive(Debug)]
pub struct Keys<'a> {
    pub(super) architecture: &'a str,
    pub(super) fields: Fields<'a>,
    pub(super) shapes: &'a BTreeMap<String, Vec<usize>>,
    pub(super) tensors: &'a BTreeMap<&'static str, Vec<f32>>,
}

impl Keys<'_> {
    /// What one of [`TENSORS_OF_CONFIG`](super::TENSORS_OF_CONFIG) holds, if it is there.
    pub fn factors(&self, name: &str) -> Option<&[f32]> {
        self.tensors.get(name).map(Vec::as_slice)
    }

    /// Rows of a tensor, if it is there.
    pub fn rows(&self, tensor: &str) -> Option<usize> {
        self.shapes.get(tensor)?.first().copied()
    }

    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A size that may be there.
    ///
    /// # Errors
    /// It is no size; names the key.
    pub fn size(&self, key: &str) -> Result<Option<usize>, String> {
        Ok(self.fields.given_size(&self.key(key))?.or_none())
    }

    /// A number that may be there.
    ///
    /// # Errors
    /// It is no number; names the key.
    pub fn number(&self, key: &str) -> Result<Option<f64>, String> {
        Ok(self.fields.given(&self.key(key), "number", Value::as_f64)?.or_none())
    }

    /// A truth value that may be there.
    ///
    /// # Errors
    /// It is none; names the key.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        Ok(self.fields.given(&self.key(key), "truth value", Value::as_bool)?.or_none())
    }

    /// A size that has to be there.
    ///
    /// # Errors
    /// It is missing, or no size; names the key.
    pub fn needed(&self, key: &str) -> Result<usize, String> {
        self.size(key)?.ok_or_else(|| format!("{} is missing", self.key(key)))
    }

    /// A size that may be given for each block, and is the same for all here.
    pub(super) fn of_all_blocks(&self, key: &str) -> Result<Option<usize>, String> {
        let key = self.key(key);
        let Some(Value::Array(sizes)) = self.fields.get(&key) else {
            return Ok(self.fields.given_size(&key)?.or_none());
        };
        let first = sizes.first().and_then(Value::as_u64).filter(|size| (1..1 << 24).contains(size));
        match first {
            Some(first) if sizes.iter().all(|size| size.as_u64() == Some(first)) => Ok(Some(first as usize)),
            _ => Err(format!("{key} is not the same for all blocks, which is not computed")),
        }
    }

    /// Width of a head.
    ///
    /// # Errors
    /// Keys and values have others, or a key is missing.
    pub fn head_dim(&self) -> Result<usize, String> {
        let heads = self.of_all_blocks("attention.head_count")?;
        let heads = heads.ok_or_else(|| format!("{} is missing", self.key("attention.head_count")))?;
        let plain = self.needed("embedding_length")? / heads;
        let [keys, values] = ["attention.key_length", "attention.value_length"].map(|key| self.size(key));
        let (keys, values) = (keys?.unwrap_or(plain), values?.unwrap_or(plain));
        if keys == values {
            return Ok(keys);
        }
        Err(format!(
            "{} is {keys} and that of values {values}, which is not computed",
            self.key("attention.key_length")
        ))
    }
}

impl<T> Given<T> {
    fn or_none(self) -> Option<T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}
