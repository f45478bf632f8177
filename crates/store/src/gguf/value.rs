//! Values of a GGUF file's metadata, with the types that they have there.

use serde_json::Value;

/// Of one value, or of the elements of a list; by its number in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Element {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Text = 8,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

/// The type number of a list.
pub(super) const LIST: u32 = 9;

impl Element {
    const ALL: [Self; 12] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type of this number.
    pub(super) fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|element| *element as u32 == id)
    }

    /// What llama.cpp's writers take for a value that does not say it: 32 bits for all numbers, without a sign for whole ones
    /// by themselves and with one in lists.
    fn of(value: &Value, in_list: bool) -> Self {
        match value {
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_f64() => Self::F32,
            Value::Number(number) if number.is_u64() && !in_list => Self::U32,
            Value::Number(_) => Self::I32,
            _ => Self::Text,
        }
    }

    /// Appends a value; `None` if it is not of this type.
    fn write(self, value: &Value, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::U8 => out.extend(u8::try_from(value.as_u64()?).ok()?.to_le_bytes()),
            Self::I8 => out.extend(i8::try_from(value.as_i64()?).ok()?.to_le_bytes()),
            Self::U16 => out.extend(u16::try_from(value.as_u64()?).ok()?.to_le_bytes()),
            Self::I16 => out.extend(i16::try_from(value.as_i64()?).ok()?.to_le_bytes()),
            Self::U32 => out.extend(u32::try_from(value.as_u64()?).ok()?.to_le_bytes()),
            Self::I32 => out.extend(i32::try_from(value.as_i64()?).ok()?.to_le_bytes()),
            // JSON has no other name for what is no number.
            Self::F32 if value.is_null() => out.extend(f32::NAN.to_le_bytes()),
            Self::F32 => out.extend((value.as_f64()? as f32).to_le_bytes()),
            Self::Bool => out.push(u8::from(value.as_bool()?)),
            Self::Text => text(value.as_str()?, out),
            Self::U64 => out.extend(value.as_u64()?.to_le_bytes()),
            Self::I64 => out.extend(value.as_i64()?.to_le_bytes()),
            Self::F64 if value.is_null() => out.extend(f64::NAN.to_le_bytes()),
            Self::F64 => out.extend(value.as_f64()?.to_le_bytes()),
        }
        Some(())
    }
}

/// Appends a text with its length before it.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A key of the metadata: its value, and the type of that or of its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufValue {
    /// Of the value, or of each element of a list.
    pub element: Element,
    /// A scalar, or a list of such.
    pub value: Value,
}

/// As llama.cpp's writers do it.
impl From<Value> for GgufValue {
    fn from(value: Value) -> Self {
        let element = match &value {
            // A list of floats may have whole ones.
            Value::Array(list) if list.iter().any(Value::is_f64) => Element::F32,
            Value::Array(list) => list.first().map_or(Element::I32, |first| Element::of(first, true)),
            one => Element::of(one, false),
        };
        Self { element, value }
    }
}

impl GgufValue {
    /// Appends the type and the value; `None` if it has a part of another type.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        let Value::Array(list) = &self.value else {
            out.extend((self.element as u32).to_le_bytes());
            return self.element.write(&self.value, out);
        };
        out.extend(LIST.to_le_bytes());
        out.extend((self.element as u32).to_le_bytes());
        out.extend((list.len() as u64).to_le_bytes());
        list.iter().try_for_each(|value| self.element.write(value, out))
    }
}
