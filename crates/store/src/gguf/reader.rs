//! The front of a GGUF file, value after value: read in parts, as much as is asked for, every length checked before it is
//! believed.

use std::ops::Range;

use serde_json::{Number, Value};
use sha2::{Digest, Sha256};
use stratune_protocol::Problem;

use super::value::{Element, GgufValue, LIST};
use crate::folder::{Folder, missing, place};

pub(super) const DAMAGED: &str = "the file is damaged or not GGUF; download or write it again";

/// Bytes that are read at once.
const PART: u64 = 1 << 20;

/// Longest header that is believed: that of a vocabulary of 262,144 tokens with its merges has 15 MB.
const LONGEST: u64 = 64 << 20;

/// Most elements that the arrays of a file may have together, for each is a value of its own in memory.
const MOST_ELEMENTS: u64 = 1 << 22;

/// Reads a file from its front.
pub(super) struct Reader<'a> {
    folder: &'a dyn Folder,
    name: &'a str,
    /// Where that is, for messages.
    pub at: String,
    /// Bytes of the file.
    pub size: u64,
    /// Of what was read, and what of it is yet to be taken.
    window: Vec<u8>,
    ahead: Range<usize>,
    /// The byte of the file that is taken next.
    position: u64,
    /// Elements that arrays may still have.
    elements: u64,
    hash: Sha256,
}

impl<'a> Reader<'a> {
    /// At the first byte of a file.
    ///
    /// # Errors
    /// It is not there.
    pub fn new(folder: &'a dyn Folder, name: &'a str) -> Result<Self, Problem> {
        let size = folder.size(name).ok_or_else(|| missing(folder, name, "check the name"))?;
        Ok(Self {
            folder,
            name,
            at: place(folder, name),
            size,
            window: Vec::new(),
            ahead: 0..0,
            position: 0,
            elements: MOST_ELEMENTS,
            hash: Sha256::new(),
        })
    }

    /// A problem with the file as it is.
    pub fn bad(&self, what: impl Into<String>) -> Problem {
        Problem::input(what).at(&self.at).next(DAMAGED)
    }

    /// Where the next byte is.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes behind the last that was taken.
    pub fn left(&self) -> u64 {
        self.size - self.position
    }

    /// What tells all that was read from something else.
    pub fn digest(self) -> impl AsRef<[u8]> {
        self.hash.finalize()
    }

    /// The next bytes; `what` they are, for messages.
    ///
    /// # Errors
    /// There are not as many, or more than any header has.
    pub async fn take(&mut self, count: u64, what: &str) -> Result<&[u8], Problem> {
        if count > self.left() {
            let lacking = count - self.left();
            return Err(Problem::input(format!("the file is cut short: {lacking} bytes of {what} are missing"))
                .at(&self.at)
                .next("download or copy it again, in full"));
        }
        if count > LONGEST - self.position.min(LONGEST) {
            return Err(self.bad(format!("its header is longer than {LONGEST} bytes at {what}")));
        }
        let count = count as usize;
        if count > self.ahead.len() {
            self.window.drain(..self.ahead.start);
            let from = self.position + self.window.len() as u64;
            let to = self.size.min(self.position + (count as u64).max(PART));
            self.window.extend(self.folder.read(self.name, Some(from..to)).await?);
            self.ahead = 0..self.window.len();
        }
        let taken = self.ahead.start..self.ahead.start + count;
        self.ahead.start = taken.end;
        self.position += count as u64;
        self.hash.update(&self.window[taken.clone()]);
        Ok(&self.window[taken])
    }

    /// So many bytes as an array.
    async fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what).await?);
        Ok(array)
    }

    pub async fn u32(&mut self, what: &str) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array(what).await?))
    }

    pub async fn u64(&mut self, what: &str) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array(what).await?))
    }

    /// How many there are of things of at least `least` bytes each.
    ///
    /// # Errors
    /// There is no room in the file for so many.
    pub async fn count(&mut self, least: u64, what: &str) -> Result<u64, Problem> {
        let count = self.u64(what).await?;
        if count > self.left() / least {
            return Err(self.bad(format!("it claims {count} {what}, and {} bytes are left", self.left())));
        }
        Ok(count)
    }

    /// A text with its length before it. What is not UTF-8 is replaced.
    pub async fn text(&mut self, what: &str) -> Result<String, Problem> {
        let length = self.u64(what).await?;
        Ok(String::from_utf8_lossy(self.take(length, what).await?).into_owned())
    }

    /// A value of metadata with its type before it, and that type, or that of the elements of a list. Floats become the shortest number that is read back as the same;
    /// those that JSON does not have become null.
    pub async fn value(&mut self, key: &str) -> Result<GgufValue, Problem> {
        let kind = self.u32(key).await?;
        let unknown = |kind: u32| format!("{key} has the type {kind}, which is unknown");
        if kind != LIST {
            let element = Element::from_id(kind).ok_or_else(|| self.bad(unknown(kind)))?;
            return Ok(GgufValue { element, value: self.scalar(kind, key).await? });
        }
        let kind = self.u32(key).await?;
        if kind == LIST {
            return Err(self.bad(format!("{key} is a list of lists, which these files do not have")));
        }
        let known = Element::from_id(kind).zip(least_bytes(kind));
        let (element, least) = known.ok_or_else(|| self.bad(unknown(kind)))?;
        let count = self.count(least, key).await?;
        self.elements = self
            .elements
            .checked_sub(count)
            .ok_or_else(|| self.bad(format!("its lists have more than {MOST_ELEMENTS} elements at {key}")))?;
        let mut values = Vec::with_capacity(count as usize);
        for _ in 0..count {
            values.push(self.scalar(kind, key).await?);
        }
        Ok(GgufValue { element, value: Value::Array(values) })
    }

    async fn scalar(&mut self, kind: u32, key: &str) -> Result<Value, Problem> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array(key).await?).into(),
            1 => i8::from_le_bytes(self.array(key).await?).into(),
            2 => u16::from_le_bytes(self.array(key).await?).into(),
            3 => i16::from_le_bytes(self.array(key).await?).into(),
            4 => self.u32(key).await?.into(),
            5 => i32::from_le_bytes(self.array(key).await?).into(),
            6 => {
                let number = f32::from_le_bytes(self.array(key).await?);
                number.to_string().parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
            }
            7 => match self.array(key).await? {
                [0] => false.into(),
                [1] => true.into(),
                [other] => return Err(self.bad(format!("{key} is {other}, which is no truth value"))),
            },
            8 => self.text(key).await?.into(),
            10 => self.u64(key).await?.into(),
            11 => i64::from_le_bytes(self.array(key).await?).into(),
            12 => Number::from_f64(f64::from_le_bytes(self.array(key).await?)).map_or(Value::Null, Value::Number),
            _ => return Err(self.bad(format!("{key} has the type {kind}, which is unknown"))),
        })
    }
}

/// The fewest bytes that a value of this type has.
fn least_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        8 | 10..=12 => Some(8),
        _ => None,
    }
}
