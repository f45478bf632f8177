//! What `preprocessor_config.json` says of how a model sees images.

use serde::Deserialize;
use serde_json::Value;
use stratune_protocol::Problem;

use super::resize::resize;
use super::{CHANNELS, Normalization, Patches, Pixels, Resample};

/// Longest side that images are made.
const LONGEST: usize = 4096;
const FILE: &str = "preprocessor_config.json";

/// How an image becomes what a vision transformer reads.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    /// Rows of pixels that every image is made, whatever its proportions.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// How values between pixels are found.
    pub resample: Resample,
    /// How its values become numbers.
    pub normalization: Normalization,
}

impl Default for ImageProcessor {
    /// As transformers' `ViTImageProcessor` where a folder says nothing.
    fn default() -> Self {
        let half = [0.5; CHANNELS];
        let normalization = Normalization { rescale: 1.0 / 255.0, mean: half, std: half };
        Self { height: 224, width: 224, resample: Resample::Bilinear, normalization }
    }
}

/// The file, as far as it changes pixels; what it leaves out, or is null, is the default.
#[derive(Deserialize)]
struct Config {
    do_resize: Option<bool>,
    size: Option<Value>,
    resample: Option<u32>,
    do_center_crop: Option<bool>,
    do_pad: Option<bool>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f32>,
    do_normalize: Option<bool>,
    image_mean: Option<[f32; CHANNELS]>,
    image_std: Option<[f32; CHANNELS]>,
}

impl ImageProcessor {
    /// Reads `preprocessor_config.json`.
    ///
    /// # Errors
    /// It is no such file, or asks for what is not done here: another resampling, sizes by the shortest edge, crops.
    pub fn read_config(json: &[u8]) -> Result<Self, Problem> {
        let config: Config = serde_json::from_slice(json)
            .map_err(|error| wrong(format!("it is not the configuration of an image processor: {error}")))?;
        let default = Self::default();
        for (asked, what) in [
            (config.do_resize == Some(false), "do_resize is false"),
            (config.do_center_crop == Some(true), "do_center_crop is true"),
            (config.do_pad == Some(true), "do_pad is true"),
        ] {
            if asked {
                return Err(wrong(format!("{what}, and images are only made one size as a whole")));
            }
        }
        let (height, width) = match &config.size {
            None => (default.height, default.width),
            Some(size) => sides(size).ok_or_else(|| {
                wrong(format!("size is {size}, where one number or height and width from 1 to {LONGEST} are read"))
            })?,
        };
        let resample = match config.resample {
            None | Some(2) => Resample::Bilinear,
            Some(3) => Resample::Bicubic,
            Some(other) => {
                return Err(wrong(format!("resample is {other}, where 2 (bilinear) and 3 (bicubic) are computed")));
            }
        };
        let rescale = match config.do_rescale {
            Some(false) => 1.0,
            _ => config.rescale_factor.unwrap_or(default.normalization.rescale),
        };
        let (mean, std) = match config.do_normalize {
            Some(false) => ([0.0; CHANNELS], [1.0; CHANNELS]),
            _ => (
                config.image_mean.unwrap_or(default.normalization.mean),
                config.image_std.unwrap_or(default.normalization.std),
            ),
        };
        if !mean.iter().chain(&std).chain([&rescale]).all(|number| number.is_finite()) || std.contains(&0.0) {
            return Err(wrong("rescale_factor, image_mean and image_std are not numbers to compute with".into()));
        }
        Ok(Self { height, width, resample, normalization: Normalization { rescale, mean, std } })
    }

    /// The image in this processor's size.
    pub fn resized(&self, image: &Pixels) -> Pixels {
        resize(image, self.height, self.width, self.resample)
    }

    /// Reads an image in this processor's size: a PNG or JPEG, or [plain](Pixels::to_plain). `name` is the file's, for errors.
    ///
    /// # Errors
    /// It is no such image, is damaged or too large; or this program was built without what decodes it.
    pub fn read(&self, name: &str, bytes: &[u8]) -> Result<Pixels, Problem> {
        match Pixels::of_plain(bytes) {
            Some(image) if (image.height, image.width) == (self.height, self.width) => Ok(image),
            Some(image) => Ok(self.resized(&image)),
            None => decoded(name, bytes).map(|image| self.resized(&image)),
        }
    }

