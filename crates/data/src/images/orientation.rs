//! How a camera was held: cameras store what their sensor saw, and say in EXIF how to turn it.

use super::{CHANNELS, Pixels};

const ORIENTATION: u16 = 0x0112;

/// The orientation that EXIF data name, 1 to 8; none if they name none.
pub(super) fn orientation(exif: &[u8]) -> Option<u16> {
    // A TIFF file: the order of bytes, 42, and where its directory is, of twelve bytes an entry.
    let little = match exif.first_chunk()? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let number = |at: usize| {
        let bytes = exif.get(at..)?.first_chunk()?;
        Some(if little { u16::from_le_bytes(*bytes) } else { u16::from_be_bytes(*bytes) })
    };
    let start = exif.get(4..)?.first_chunk()?;
    let start = if little { u32::from_le_bytes(*start) } else { u32::from_be_bytes(*start) } as usize;
    let count = number(start)?;
    let entry = |i: u16| start.checked_add(2 + 12 * usize::from(i));
    let entry = (0..count).map_while(entry).find(|&at| number(at) == Some(ORIENTATION))?;
    number(entry.checked_add(8)?).filter(|orientation| (1..=8).contains(orientation))
}

/// The image as it is to be seen.
pub(super) fn turned(image: Pixels, orientation: Option<u16>) -> Pixels {
    let Some(orientation @ 2..=8) = orientation else { return image };
    // From 5 on rows and columns are exchanged; then either may run backwards.
    let is_across = orientation >= 5;
    let rows_back = matches!(orientation, 3 | 4 | 6 | 7);
    let columns_back = matches!(orientation, 2 | 3 | 7 | 8);
    let (height, width) = if is_across { (image.width, image.height) } else { (image.height, image.width) };
    let mut values = Vec::with_capacity(image.values.len());
    for row in 0..height {
        for column in 0..width {
            let (row, column) = if is_across { (column, row) } else { (row, column) };
            let row = if rows_back { image.height - 1 - row } else { row };
            let column = if columns_back { image.width - 1 - column } else { column };
            let at = (row * image.width + column) * CHANNELS;
            values.extend_from_slice(&image.values[at..at + CHANNELS]);
        }
    }
    Pixels { height, width, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Pillow's `ImageOps.exif_transpose` turns two rows of three.
    #[test]
    fn images_are_turned_as_pillow_does() {
        let expected = [
            [0, 1, 2, 3, 4, 5],
            [2, 1, 0, 5, 4, 3],
            [5, 4, 3, 2, 1, 0],
            [3, 4, 5, 0, 1, 2],
            [0, 3, 1, 4, 2, 5],
            [3, 0, 4, 1, 5, 2],
            [5, 2, 4, 1, 3, 0],
            [2, 5, 1, 4, 0, 3],
        ];
        let image = |height, width, pixels: [u8; 6]| Pixels {
            height,
            width,
            values: pixels.iter().flat_map(|v| [*v; CHANNELS]).collect(),
        };
        for (orientation, pixels) in (1..).zip(expected) {
            let (height, width) = if orientation < 5 { (2, 3) } else { (3, 2) };
            assert_eq!(
                turned(image(2, 3, expected[0]), Some(orientation)),
                image(height, width, pixels),
                "{orientation}"
            );
        }
        assert_eq!(turned(image(2, 3, expected[0]), None), image(2, 3, expected[0]));
    }

    #[test]
    fn orientations_in_either_order_of_bytes() {
        let little = b"II*\0\x08\0\0\0\x02\0\x00\x01\x03\0\x01\0\0\0\x07\0\0\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0";
        assert_eq!((orientation(little), orientation(big)), (Some(6), Some(3)));
        for length in 0..little.len() - 4 {
            assert_eq!(orientation(&little[..length]), None, "{length} bytes");
        }
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), None);
        assert_eq!(orientation(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0"), None);
    }
}
