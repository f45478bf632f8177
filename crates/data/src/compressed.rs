//! Compressed files: gzip and Zstandard.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::packed::GZIP;

/// What a compressed file holds, decompressed as it is read.
///
/// # Errors
/// Its first header is damaged.
pub(crate) fn reader<'a>(bytes: &'a [u8]) -> io::Result<Box<dyn Read + 'a>> {
    match bytes.starts_with(GZIP) {
        true => Ok(Box::new(MultiGzDecoder::new(bytes))),
        false => Ok(Box::new(Frames(frame(bytes)?))),
    }
}

/// The frames of a file of Zstandard, one behind the other.
struct Frames<'a>(Frame<'a>);

type Frame<'a> = StreamingDecoder<&'a [u8], FrameDecoder>;

fn frame(bytes: &[u8]) -> io::Result<Frame<'_>> {
    StreamingDecoder::new(bytes).map_err(io::Error::other)
}

impl Read for Frames<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(to)?;
            let rest = *self.0.get_ref();
            if count > 0 || to.is_empty() || rest.is_empty() {
                return Ok(count);
            }
            self.0 = frame(rest)?;
        }
    }
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
        for (bytes, whole) in [
            (gzip(&text), &text),
            ([gzip(&text), gzip(&text)].concat(), &twice),
            (zstd(&text), &text),
            ([zstd(&text), zstd(b""), zstd(&text)].concat(), &twice),
        ] {
            let mut read = Vec::new();
            reader(&bytes).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == *whole);
            assert!(reader(&bytes[..bytes.len() - 5]).unwrap().read_to_end(&mut read).is_err());
        }
    }
}
