//! The `precompiled_charsmap` of SentencePiece tokenizers: a trie of what is replaced, and the texts that replace it.
//!
//! The crate that reads it follows positions of the trie without a look at its size, so they are followed here first.

/// Checks that each way through the trie stays within it, and ends at a text that is there; says what is wrong.
pub(crate) fn check(base64: &str) -> Result<(), String> {
    let bytes = decode(base64).ok_or("is not base64")?;
    let (size, rest) = bytes.split_first_chunk::<4>().ok_or("is empty")?;
    let count = u32::from_le_bytes(*size) as usize / 4;
    let (trie, texts) = rest.split_at_checked(count * 4).ok_or("is cut short")?;
    let texts = std::str::from_utf8(texts).map_err(|_| "holds texts that are not UTF-8")?;
    let trie: Vec<u32> =
        trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])).collect();
    walk(&trie, texts).ok_or_else(|| "leads out of its trie".into())
}

/// Follows every way from the root. A unit is, from the low end: a label of 8 bits, whether a text ends here, a shift of
/// the offset, and from bit 10 the offset to where the next labels are.
fn walk(trie: &[u32], texts: &str) -> Option<()> {
    let offset = |unit: u32| ((unit >> 10) as usize) << ((unit & (1 << 9)) >> 6);
    let mut seen = vec![false; trie.len()];
    let mut open = vec![offset(*trie.first()?)];
    while let Some(base) = open.pop() {
        // All labels lie within one block of 256.
        trie.get(base | 0xff)?;
        if std::mem::replace(&mut seen[base], true) {
            continue;
        }
        for label in 1..=0xff_u32 {
            let at = base ^ label as usize;
            let unit = trie[at];
            if unit & (1 << 31 | 0xff) != label {
                continue;
            }
            let next = at ^ offset(unit);
            if (unit >> 8) & 1 == 1 {
                let text = (trie.get(next)? & !(1 << 31)) as usize;
                texts.get(text..)?;
            }
            open.push(next);
        }
    }
    Some(())
}

/// Standard base64 with its padding, as the crate that reads it asks for.
fn decode(text: &str) -> Option<Vec<u8>> {
    let padding = text.len() - text.trim_end_matches('=').len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let digits: Vec<u8> = group.iter().map(|&byte| digit(byte)).collect::<Option<_>>()?;
        let whole =
            digits.iter().fold(0_u32, |whole, &digit| whole << 6 | u32::from(digit)) << (6 * (4 - digits.len()));
        // What is left of the last digit is zeros.
        if whole & ((1 << (8 * (4 - digits.len()))) - 1) != 0 {
            return None;
        }
        bytes.extend(&whole.to_be_bytes()[1..digits.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A trie in which `a` is replaced by "xy": the root's labels are in the second block, what follows `a` in the third.
    fn trie() -> Vec<u32> {
        let mut trie = vec![0_u32; 768];
        trie[0] = 256 << 10;
        let a = 256 ^ usize::from(b'a');
        trie[a] = ((a ^ 512) as u32) << 10 | 1 << 8 | u32::from(b'a');
        trie[512] = 1 << 31 | 1;
        trie
    }

    fn encode(trie: &[u32], texts: &[u8]) -> String {
        let mut bytes = (trie.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(trie.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(texts);
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let group = |group: &[u8]| {
            let whole =
                group.iter().chain(&[0, 0]).take(3).fold(0_usize, |whole, &byte| whole << 8 | usize::from(byte));
            (0..4)
                .map(|k| if k <= group.len() { digits[whole >> (18 - 6 * k) & 63] as char } else { '=' })
                .collect::<String>()
        };
        bytes.chunks(3).map(group).collect()
    }

    #[test]
    fn base64_comes_back() {
        for (text, bytes) in
            [("", &b""[..]), ("QQ==", b"A"), ("QUI=", b"AB"), ("QUJD", b"ABC"), ("/+8A", b"\xff\xef\0")]
        {
            assert_eq!(decode(text).as_deref(), Some(bytes));
        }
        assert_eq!(decode("a b"), None);
    }

    #[test]
    fn a_sound_map_is_read_by_the_crate_and_others_are_refused() {
        let good = encode(&trie(), b"\0xy\0");
        check(&good).unwrap();
        let normalizer = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": good});
        let normalizer: tokenizers::NormalizerWrapper = serde_json::from_value(normalizer).unwrap();
        let mut text = tokenizers::NormalizedString::from("banana");
        tokenizers::Normalizer::normalize(&normalizer, &mut text).unwrap();
        assert_eq!(text.get(), "bxynxynxy");

        let bent = |at: usize, unit: u32| {
            let mut trie = trie();
            trie[at] = unit;
            encode(&trie, b"\0xy\0")
        };
        let cases = [
            ("?".into(), "not base64"),
            ("AAA=".into(), "empty"),
            (encode(&trie(), b"\xff"), "UTF-8"),
            (good[..200].into(), "cut short"),
            (encode(&[], b""), "out of its trie"),
            (bent(0, 1024 << 10), "out of its trie"),
            (bent(256 ^ usize::from(b'a'), 4096 << 10 | u32::from(b'a')), "out of its trie"),
            (bent(512, 1 << 31 | 5), "out of its trie"),
        ];
        for (text, why) in cases {
            let told = check(&text).unwrap_err();
            assert!(told.contains(why), "{why}: {told}");
        }
    }

    #[test]
    fn a_trie_that_leads_back_into_itself_ends() {
        let mut trie = trie();
        let a = 256 ^ usize::from(b'a');
        trie[a] = ((a ^ 256) as u32) << 10 | u32::from(b'a');
        check(&encode(&trie, b"\0")).unwrap();
    }
}
