//! `stratune classify`

use std::path::PathBuf;

use clap::Args;
use stratune_data::SourceFile;
use stratune_protocol::{BaseDtype, DeviceChoice, Problem};
use stratune_session::{label_image, label_text};

use crate::arguments::choose;
use crate::{hub, open};

/// Label texts, or images, with a model that was trained on labels.
#[derive(Args)]
pub struct Classify {
    /// The model: a folder in Hugging Face form, or the id of a model on the Hugging Face hub, owner/name[@revision]
    #[arg(long)]
    model: String,
    /// The folder of an adapter with a classifier; none if the model has one
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// What the model's matrices are kept as: file (a GGUF's blocks in their own bits), f32, f16, int8 or int4
    #[arg(long, default_value = "file", value_parser = choose::<BaseDtype>)]
    base_dtype: BaseDtype,
    /// auto, cpu, wgpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// The second text of a pair
    #[arg(long, value_name = "TEXT")]
    text_pair: Option<String>,
    /// How many labels are shown, the likeliest first
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// The texts to label, or the files of images
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<String>,
}

impl Classify {
    /// Prints each text's labels with their probabilities, or its number.
    pub async fn run(self, json: bool) -> Result<(), Problem> {
        let opened = open::device(self.device, json).await?;
        let model = hub::fetched(&self.model, json).await?;
        let mut base = open::base(&model, self.base_dtype, &opened, json).await?;
        open::adapters(&mut base, self.adapter.as_slice(), &[]).await?;
        for text in &self.texts {
            let labels = match base.images.is_some() {
                true => {
                    let file = SourceFile { name: text.clone(), bytes: open::read(text.as_ref())?, held_out: false };
                    label_image(&base, &base.model, &file).await?
                }
                false => label_text(&base.model, &base.tokenizer, text, self.text_pair.as_deref()).await?,
            };
            let shown = &labels[..labels.len().min(self.top.max(1))];
            if json {
                println!("{}", serde_json::json!({ "text": text, "text_pair": self.text_pair, "labels": shown }));
                continue;
            }
            let number = base.model.config.is_regression();
            let one = |(label, share): &(String, f32)| match number {
                true => format!("{share:.4}"),
                false => format!("{label} {:.1} %", 100.0 * share),
            };
            println!("{}  {text}", shown.iter().map(one).collect::<Vec<_>>().join(", "));
        }
        Ok(())
    }
}
