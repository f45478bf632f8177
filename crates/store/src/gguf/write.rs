//! Small GGUF files for tests.

use super::block_type::BlockType;

/// A file in the making.
#[derive(Clone, Default)]
pub(super) struct Writer {
    keys: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

/// Where a field of a file is, and what it is.
pub(super) type Field = (usize, &'static str);

pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Writer {
    /// With a value of this type.
    pub fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push((key.into(), kind, value.into()));
        self
    }

    pub fn word(self, key: &str, value: &str) -> Self {
        self.key(key, 8, &text(value))
    }

    pub fn u32(self, key: &str, value: u32) -> Self {
        self.key(key, 4, &value.to_le_bytes())
    }

    pub fn texts(self, key: &str, texts: &[&str]) -> Self {
        let mut value = [8_u32.to_le_bytes().to_vec(), (texts.len() as u64).to_le_bytes().to_vec()].concat();
        value.extend(texts.iter().flat_map(|t| text(t)));
        self.key(key, 9, &value)
    }

    /// With a tensor, its sizes innermost first, of this number of a type.
    pub fn tensor_of(mut self, name: &str, sizes: &[u64], id: u32, bytes: Vec<u8>) -> Self {
        self.tensors.push((name.into(), sizes.into(), id, bytes));
        self
    }

    pub fn floats(self, name: &str, sizes: &[u64], numbers: &[f32]) -> Self {
        debug_assert_eq!(BlockType::F32.name(), "F32");
        self.tensor_of(name, sizes, 0, numbers.iter().flat_map(|n| n.to_le_bytes()).collect())
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.with_fields().0
    }

    /// The file, and where its fields begin.
    pub fn with_fields(&self) -> (Vec<u8>, Vec<Field>) {
        let mut out: Vec<u8> = Vec::new();
        let mut fields: Vec<Field> = Vec::new();
        let mut add = |out: &mut Vec<u8>, what: &'static str, bytes: &[u8]| {
            fields.push((out.len(), what));
            out.extend_from_slice(bytes);
        };
        add(&mut out, "magic", b"GGUF");
        add(&mut out, "version", &3_u32.to_le_bytes());
        add(&mut out, "tensors", &(self.tensors.len() as u64).to_le_bytes());
        add(&mut out, "keys", &(self.keys.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.keys {
            add(&mut out, "key", &text(key));
            add(&mut out, "type", &kind.to_le_bytes());
            add(&mut out, "value", value);
        }
        let mut offset = 0_u64;
        for (name, sizes, id, bytes) in &self.tensors {
            add(&mut out, "name", &text(name));
            add(&mut out, "dimensions", &(sizes.len() as u32).to_le_bytes());
            sizes.iter().for_each(|size| add(&mut out, "size", &size.to_le_bytes()));
            add(&mut out, "tensor type", &id.to_le_bytes());
            add(&mut out, "offset", &offset.to_le_bytes());
            offset = (offset + bytes.len() as u64).next_multiple_of(32);
        }
        for (.., bytes) in &self.tensors {
            let padding = out.len().next_multiple_of(32) - out.len();
            add(&mut out, "padding", &vec![0; padding]);
            add(&mut out, "numbers", bytes);
        }
        (out, fields)
    }
}
