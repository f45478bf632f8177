//! What vision transformers say of images, against transformers and PEFT.

use std::collections::BTreeMap;

use burn::tensor::Device;
use serde::Deserialize;
use stratune_data::{ImageProcessor, Label, Pixels, Sequence, Target};
use stratune_models::Model;
use stratune_runtime::read_f32;
use stratune_train::{Batching, Classification};

use super::classifiers::{Gradient, TOLERANCE, hidden, same_gradients};
use super::worst;
use crate::fixtures::{adapted, bytes, json, model};

/// Models that read images.
pub const IMAGE_MODELS: [&str; 1] = ["tiny-vit"];

/// LoRA and a classifier on each.
pub const IMAGE_ADAPTERS: [&str; 1] = ["peft-vit"];

#[derive(Deserialize)]
struct Said {
    rows: Vec<Row>,
    /// What the norm behind the last block makes of the first row.
    hidden: Vec<f32>,
}

#[derive(Deserialize)]
struct Row {
    file: String,
    /// [3, height, width], normalized.
    pixel_values: Vec<f32>,
    logits: Vec<f32>,
}

/// How the images of a model were made numbers.
fn processor(name: &str) -> ImageProcessor {
    ImageProcessor::read_config(bytes(name, "preprocessor_config.json")).expect("an image processor")
}

/// A row of the image that has become these numbers, which its eight bits are found from.
fn sequence(model: &Model, processor: &ImageProcessor, pixel_values: &[f32], class: u32) -> Sequence {
    let (height, width) = (processor.height, processor.width);
    let of = processor.normalization;
    let value = |at: usize| {
        let (pixel, channel) = (at / 3, at % 3);
        let number = pixel_values[channel * height * width + pixel];
        ((number * of.std[channel] + of.mean[channel]) / of.rescale).round() as u8
    };
    let image = Pixels { height, width, values: (0..pixel_values.len()).map(value).collect() };
    let side = model.config.image.expect("a model that reads images").patch_size;
    let patches = processor.patches(&image, side).expect("whole patches");
    Sequence { label: Some(Label { at: 0, target: Target::Class(class) }), ..Sequence::of_image(patches) }
}

/// Each image by itself, and all of them at once.
async fn says(model: &Model, processor: &ImageProcessor, said: &Said, name: &str) {
    let rows: Vec<Sequence> = said.rows.iter().map(|row| sequence(model, processor, &row.pixel_values, 0)).collect();
    let examples: Vec<&Sequence> = rows.iter().collect();
    let mut batches: Vec<(&[&Sequence], &[Row])> =
        (0..rows.len()).map(|r| (&examples[r..=r], &said.rows[r..=r])).collect();
    batches.push((&examples, &said.rows));
    for (b, (examples, want)) in batches.into_iter().enumerate() {
        // Packing changes nothing: there is nothing to pack.
        let batch = Batching::packed(examples.len()).to_device(model, examples);
        let x = hidden(model, &batch);
        if b == 0 {
            let states = read_f32(model.final_norm(x.clone())).await.expect("states");
            let off = worst(&states, &said.hidden);
            assert!(off <= TOLERANCE, "{name}: states are off by {off:e}");
        }
        let got = model.classify(x, batch.positions.clone()).expect("a classifier");
        let got = read_f32(got).await.expect("logits");
        let off = worst(&got, &want.iter().flat_map(|row| row.logits.clone()).collect::<Vec<_>>());
        assert!(off <= TOLERANCE, "{name}, batch {b}: off by {off:e}");
    }
}

/// Models and adapters alike.
pub async fn image_classifiers_agree_with_transformers(device: &Device) {
    for (name, adapter) in IMAGE_MODELS.into_iter().zip(IMAGE_ADAPTERS) {
        let processor = processor(name);
        says(&model(name, device).await, &processor, &json(name, "logits.json").await, name).await;
        says(&adapted(adapter, device).await, &processor, &json(adapter, "logits.json").await, adapter).await;
    }
}

#[derive(Deserialize)]
struct Expected {
    files: Vec<String>,
    labels: Vec<u32>,
    loss: f64,
    gradients: BTreeMap<String, Gradient>,
}

/// Loss and gradients of one batch of images, those of the classifier among them.
pub async fn image_gradients_agree_with_peft(device: &Device) {
    for (name, adapter) in IMAGE_MODELS.into_iter().zip(IMAGE_ADAPTERS) {
        let expected: Expected = json(adapter, "gradients.json").await;
        let said: Said = json(name, "logits.json").await;
        let (model, processor) = (adapted(adapter, device).await, processor(name));
        let of_file = |(file, class): (&String, &u32)| {
            let row = said.rows.iter().find(|row| row.file == *file).expect("a file of the fixture");
            sequence(&model, &processor, &row.pixel_values, *class)
        };
        let rows: Vec<Sequence> = expected.files.iter().zip(&expected.labels).map(of_file).collect();
        let want = (expected.loss, &expected.gradients);
        same_gradients(adapter, (&model, &Classification::default()), &rows, want, false).await;
    }
}
