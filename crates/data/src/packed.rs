//! Files whose rows are packed: compressed by gzip or Zstandard, or a table in Parquet.
//!
//! Unpacked, the first two are the file they were made of, and a table is a text: its columns, then a row a line, in JSON.
//! What reads rows sees these, whether they were unpacked in the same program or, as in a page, in another.

use std::borrow::Cow;

use stratune_protocol::{DataFormat, Problem};

/// How packed files begin.
pub(crate) const GZIP: &[u8] = &[0x1f, 0x8b];
pub(crate) const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
pub(crate) const PARQUET: &[u8] = b"PAR1";

/// How the text of a table begins, before the list of its columns: a character that parts records, and begins none of the
/// files that people write.
pub(crate) const TABLE: char = '\u{1e}';

/// Whether a file that is of this format, as far as is configured, must be unpacked before its rows can be read.
pub fn is_packed(bytes: &[u8], format: DataFormat) -> bool {
    bytes.starts_with(GZIP) || bytes.starts_with(ZSTD) || is_parquet(bytes, format)
}

/// Whether a file is a table in Parquet. A plain text may begin in the same way.
pub(crate) fn is_parquet(bytes: &[u8], format: DataFormat) -> bool {
    bytes.starts_with(PARQUET) && format != DataFormat::Text
}

/// A file's name without the ending of its compression.
pub(crate) fn plain_name(name: &str) -> &str {
    [".gz", ".zst"].into_iter().find_map(|ending| without(name, ending)).unwrap_or(name)
}

/// A name without this ending, whose capitals do not matter.
fn without<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let (plain, end) = name.split_at_checked(name.len().checked_sub(ending.len())?)?;
    end.eq_ignore_ascii_case(ending).then_some(plain)
}

/// The columns of a table that was unpacked, and its rows, a line each; none of any other text.
pub(crate) fn table(text: &str) -> Option<(Vec<String>, &str)> {
    let (columns, rows) = text.strip_prefix(TABLE)?.split_once('\n')?;
    Some((serde_json::from_str(columns).ok()?, rows))
}

/// What a file holds when it is unpacked.
#[cfg(feature = "unpack")]
pub(crate) fn unpacked<'a>(name: &str, bytes: &'a [u8], format: DataFormat) -> Result<Cow<'a, [u8]>, Problem> {
    if !is_packed(bytes, format) {
        return Ok(bytes.into());
    }
    let mut all = Vec::new();
    crate::unpack(name, bytes.into(), format, &mut all)?;
    Ok(all.into())
}

/// The file itself, where nothing can be unpacked.
#[cfg(not(feature = "unpack"))]
pub(crate) fn unpacked<'a>(name: &str, bytes: &'a [u8], format: DataFormat) -> Result<Cow<'a, [u8]>, Problem> {
    match is_packed(bytes, format) {
        false => Ok(bytes.into()),
        true => Err(Problem::input("the file is compressed or in Parquet, which this program was built without")
            .at(name)
            .next("give the rows in JSONL, CSV or TSV, uncompressed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_known_by_its_first_bytes() {
        for (bytes, format, packed) in [
            (GZIP, DataFormat::Auto, true),
            (ZSTD, DataFormat::Text, true),
            (PARQUET, DataFormat::Auto, true),
            (PARQUET, DataFormat::Text, false),
            (b"{}", DataFormat::Auto, false),
            (b"", DataFormat::Parquet, false),
        ] {
            assert_eq!(is_packed(bytes, format), packed, "{bytes:?} {format:?}");
        }
    }

    #[test]
    fn endings_of_compression_are_left_out() {
        for (name, plain) in
            [("a.jsonl.gz", "a.jsonl"), ("a.CSV.ZST", "a.CSV"), ("a.gz", "a"), ("é", "é"), ("gz", "gz"), ("", "")]
        {
            assert_eq!(plain_name(name), plain);
        }
    }

    #[test]
    fn a_table_is_told_from_other_texts() {
        let columns = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(table("\u{1e}[\"a\",\"b\"]\n{}\n{}\n"), Some((columns(), "{}\n{}\n")));
        assert_eq!(table("\u{1e}[\"a\",\"b\"]\n"), Some((columns(), "")));
        for other in ["[\"a\",\"b\"]\n{}\n", "\u{1e}once upon a time\n", "\u{1e}[\"a\",\"b\"]", ""] {
            assert_eq!(table(other), None, "{other:?}");
        }
    }
}
