//! Images as plain values: what another program has read of a PNG or JPEG, in the form that Netpbm calls PPM.

use stratune_protocol::Problem;

use super::{CHANNELS, Pixels};

/// How an image in eight bits begins.
const MAGIC: &[u8] = b"P6\n";
/// How files begin that are decoded first.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];

/// Whether a file is a PNG or a JPEG.
pub fn is_image(bytes: &[u8]) -> bool {
    bytes.starts_with(PNG) || bytes.starts_with(JPEG)
}

impl Pixels {
    /// Its sides and its values, one behind the other.
    pub fn to_plain(&self) -> Vec<u8> {
        let head = format!("P6\n{} {}\n255\n", self.width, self.height);
        [head.as_bytes(), &self.values].concat()
    }

    /// What [`to_plain`](Self::to_plain) has written; none of another file.
    pub(crate) fn of_plain(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.strip_prefix(MAGIC)?.splitn(3, |byte| *byte == b'\n');
        let (sides, most, values) = (parts.next()?, parts.next()?, parts.next()?);
        let (width, height) = std::str::from_utf8(sides).ok()?.split_once(' ')?;
        let (width, height): (usize, usize) = (width.parse().ok()?, height.parse().ok()?);
        let count = width.checked_mul(height)?.checked_mul(CHANNELS)?;
        (most == b"255" && values.len() == count && count > 0).then(|| Self { height, width, values: values.to_vec() })
    }
}

/// What is said of an image where texts are read.
pub(crate) fn no_text(name: &str) -> Problem {
    Problem::input("the file is an image, and this model reads texts")
        .at(name)
        .next("choose a vision model, such as google/vit-base-patch16-224, or give texts")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        // Values that are line ends are none.
        let image = Pixels { height: 1, width: 2, values: vec![10, 10, 32, 0, 255, 10] };
        let plain = image.to_plain();
        assert_eq!(Pixels::of_plain(&plain), Some(image));
        for other in [
            &plain[..plain.len() - 1],
            b"P6\n0 0\n255\n",
            b"P6\n1 1\n65535\nabc",
            b"P6\n9999999999999 9999999999999\n255\n",
            b"P5",
        ] {
            assert_eq!(Pixels::of_plain(other), None);
        }
    }
}
