//! PNG and JPEG to pixels.

use std::fmt::Display;

use stratune_protocol::Problem;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_png::PngDecoder;

use super::orientation::{orientation, turned};
use super::{CHANNELS, Pixels};
use crate::unpack::{contradicts_itself, guarded};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];

/// Longest side that is read. A few kilobytes can hold an image of any size.
const LONGEST: usize = 8192;

/// Reads a PNG or JPEG in red, green and blue, turned as its camera says. Transparency is left out, as Pillow's
/// `convert("RGB")` does. `name` is the file's, for errors.
///
/// # Errors
/// It is no such image, is damaged, or has a side of more than 8192 pixels.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Pixels, Problem> {
    let read = || match bytes {
        bytes if bytes.starts_with(PNG) => read_png(name, bytes),
        bytes if bytes.starts_with(JPEG) => read_jpeg(name, bytes),
        _ => Err(Problem::input("the file is neither a PNG nor a JPEG").at(name).next("convert it, or leave it out")),
    };
    guarded(read).unwrap_or_else(|| Err(contradicts_itself(name)))
}

fn read_png(name: &str, bytes: &[u8]) -> Result<Pixels, Problem> {
    let damaged = |error| damaged(name, error);
    // Strict is: with checksums.
    let options = DecoderOptions::default().set_strict_mode(true).png_set_strip_to_8bit(true);
    let mut decoder = PngDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (height, width) = sides(name, height, width)?;
    let values = decoder.decode_raw().map_err(damaged)?;
    let samples = decoder.colorspace().map_or(CHANNELS, |color| color.num_components());
    let values = match samples {
        CHANNELS => values,
        1 | 2 => values.chunks_exact(samples).flat_map(|pixel| [pixel[0]; CHANNELS]).collect(),
        _ => values.chunks_exact(samples).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
    };
    let orientation = decoder.info().and_then(|info| orientation(info.exif.as_deref()?));
    whole(name, Pixels { height, width, values }).map(|image| turned(image, orientation))
}

fn read_jpeg(name: &str, bytes: &[u8]) -> Result<Pixels, Problem> {
    let damaged = |error| damaged(name, error);
    // Cameras leave bytes between headers, which is not strict.
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (height, width) = sides(name, height, width)?;
    if !ends(bytes) {
        return Err(self::damaged(name, "its end is missing"));
    }
    let values = decoder.decode().map_err(damaged)?;
    let orientation = decoder.exif().and_then(|exif| orientation(exif));
    whole(name, Pixels { height, width, values }).map(|image| turned(image, orientation))
}

/// The image, if it has as many values as its sides say.
fn whole(name: &str, image: Pixels) -> Result<Pixels, Problem> {
    match image.values.len() == image.height * image.width * CHANNELS {
        true => Ok(image),
        false => Err(damaged(name, "it has another number of values than its header says")),
    }
}

/// The sides, where none is too long.
fn sides(name: &str, height: usize, width: usize) -> Result<(usize, usize), Problem> {
    if height.max(width) <= LONGEST && height.min(width) > 0 {
        return Ok((height, width));
    }
    let what = format!("the image has {width} x {height} pixels, where 1 to {LONGEST} a side are read");
    Err(Problem::input(what).at(name).next("make it smaller, or leave it out"))
}

fn damaged(name: &str, why: impl Display) -> Problem {
    // Some reasons end their line.
    Problem::input(format!("the image is damaged: {}", why.to_string().trim_end()))
        .at(name)
        .next("write or download it again, or leave it out")
}

