//! Packed files to plain ones: those that [`is_packed`](crate::is_packed) names.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::AssertUnwindSafe;

use stratune_protocol::{DataFormat, Problem};

use crate::packed::{PARQUET, is_parquet};
use crate::{compressed, decode, is_image, parquet};

/// Most bytes that a file may have when it is unpacked: what a few bytes unpack to would else have no end.
const MOST: u64 = if cfg!(target_family = "wasm") { 512 << 20 } else { 4 << 30 };

/// Unpacks a file, and writes part after part of what it holds: a compressed one is what it was made of, a table in Parquet
/// a text of its rows, an image its values. [`read_rows`](crate::read_rows) reads either under the name of the packed file.
///
/// # Errors
/// It is damaged, or larger than is read. A few damages that no check finds make decoders panic, which is an error as well;
/// where a program cannot unwind, as in a page, it ends there, and [`contradicts_itself`] is what to say.
pub fn unpack(name: &str, bytes: Cow<'_, [u8]>, format: DataFormat, to: &mut dyn Write) -> Result<(), Problem> {
    let mut to = Limited { to, left: MOST };
    let done = guarded(|| {
        write_plain(name, bytes, format, &mut to)?;
        to.flush().map_err(|error| failed(name, &error))
    });
    done.unwrap_or_else(|| Err(contradicts_itself(name)))
}

/// What is wrong with a file that makes its decoder panic.
pub fn contradicts_itself(name: &str) -> Problem {
    Problem::input("the file cannot be read: its bytes contradict each other")
        .at(name)
        .next("write or download it again")
}

fn write_plain(name: &str, bytes: Cow<'_, [u8]>, format: DataFormat, to: &mut Limited<'_>) -> Result<(), Problem> {
    if is_parquet(&bytes, format) {
        return parquet::write_rows(name, bytes.into_owned(), to);
    }
    let failed = |error: io::Error| failed(name, &error);
    if is_image(&bytes) {
        return to.write_all(&decode(name, &bytes)?.to_plain()).map_err(failed);
    }
    let mut reader = compressed::reader(&bytes).map_err(failed)?;
    let mut head = Vec::new();
    reader.by_ref().take(PARQUET.len() as u64).read_to_end(&mut head).map_err(failed)?;
    if is_parquet(&head, format) {
        io::copy(&mut reader, &mut Limited { to: &mut head, left: MOST }).map_err(failed)?;
        return parquet::write_rows(name, head, to);
    }
    to.write_all(&head).map_err(failed)?;
    io::copy(&mut reader, to).map(drop).map_err(failed)
}

/// What `read` gives; none if it panics.
pub(crate) fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(read)).ok()
}

/// Passes on so many bytes, and no more.
struct Limited<'a> {
    to: &'a mut dyn Write,
    left: u64,
}

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(ErrorKind::FileTooLarge)?;
        self.to.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What it means that a file cannot be decompressed, or that what it holds cannot be written.
pub(crate) fn failed(name: &str, error: &io::Error) -> Problem {
    match error.kind() {
        ErrorKind::FileTooLarge => {
            Problem::input(format!("the file is more than {} MiB when it is unpacked", MOST >> 20))
                .at(name)
                .next("split it into several files")
        }
        _ => Problem::input(format!("the file cannot be decompressed: {error}"))
            .at(name)
            .next("download or compress it again"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::compressed::tests::{gzip, zstd};

    fn whole(bytes: &[u8], format: DataFormat) -> Result<Vec<u8>, Problem> {
        let mut all = Vec::new();
        unpack("a", bytes.into(), format, &mut all).map(|()| all)
    }

    #[test]
    fn a_compressed_table_is_unpacked_to_its_rows() {
        let table = crate::parquet::tests::file("snappy.parquet");
        let rows = whole(&table, DataFormat::Auto).unwrap();
        assert_eq!(rows.iter().filter(|byte| **byte == b'\n').count(), 41);
        for packed in [gzip(&table), zstd(&table)] {
            assert!(whole(&packed, DataFormat::Auto).unwrap() == rows);
            // What is configured as text is left as it is.
            assert!(whole(&packed, DataFormat::Text).unwrap() == table);
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let text = "the ferry leaves at seven ".repeat(90).into_bytes();
        for packed in [gzip(&text), zstd(&text)] {
            let problem = whole(&packed[..packed.len() / 2], DataFormat::Auto).unwrap_err();
            assert!(problem.what.contains("cannot be decompressed") && problem.at == "a", "{problem:?}");
        }
    }

    #[test]
    fn no_more_is_written_than_the_limit() {
        for (left, fits) in [(9, true), (8, false)] {
            let mut all = Vec::new();
            let mut limited = Limited { to: &mut all, left };
            let written = limited.write_all(b"seven").and_then(|()| limited.write_all(b"gone"));
            assert_eq!(written.is_ok(), fits);
            let told = written.err().map(|error| failed("a", &error).what);
            assert!(told.is_none_or(|told| told.contains("more than 4096 MiB")));
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(guarded(|| 7), Some(7));
        assert_eq!(guarded(|| -> u8 { panic!("a decoder's, which a test is not to hear") }), None);
        assert_eq!(contradicts_itself("a").at, "a");
    }
}
