//! Tables in Parquet, as texts of their rows.

use std::io::Write;

use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use bytes::Bytes;
use serde_json::Value;
use stratune_protocol::Problem;

use crate::{packed, parquet_pages, unpack};

/// Writes the text of a table: the list of its columns, then a row a line. Values may be lists of messages.
pub(crate) fn write_rows(name: &str, bytes: Vec<u8>, to: &mut dyn Write) -> Result<(), Problem> {
    let bad = |error: ParquetError| bad(name, &error.to_string());
    let mut line = |begin: &str, value: Value| {
        to.write_all(format!("{begin}{value}\n").as_bytes()).map_err(|error| unpack::failed(name, &error))
    };
    let bytes = Bytes::from(bytes);
    let file = SerializedFileReader::new(bytes.clone()).map_err(bad)?;
    check(file.metadata(), &bytes).map_err(bad)?;
    let schema = file.metadata().file_metadata().schema();
    line(&packed::TABLE.to_string(), schema.get_fields().iter().map(|field| field.name()).collect())?;
    for row in file.get_row_iter(None).map_err(bad)? {
        line("", row.map_err(bad)?.to_json_value())?;
    }
    Ok(())
}

/// Where columns and their pages are, which the reader takes on trust.
fn check(metadata: &ParquetMetaData, bytes: &[u8]) -> Result<(), ParquetError> {
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        let place = usize::try_from(start).ok().zip(usize::try_from(column.compressed_size()).ok());
        let pages = place.and_then(|(start, length)| bytes.get(start..start.checked_add(length)?));
        let why = match pages {
            Some(pages) => parquet_pages::check(pages).err(),
            None => Some("it is not in the file".to_owned()),
        };
        if let Some(why) = why {
            return Err(ParquetError::General(format!("in the column {}, {why}", column.column_path())));
        }
    }
    Ok(())
}

fn bad(name: &str, why: &str) -> Problem {
    Problem::input(format!("the file cannot be read as Parquet: {why}")).at(name).next(
        match cfg!(target_family = "wasm") {
            true => "write or download it again, compressed by snappy, gzip or lz4",
            false => "write or download it again, compressed by snappy, gzip, lz4 or zstd",
        },
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use rand::RngExt;
    use stratune_protocol::{DataConfig, draws};

    use super::*;
    use crate::{Source, SourceFile, json, read_rows};

    /// A file of the fixtures' rows.
    pub(crate) fn file(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/../../tests/fixtures/rows/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn read(name: &str, bytes: Vec<u8>, config: &DataConfig) -> Result<Source, Problem> {
        read_rows(&[SourceFile { name: name.into(), bytes, held_out: false }], config)
    }

    #[test]
    fn every_codec_and_encoding_gives_its_rows() {
        let rows = String::from_utf8(file("rows.jsonl")).unwrap();
        for config in [
            DataConfig::default(),
            DataConfig { messages_column: "messages".into(), ..DataConfig::default() },
            DataConfig { prompt_template: "{prompt} {id} {score} {kept}".into(), ..DataConfig::default() },
        ] {
            let wanted: Vec<_> = json::read("rows.jsonl", &rows, &config).unwrap().rows;
            assert_eq!(wanted.len(), 40);
            for name in ["snappy", "gzip", "zstd", "lz4", "plain", "delta"] {
                let source = read("rows", file(&format!("{name}.parquet")), &config).unwrap();
                let found = source.rows.iter().map(|(_, row)| row);
                assert!(found.eq(wanted.iter().map(|(_, row)| row)), "{name}");
                assert_eq!((source.rows[6].0.as_str(), source.format.as_str()), ("rows, row 7", "parquet"));
            }
        }
    }

    /// A few bytes changed, dropped, doubled or cut off, some of them in the metadata at the end.
    fn damaged(file: &[u8], copy: u64) -> Vec<u8> {
        let mut rng = draws(copy, "parquet", [0, 0]);
        let mut bytes = file.to_vec();
        for _ in 0..rng.random_range(1..4) {
            let from = if rng.random_bool(0.5) { bytes.len() * 3 / 4 } else { 0 };
            let at = rng.random_range(from..bytes.len().max(from + 1)).min(bytes.len() - 1);
            match rng.random_range(0..8) {
                0..4 => bytes[at] ^= 1 << rng.random_range(0..8),
                4 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
                5 => drop(bytes.remove(at)),
                6 => bytes.insert(at, rng.random()),
                _ => {
                    let end = (at + 8).min(bytes.len());
                    bytes[at..end].fill(rng.random());
                }
            }
        }
        bytes
    }

    #[test]
    fn a_damaged_file_is_refused_or_read() {
        let mut refused = 0;
        for name in ["snappy", "gzip", "zstd", "lz4", "plain", "delta"] {
            let file = file(&format!("{name}.parquet"));
            for copy in 0..200 {
                let read = read("a", damaged(&file, copy), &DataConfig::default());
                refused += usize::from(read.is_err_and(|problem| !problem.what.is_empty() && !problem.next.is_empty()));
            }
        }
        assert!(refused > 600, "{refused} of 1200");
    }

    #[test]
    fn what_is_not_read_is_told() {
        let problem = read("a", file("brotli.parquet"), &DataConfig::default()).unwrap_err();
        assert!(problem.what.to_lowercase().contains("brotli") && problem.next.contains("snappy"), "{problem:?}");
        let config = DataConfig { prompt_column: "x".into(), ..DataConfig::default() };
        let problem = read("a", file("snappy.parquet"), &config).unwrap_err();
        assert!(problem.what.contains("its columns are prompt, completion, system, messages, id"), "{problem:?}");
    }
}
