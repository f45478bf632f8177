//! The pages of a Parquet file, walked through before any is read: where they lie, and how large they unpack.
//!
//! The crate that reads them allocates what a page's header says, and takes it on trust that pages follow a dictionary.

/// Most bytes of a page when it is decompressed. Writers make pages of a MiB.
const MOST: i64 = 256 << 20;

/// Encodings of values by their place in a dictionary.
const OF_DICTIONARY: [i64; 2] = [2, 8];

/// The kinds of pages.
const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

/// Checks the pages of one column, whose bytes these are. An error says what is wrong.
pub(crate) fn check(column: &[u8]) -> Result<(), String> {
    let (mut rest, mut has_dictionary) = (column, false);
    while !rest.is_empty() {
        let mut reader = Reader { bytes: rest };
        let header = reader.header(0).ok_or("a page's header ends early")?;
        let field = |path: &[u8]| header.iter().find(|(at, _)| at == path).map(|(_, value)| *value);
        let (kind, unpacked, packed) = (field(&[1]), field(&[2]).unwrap_or(-1), field(&[3]).unwrap_or(-1));
        if !(0..=MOST).contains(&unpacked) {
            return Err(format!("a page says that it has {unpacked} bytes, and at most {MOST} are read"));
        }
        let body = usize::try_from(packed).ok().and_then(|packed| reader.bytes.get(packed..));
        rest = body.ok_or("a page is longer than its column")?;
        let (levels, encoding) = match kind {
            Some(DATA) => (0, field(&[5, 2])),
            Some(DATA_V2) => {
                let levels = [field(&[8, 5]).unwrap_or(0), field(&[8, 6]).unwrap_or(0)];
                if levels.iter().any(|length| *length < 0) {
                    return Err("a page has levels of a negative length".into());
                }
                (levels.iter().sum(), field(&[8, 4]))
            }
            Some(DICTIONARY) => {
                has_dictionary = true;
                (0, None)
            }
            _ => return Err("a page is of no kind that is read".into()),
        };
        if levels > packed.min(unpacked) {
            return Err("a page's levels are longer than the page".into());
        }
        if !has_dictionary && encoding.is_some_and(|encoding| OF_DICTIONARY.contains(&encoding)) {
            return Err("a page is written by a dictionary, and there is none".into());
        }
    }
    Ok(())
}

/// A value of the header, by the numbers of the fields that lead to it.
type Field = (Vec<u8>, i64);

/// Bytes of Thrift's compact protocol.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    /// The whole numbers of a structure, `depth` structures deep; none if the bytes end within it, or go on for too long.
    fn header(&mut self, depth: usize) -> Option<Vec<Field>> {
        let (mut fields, mut number) = (Vec::new(), 0_i64);
        while let Some((kind, step)) = self.field()? {
            number = if step == 0 { self.signed()? } else { number + step };
            let of = u8::try_from(number).ok()?;
            match kind {
                1 | 2 => fields.push((vec![of], i64::from(kind == 1))),
                4..=6 => fields.push((vec![of], self.signed()?)),
                12 if depth < 2 => {
                    let inner = self.header(depth + 1)?;
                    fields.extend(inner.into_iter().map(|(path, value)| ([vec![of], path].concat(), value)));
                }
                other => self.pass(other, depth)?,
            }
        }
        Some(fields)
    }

    /// The kind of the next field and how far its number is from the one before; none inside at the end of a structure.
    fn field(&mut self) -> Option<Option<(u8, i64)>> {
        let byte = self.byte()?;
        Some((byte != 0).then_some((byte & 15, i64::from(byte >> 4))))
    }

    /// Passes over a value.
    fn pass(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1 | 2 => {}
            3 => drop(self.byte()?),
            4..=6 => drop(self.unsigned()?),
            7 => self.bytes = self.bytes.get(8..)?,
            8 => {
                let length = usize::try_from(self.unsigned()?).ok()?;
                self.bytes = self.bytes.get(length..)?;
            }
            12 if depth < 8 => {
                while let Some((kind, step)) = self.field()? {
                    if step == 0 {
                        self.unsigned()?;
                    }
                    self.pass(kind, depth + 1)?;
                }
            }
            // The headers of pages have no lists and no maps.
            _ => return None,
        }
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        self.unsigned().map(|value| (value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number as Thrift writes one, in a byte.
    fn short(value: u8) -> u8 {
        value << 1
    }

    /// A page of a kind with so many bytes, packed and unpacked, and the structure in this field.
    fn page(kind: u8, unpacked: &[u8], packed: u8, inside: &[u8], body: usize) -> Vec<u8> {
        let head = [&[0x15, short(kind), 0x15][..], unpacked, &[0x15, short(packed)], inside, &[0]].concat();
        [head, vec![7; body]].concat()
    }

    /// Fields 1 and 2, numbers, within field 5, which is two beyond 3.
    fn data(encoding: u8) -> Vec<u8> {
        vec![0x2c, 0x15, short(3), 0x15, short(encoding), 0]
    }

    #[test]
    fn pages_that_hold_what_they_say_pass() {
        let dictionary = page(2, &[short(4)], 4, &[0x4c, 0x15, short(3), 0x15, 0, 0], 4);
        // Numbers of values, nulls and rows, the encoding, two lengths of levels, of which one is 1, and a yes.
        let second = page(3, &[short(4)], 4, &[0x5c, 0x15, 6, 0x15, 0, 0x15, 6, 0x15, 0, 0x15, 2, 0x15, 0, 0x11, 0], 4);
        for column in [
            Vec::new(),
            page(0, &[short(9)], 3, &data(0), 3),
            [dictionary, page(0, &[short(4)], 4, &data(8), 4), second].concat(),
        ] {
            assert_eq!(check(&column), Ok(()), "{column:?}");
        }
    }

    #[test]
    fn pages_that_do_not_are_refused() {
        let second = |levels: u8| {
            let inside = [0x5c, 0x15, 6, 0x15, 0, 0x15, 6, 0x15, 0, 0x15, levels, 0x15, 0, 0x11, 0];
            page(3, &[short(4)], 4, &inside, 4)
        };
        let huge = [0xfe, 0xff, 0xff, 0xff, 0x0f];
        for (column, why) in [
            (page(0, &[short(4)], 4, &data(0), 3), "longer than its column"),
            (page(0, &huge, 4, &data(0), 4), "2147483647 bytes"),
            (page(0, &[1], 4, &data(0), 4), "-1 bytes"),
            (page(0, &[short(4)], 4, &data(8), 4), "there is none"),
            (page(7, &[short(4)], 4, &[], 4), "no kind"),
            (second(short(5)), "longer than the page"),
            (second(3), "negative"),
            (vec![0x15], "ends early"),
            (vec![0x1c; 40], "ends early"),
            (vec![0x18, 0xff, 0xff, 0xff, 0xff, 0xff], "ends early"),
        ] {
            assert!(check(&column).is_err_and(|told| told.contains(why)), "{why}: {:?}", check(&column));
        }
    }
}