/// Whether a JPEG has its end. The decoder makes a grey area of what is missing.
fn ends(mut bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    // What is no marker behind 0xff, or one without a length: a value of that size, restarts, the beginning, padding.
    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0x01 | 0xd0..=0xd8 | 0xff);
    while let Some(at) = bytes.windows(2).position(is_marker) {
        let marker = bytes[at + 1];
        bytes = &bytes[at + 2..];
        if marker == END {
            return true;
        }
        // A segment, such as a small image for lists, which has an end of its own.
        let length = bytes.first_chunk().map_or(usize::MAX, |length| usize::from(u16::from_be_bytes(*length)));
        bytes = bytes.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PHOTO: &[u8] = include_bytes!("../../../../tests/fixtures/images/photo.jpg");
    const DRAWING: &[u8] = include_bytes!("../../../../tests/fixtures/images/drawing.png");

    /// A PNG, and what Pillow reads of it.
    #[derive(serde::Deserialize)]
    struct Form {
        name: String,
        bytes: Vec<u8>,
        values: Vec<u8>,
    }

    fn forms() -> Vec<Form> {
        serde_json::from_slice(include_bytes!("../../../../tests/fixtures/images/forms.json")).unwrap()
    }

    #[test]
    fn every_form_of_a_png() {
        let forms = forms();
        assert_eq!(forms.len(), 29);
        for form in &forms[1..] {
            let image = decode(&form.name, &form.bytes).unwrap();
            assert_eq!(image, Pixels { height: 7, width: 11, values: form.values.clone() }, "{}", form.name);
        }
    }

    /// The photo with other sides in its header, which has no checksum.
    fn photo_of(width: u16, height: u16) -> Vec<u8> {
        let header = PHOTO.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        let mut file = PHOTO.to_vec();
        file[header + 5..header + 7].copy_from_slice(&height.to_be_bytes());
        file[header + 7..header + 9].copy_from_slice(&width.to_be_bytes());
        file
    }

    #[test]
    fn what_is_cut_off_is_damaged() {
        for (name, file) in [("photo.jpg", PHOTO), ("drawing.png", DRAWING)] {
            decode(name, file).unwrap();
            for length in (8..file.len() - 12).step_by(7) {
                let problem = decode(name, &file[..length]).unwrap_err();
                assert!(problem.what.contains("damaged") && problem.at == name, "{length} bytes: {problem:?}");
            }
        }
        // The end of a small image inside is not that of the image.
        let inside = [&PHOTO[..2], &[0xff, 0xe2, 0, 6, 0xff, 0xd8, 0xff, 0xd9], &PHOTO[2..]].concat();
        decode("photo.jpg", &inside).unwrap();
        assert!(decode("photo.jpg", &inside[..inside.len() - 2]).is_err());
    }

    #[test]
    fn damage_is_named() {
        for (name, file) in [("photo.jpg", PHOTO), ("drawing.png", DRAWING)] {
            for at in 0..file.len() {
                let mut file = file.to_vec();
                file[at] ^= 0x55;
                let read = decode(name, &file);
                // A PNG has checksums.
                assert!(read.is_err() || name == "photo.jpg", "byte {at} of {name}");
                if let Err(problem) = read {
                    assert!(problem.at == name && !problem.what.contains("contradict"), "byte {at}: {problem:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_huge_or_no_image_is_named() {
        for (file, what) in [
            (photo_of(65535, 65535), "65535 x 65535 pixels"),
            (photo_of(1, 8193), "1 x 8193 pixels"),
            (forms().swap_remove(0).bytes, "8193 x 1 pixels"),
            (b"GIF89a\x01\x00\x01\x00".to_vec(), "neither a PNG nor a JPEG"),
            (b"cat".to_vec(), "neither a PNG nor a JPEG"),
            (Vec::new(), "neither a PNG nor a JPEG"),
        ] {
            let problem = decode("cat/1.jpg", &file).unwrap_err();
            assert!(problem.what.contains(what) && problem.at == "cat/1.jpg", "{problem:?}");
        }
    }

    #[test]
    fn photos_are_turned_as_their_camera_says() {
        let plain = decode("photo.jpg", PHOTO).unwrap();
        // A directory of one entry, orientation, that says: a quarter to the right.
        let entry = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let turned = decode("photo.jpg", &[&PHOTO[..2], entry, &PHOTO[2..]].concat()).unwrap();
        assert_eq!((turned.height, turned.width), (40, 27));
        assert_eq!(turned, super::turned(plain, Some(6)));
    }
}
