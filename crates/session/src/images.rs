//! Models that read images: how they want them, and what they say of one.

use stratune_data::{ImageProcessor, Label, Sequence, SourceFile, Target, Tokenizer, image_patches};
use stratune_models::ModelConfig;
use stratune_protocol::Problem;
use stratune_store::ModelFolder;

use crate::Base;
use crate::labels::{classify_rows, named_labels};

const FILE: &str = "preprocessor_config.json";

/// What stands for a tokenizer where there are no texts: the one token that a vision transformer has before its patches.
const CLASS_TOKEN: &[u8] =
    br#"{"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"[CLS]": 0}, "unk_token": "[CLS]"}}"#;

/// How a model that reads images wants them; none of another.
///
/// # Errors
/// Its folder does not say so, or says what is not computed.
pub async fn read_image_processor(
    files: &ModelFolder,
    config: &ModelConfig,
) -> Result<Option<ImageProcessor>, Problem> {
    let Some(image) = config.image else { return Ok(None) };
    let at = format!("{}/{FILE}", files.label());
    let Some(json) = files.file(FILE).await? else {
        return Err(Problem::input(format!("there is no {FILE}, which says how images become numbers"))
            .at(files.label())
            .next("add the one that belongs to the model"));
    };
    let processor = ImageProcessor::read_config(&json).map_err(|problem| problem.at(&at))?;
    if (processor.height, processor.width) != (image.height, image.width) {
        let [there, want] =
            [(processor.height, processor.width), (image.height, image.width)].map(|(h, w)| format!("{h} x {w}"));
        return Err(Problem::input(format!("its size is {there}, and images of this model have {want} pixels"))
            .at(at)
            .next("use the file that belongs to these weights"));
    }
    Ok(Some(processor))
}

/// The tokenizer of a model that reads images: of its one token.
pub(crate) fn image_tokenizer() -> Result<Tokenizer, Problem> {
    Tokenizer::from_json(CLASS_TOKEN, None, "")
}

/// The labels that a model gives an image with their probabilities, the likeliest first; of a model that says numbers the
/// number.
///
/// # Errors
/// The model reads texts or has no classifier, the image is damaged, or the device does not answer.
pub async fn label_image(
    base: &Base,
    model: &stratune_models::Model,
    file: &SourceFile,
) -> Result<Vec<(String, f32)>, Problem> {
    let Some((processor, image)) = base.images.as_ref().zip(model.config.image) else {
        return Err(Problem::input("the model reads texts, and this is an image").at(&file.name).next("give a text"));
    };
    let row = Sequence::of_image(image_patches(file, processor, image.patch_size)?);
    // What is right is not known, and nothing asks.
    let row = Sequence { label: Some(Label { at: 0, target: Target::Class(0) }), ..row };
    let said = classify_rows(model, &[row], &mut |_| {}).await?.pop().unwrap_or_default();
    named_labels(model, &said)
}
