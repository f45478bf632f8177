//! Images as rows: which class a file is of, its pixels, and what a model reads of them.
//!
//! [`image_folder`] takes classes from paths, [`decode`] reads a PNG or JPEG, and an [`ImageProcessor`] makes it the size
//! that the model was made for, and patches of it.

#[cfg(feature = "unpack")]
mod decode;
mod folder;
mod load;
#[cfg(feature = "unpack")]
mod orientation;
mod patches;
mod plain;
mod processor;
mod resize;

#[cfg(feature = "unpack")]
pub use decode::decode;
pub use folder::{ImageFolder, LabelledImage, image_folder};
pub use load::{image_patches, load_images};
pub use patches::{Normalization, Patches};
pub use plain::is_image;
pub(crate) use plain::no_text;
pub use processor::ImageProcessor;
pub use resize::Resample;

/// Red, green and blue.
pub(crate) const CHANNELS: usize = 3;

/// An image in eight bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// [height, width, 3]: red, green and blue.
    pub values: Vec<u8>,
}

#[cfg(all(test, feature = "unpack"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde::Deserialize;

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");

    fn file(path: &str) -> Vec<u8> {
        std::fs::read(format!("{FOLDER}/{path}")).unwrap()
    }

    #[derive(Deserialize)]
    struct Resized {
        file: String,
        height: usize,
        width: usize,
        resample: u32,
        values: Vec<u8>,
    }

    /// Bit for bit of a PNG. Decoders of JPEG round differently: within 2.
    #[test]
    fn images_are_resized_as_pillow_does() {
        for expected in serde_json::from_slice::<Vec<Resized>>(&file("images/resized.json")).unwrap() {
            let Resized { file: name, height, width, resample, values } = expected;
            let resample = if resample == 2 { Resample::Bilinear } else { Resample::Bicubic };
            let processor = ImageProcessor { height, width, resample, ..ImageProcessor::default() };
            let image = processor.read(&name, &file(&format!("images/{name}"))).unwrap();
            assert_eq!((image.height, image.width, image.values.len()), (height, width, values.len()));
            let off = image.values.iter().zip(&values).map(|(ours, theirs)| ours.abs_diff(*theirs)).max().unwrap();
            let allowed = if name.ends_with(".jpg") { 2 } else { 0 };
            assert!(off <= allowed, "{name} in {height} x {width}: off by {off}");
        }
    }

    #[derive(Deserialize)]
    struct Answers {
        rows: Vec<Answer>,
    }

    #[derive(Deserialize)]
    struct Answer {
        file: String,
        pixel_values: Vec<f32>,
    }

    /// One patch of the whole image is its pixels by channel.
    #[test]
    fn pixels_are_those_of_transformers() {
        let processor = ImageProcessor::read_config(&file("tiny-vit/preprocessor_config.json")).unwrap();
        for row in serde_json::from_slice::<Answers>(&file("tiny-vit/logits.json")).unwrap().rows {
            let image = processor.read(&row.file, &file(&format!("images/{}", row.file))).unwrap();
            let pixels = processor.patches(&image, 16).unwrap().normalized();
            assert_eq!(pixels.len(), row.pixel_values.len());
            let off = pixels.iter().zip(&row.pixel_values).map(|(ours, theirs)| (ours - theirs).abs());
            let off = off.fold(0.0_f32, f32::max);
            let allowed = if row.file.ends_with(".jpg") { 2.0 / 255.0 / 0.224 } else { 2e-6 };
            assert!(off <= allowed, "{}: off by {off}", row.file);
        }
    }
}