    /// The patches of an image.
    ///
    /// # Errors
    /// It is not made of whole patches.
    pub fn patches(&self, image: &Pixels, side: usize) -> Result<Patches, Problem> {
        let Pixels { height, width, values } = image;
        if side == 0 || height % side != 0 || width % side != 0 {
            return Err(Problem::input(format!(
                "{height} x {width} pixels are not made of patches of {side} x {side}"
            ))
            .at(FILE)
            .next("its size is a multiple of patch_size of config.json"));
        }
        let mut patches = Vec::with_capacity(values.len());
        for top in (0..*height).step_by(side) {
            for left in (0..*width).step_by(side) {
                for channel in 0..CHANNELS {
                    for row in top..top + side {
                        let of_row = left..left + side;
                        patches.extend(of_row.map(|column| values[(row * width + column) * CHANNELS + channel]));
                    }
                }
            }
        }
        Ok(Patches { values: patches.into(), side, normalization: self.normalization })
    }
}

#[cfg(feature = "unpack")]
fn decoded(name: &str, bytes: &[u8]) -> Result<Pixels, Problem> {
    super::decode(name, bytes)
}

#[cfg(not(feature = "unpack"))]
fn decoded(name: &str, _: &[u8]) -> Result<Pixels, Problem> {
    Err(Problem::input("the file is no image that this program reads").at(name).next("give a PNG or a JPEG"))
}

/// Height and width; files of 2021 have one number for both.
fn sides(size: &Value) -> Option<(usize, usize)> {
    let side = |value: &Value| {
        let side = usize::try_from(value.as_u64()?).ok()?;
        (1..=LONGEST).contains(&side).then_some(side)
    };
    match size {
        Value::Object(sides) => Some((side(sides.get("height")?)?, side(sides.get("width")?)?)),
        number => side(number).map(|side| (side, side)),
    }
}

fn wrong(what: String) -> Problem {
    Problem::input(what).at(FILE).next("take a model whose images are resized as ViT's are")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn configurations_as_they_have_been_written() {
        let now = br#"{"do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5], "image_processor_type": "ViTImageProcessor", "resample": 2,
            "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}}"#;
        let of_2021 = br#"{"do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": 224}"#;
        for json in [now.as_slice(), of_2021, b"{}", br#"{"size": null, "do_center_crop": null}"#] {
            assert_eq!(ImageProcessor::read_config(json), Ok(ImageProcessor::default()));
        }
        let plain =
            br#"{"do_rescale": false, "do_normalize": false, "resample": 3, "size": {"height": 8, "width": 12}}"#;
        let plain = ImageProcessor::read_config(plain).unwrap();
        assert_eq!((plain.height, plain.width, plain.resample), (8, 12, Resample::Bicubic));
        assert_eq!(plain.normalization.apply(200, 2), 200.0);
    }

    #[test]
    fn what_would_change_pixels_and_is_not_done_is_refused_by_name() {
        for (json, named) in [
            (r#"{"do_center_crop": true}"#, "do_center_crop"),
            (r#"{"do_resize": false}"#, "do_resize"),
            (r#"{"do_pad": true}"#, "do_pad"),
            (r#"{"size": {"shortest_edge": 224}}"#, "shortest_edge"),
            (r#"{"size": 0}"#, "size is 0"),
            (r#"{"size": 1000000000}"#, "size is 1000000000"),
            (r#"{"resample": 1}"#, "resample is 1"),
            (r#"{"image_std": [0.5, 0.0, 0.5]}"#, "image_std"),
            (r#"{"image_mean": [0.5]}"#, "configuration of an image processor"),
            ("[1", "configuration of an image processor"),
        ] {
            let problem = ImageProcessor::read_config(json.as_bytes()).unwrap_err();
            assert!(problem.what.contains(named) && problem.at == FILE, "{json}: {problem:?}");
        }
    }

    #[test]
    fn patches_go_by_rows_and_each_by_channels() {
        let image = Pixels { height: 4, width: 6, values: (0..72).collect() };
        let normalization = Normalization { rescale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
        let processor = ImageProcessor { normalization, ..ImageProcessor::default() };
        let patches = processor.patches(&image, 2).unwrap();
        assert_eq!((patches.count(), patches.numbers()), (6, 12));
        let patches = patches.normalized();
        let value = |row: usize, column: usize, channel: usize| ((row * 6 + column) * 3 + channel) as f32;
        // The fifth patch: rows 2 and 3, columns 2 and 3.
        let expected: Vec<f32> = (0..12).map(|i| value(2 + i / 2 % 2, 2 + i % 2, i / 4)).collect();
        assert_eq!(patches[4 * 12..5 * 12], expected);
        assert_eq!(patches.len(), 72);
        for patch in [0, 4, 5] {
            assert!(processor.patches(&image, patch).unwrap_err().what.contains("patches"));
        }
    }
}
