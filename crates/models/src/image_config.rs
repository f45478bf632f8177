//! What a `config.json` says of the images that a model reads.

use serde_json::Value;

use crate::families::Fields;

/// Longest side of an image, in pixels.
const LONGEST: u64 = 4096;
/// Most patches of one: more positions than any model has.
const MOST_PATCHES: usize = 65_536;
/// Red, green and blue.
const CHANNELS: usize = 3;

/// The images that a model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Rows of pixels of a patch, and pixels of each.
    pub patch_size: usize,
}

impl ImageConfig {
    /// # Errors
    /// Images are not made of whole patches, or have other channels than red, green and blue.
    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, String> {
        let side = |value: &Value| {
            let side = value.as_u64().filter(|side| (1..=LONGEST).contains(side))?;
            usize::try_from(side).ok()
        };
        let sides = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([height, width]) => Some((side(height)?, side(width)?)),
            Some(_) => None,
            None => side(value).map(|side| (side, side)),
        };
        let absent = (224, 224);
        let (height, width) = fields.given("image_size", "size of an image in pixels", sides)?.or(absent, absent);
        let patch_size = fields.given_size("patch_size")?.or(16, 16);
        let channels = fields.given_size("num_channels")?.or(CHANNELS, CHANNELS);
        if channels != CHANNELS {
            return Err(format!("num_channels is {channels}, where {CHANNELS} are computed: red, green and blue"));
        }
        if height % patch_size != 0 || width % patch_size != 0 {
            return Err(format!("images of {height} x {width} are not made of patches of patch_size {patch_size}"));
        }
        let image = Self { height, width, patch_size };
        if image.patches() > MOST_PATCHES {
            return Err(format!("patch_size {patch_size} makes {} patches, more than any model has", image.patches()));
        }
        Ok(image)
    }

    /// Patches of an image.
    pub fn patches(&self) -> usize {
        (self.height / self.patch_size) * (self.width / self.patch_size)
    }

    /// Numbers of a patch.
    pub fn patch_numbers(&self) -> usize {
        CHANNELS * self.patch_size * self.patch_size
    }
}
