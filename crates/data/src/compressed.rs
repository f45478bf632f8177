//! Compressed files: gzip and Zstandard, known by their first bytes.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use stratune_protocol::Problem;

/// Most bytes that a file may have when it is decompressed: what a few bytes unpack to would else have no end.
const MOST: u64 = if cfg!(target_family = "wasm") { 512 << 20 } else { 4 << 30 };

/// How the two begin.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A file's name without the ending of its compression, and what it holds.
///
/// # Errors
/// It is damaged, or larger than is read.
pub(crate) fn decompressed<'a>(name: &'a str, bytes: &'a [u8]) -> Result<(&'a str, Cow<'a, [u8]>), Problem> {
    let plain = || [".gz", ".zst"].into_iter().find_map(|ending| without(name, ending)).unwrap_or(name);
    if bytes.starts_with(GZIP) {
        return Ok((plain(), read(name, MultiGzDecoder::new(bytes), MOST)?.into()));
    }
    if !bytes.starts_with(ZSTD) {
        return Ok((name, bytes.into()));
    }
    // A file may be several frames, one behind the other.
    let (mut rest, mut all) = (bytes, Vec::new());
    while !rest.is_empty() {
        let decoder = StreamingDecoder::new(&mut rest).map_err(|error| damaged(name, &error.to_string()))?;
        all.extend(read(name, decoder, MOST - all.len() as u64)?);
    }
    Ok((plain(), all.into()))
}

/// A name without this ending, whose capitals do not matter.
fn without<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let (plain, end) = name.split_at_checked(name.len().checked_sub(ending.len())?)?;
    end.eq_ignore_ascii_case(ending).then_some(plain)
}

fn read(name: &str, reader: impl Read, most: u64) -> Result<Vec<u8>, Problem> {
    let mut all = Vec::new();
    reader.take(most + 1).read_to_end(&mut all).map_err(|error| damaged(name, &error.to_string()))?;
    match all.len() as u64 > most {
        true => Err(Problem::input(format!("the file is more than {} MiB when it is decompressed", most >> 20))
            .at(name)
            .next("split it into several files")),
        false => Ok(all),
    }
}

fn damaged(name: &str, why: &str) -> Problem {
    Problem::input(format!("the file cannot be decompressed: {why}")).at(name).next("download or compress it again")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    /// A text as gzip has it.
    pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// A text as Zstandard has it.
    pub(crate) fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[test]
    fn files_are_decompressed_whole() {
        let text = "the ferry leaves at seven ".repeat(9000).into_bytes();
        let twice = [text.clone(), text.clone()].concat();
        for (name, bytes, plain, whole) in [
            ("a.jsonl.gz", gzip(&text), "a.jsonl", &text),
            ("a.CSV.GZ", gzip(&text), "a.CSV", &text),
            ("a.gz", [gzip(&text), gzip(&text)].concat(), "a", &twice),
            ("a.jsonl.zst", zstd(&text), "a.jsonl", &text),
            ("a.zst", [zstd(&text), zstd(&text)].concat(), "a", &twice),
            ("é", gzip(&text), "é", &text),
            ("a.gz", text.clone(), "a.gz", &text),
        ] {
            let (called, read) = decompressed(name, &bytes).unwrap();
            assert_eq!(called, plain);
            assert!(*read == **whole, "{name}");
        }
    }

    #[test]
    fn what_is_damaged_or_too_large_is_refused() {
        let text = "the ferry leaves at seven ".repeat(90).into_bytes();
        for whole in [gzip(&text), zstd(&text)] {
            let problem = decompressed("a", &whole[..whole.len() / 2]).unwrap_err();
            assert!(problem.what.contains("cannot be decompressed") && problem.at == "a", "{problem:?}");
        }
        assert!(read("a", &text[..], text.len() as u64).is_ok());
        assert!(read("a", &text[..], text.len() as u64 - 1).unwrap_err().what.contains("0 MiB"));
    }
}
