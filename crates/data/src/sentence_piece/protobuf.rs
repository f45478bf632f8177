//! Fields of a message of Protocol Buffers, one after another: as many kinds as `tokenizer.model` has.

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A whole number or a switch.
    Number(u64),
    /// A float.
    Float(f32),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers, in the order in which they are written.
///
/// # Errors
/// It is cut short, or has a kind of field that no such file has.
pub(super) fn fields(mut message: &[u8]) -> Result<Vec<(u64, Value<'_>)>, String> {
    const SHORT: &str = "it is cut short";
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message).ok_or(SHORT)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut message).ok_or(SHORT)?),
            1 => Value::Bytes(take(&mut message, 8).ok_or(SHORT)?),
            2 => {
                let length = varint(&mut message).and_then(|length| usize::try_from(length).ok()).ok_or(SHORT)?;
                Value::Bytes(take(&mut message, length).ok_or(SHORT)?)
            }
            5 => {
                let bytes = take(&mut message, 4).and_then(|bytes| bytes.try_into().ok()).ok_or(SHORT)?;
                Value::Float(f32::from_le_bytes(bytes))
            }
            other => return Err(format!("a field is of the wire type {other}")),
        };
        fields.push((key >> 3, value));
    }
    Ok(fields)
}

fn take<'a>(message: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(count)?;
    *message = rest;
    Some(taken)
}

/// Seven bits a byte, the lowest first; the last byte has no eighth.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_each_kind_are_read() {
        // 3 = 300, 1 = "ab", 2 = 1.5, 41 = −1.
        let message =
            [&[0x18, 0xac, 0x02, 0x0a, 2, b'a', b'b', 0x15, 0, 0, 0xc0, 0x3f, 0xc8, 0x02][..], &[0xff; 9], &[1]];
        let message = message.concat();
        let want =
            [(3, Value::Number(300)), (1, Value::Bytes(b"ab")), (2, Value::Float(1.5)), (41, Value::Number(u64::MAX))];
        assert_eq!(fields(&message).unwrap(), want);
        for cut in [1, 2, 4, 5, 6, 8, 13, 20] {
            assert!(fields(&message[..cut]).is_err(), "{cut}");
        }
        assert!(fields(&[0x0b]).unwrap_err().contains("wire type 3"));
        assert!(fields(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }
}
