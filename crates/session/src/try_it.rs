//! What a front end does with base and tuned model beside each other: ask them, bring an adapter, take it away.

use std::rc::Rc;

use stratune_protocol::{DataConfig, ExportForm, GenerateRequest, ModelVariant, Problem};
use stratune_runtime::RunRequest;
use stratune_store::{Folder, ZipSink, unzip, zip};
use stratune_train::Event;

use crate::engine::{Engine, Loaded, no_model, no_run};
use crate::export::{export_of, write_archive, zip_name};
use crate::rows_files::rows_files;
use crate::tuned::Tuned;
use crate::{Outgoing, adapter_of, answer_after, label_image, label_text, read_adapter, read_gguf_adapter};

impl Engine {
    /// Continues a prompt or a conversation; what was said before in it is not computed again.
    pub(crate) async fn generate(&mut self, request: &GenerateRequest) -> Result<(), Problem> {
        let variant = request.variant;
        let base = &self.base.as_ref().ok_or_else(no_model)?.value;
        let [of_base, of_tuned] = &mut self.talks;
        let (model, talk) = match variant {
            ModelVariant::Base => (&base.model, of_base),
            ModelVariant::Tuned => (&self.tuned.as_ref().ok_or_else(no_run)?.model, of_tuned),
        };
        // What was asked of a run that is over.
        self.control.resume();
        let told = |text: &str, done| self.out.send(&Event::Token { variant, text: text.to_string(), done }, None);
        let mut piece = |text: &str| {
            if !text.is_empty() {
                told(text, false);
            }
            self.control.request() != RunRequest::Stop
        };
        let given = answer_after(model, (&base.tokenizer, &base.template), request, talk, &mut piece).await;
        self.control.resume();
        told("", true);
        given.map(|_| ())
    }

    /// Labels a text, or the image that came in a file.
    pub(crate) async fn classify(
        &self,
        text: &str,
        text_pair: &str,
        files: Option<Rc<dyn Folder>>,
    ) -> Result<(), Problem> {
        let base = &self.base.as_ref().ok_or_else(no_model)?.value;
        let model = self.tuned.as_ref().map_or(&base.model, |tuned| &tuned.model);
        let pair = Some(text_pair).filter(|pair| !pair.is_empty());
        let image = match files {
            None => None,
            Some(folder) => {
                let (config, assets) = (DataConfig::default(), self.assets.as_ref());
                rows_files(Some(folder.as_ref()), &config, assets, base.images.as_ref()).await?.pop()
            }
        };
        let labels = match &image {
            Some(image) => label_image(base, model, image).await?,
            None => label_text(model, &base.tokenizer, text, pair).await?,
        };
        self.out.send(&Event::Classified { labels, number: model.config.is_regression() }, None);
        Ok(())
    }

    /// Puts an adapter that a person has beside the base.
    pub(crate) async fn load_adapter(&mut self, name: &str, files: Option<Rc<dyn Folder>>) -> Result<(), Problem> {
        let base = &self.base.as_ref().ok_or_else(no_model)?.value;
        let wanted = "choose the folder of an adapter as Hugging Face PEFT has it, a zip of it, or a GGUF file of LoRA";
        let files = files.ok_or_else(|| Problem::input("no files came with the adapter").next(wanted))?;
        let folder: Rc<dyn Folder> = match files.names().as_slice() {
            [one] if one.to_ascii_lowercase().ends_with(".zip") => Rc::new(unzip(one, &files.read(one, None).await?)?),
            _ => files,
        };
        let names = folder.names();
        let is_peft = names.iter().any(|name| name == "adapter_config.json");
        let gguf = names.into_iter().find(|name| !is_peft && name.to_ascii_lowercase().ends_with(".gguf"));
        let adapter = match gguf {
            Some(file) => read_gguf_adapter(folder, &file, &base.model.config).await?,
            None => read_adapter(folder.as_ref()).await?,
        };
        let said = adapter.base_model.clone().unwrap_or_default();
        let tuned = Tuned::with_adapter(base, name, adapter).await?;
        if !is_called(&base.name, &said) {
            let text = format!("{name} says that its base is {said}; it fits {}, and is put on that", base.name);
            self.out.send(&Event::Notice { text }, None);
        }
        self.keep_tuned(Some(tuned));
        Ok(())
    }

    /// A zip of what was tuned: PEFT's adapter at once, all else in the browser's storage, for a model need not fit in memory
    /// once more.
    pub(crate) async fn export(&self, form: ExportForm) -> Result<(), Problem> {
        let tuned = self.tuned.as_ref().ok_or_else(no_run)?;
        let (name, media_type) = (zip_name(form).to_string(), "application/zip".to_string());
        let Some(export) = export_of(form) else {
            let bytes = zip(&adapter_of(&tuned.model, &tuned.finalized).await?)?;
            self.out.send(&Event::File { name, media_type, bytes: bytes.len() as u64, stored: None }, Some(bytes));
            return Ok(());
        };
        let Loaded { value: base, files } = self.base.as_ref().ok_or_else(no_model)?;
        let folder = match files {
            Some(files) => files.folder.clone(),
            None => self.assets.starter().await?,
        };
        let Outgoing { file, stored } = self.assets.outgoing(&name).await?;
        let mut zip = ZipSink::new(file);
        let out = self.out.clone();
        let notices = write_archive(export, base, folder, tuned, &mut zip, &mut |event| out.send(&event, None)).await?;
        let bytes = zip.finish()?;
        notices.into_iter().for_each(|text| self.out.send(&Event::Notice { text }, None));
        self.out.send(&Event::File { name, media_type, bytes, stored: Some(stored) }, None);
        Ok(())
    }
}

/// Whether a base may be the one that an adapter names: by the last part of its path or id, and without what files add to it.
fn is_called(base: &str, said: &str) -> bool {
    let plain = |name: &str| {
        let last = name.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default().to_lowercase();
        last.chars().filter(char::is_ascii_alphanumeric).collect::<String>()
    };
    let (base, said) = (plain(base), plain(said));
    said.is_empty() || base.contains(&said) || said.contains(&base)
}

#[cfg(test)]
mod tests {
    use super::is_called;

    #[test]
    fn a_base_is_known_by_the_last_part_of_its_name() {
        for said in ["", "HuggingFaceTB/SmolLM2-135M", "/home/me/models/smollm2_135m/", "SmolLM2-135M-Q4_1.gguf"] {
            assert!(is_called("SmolLM2-135M", said), "{said}");
        }
        for said in ["Qwen/Qwen3-0.6B", "SmolLM2-360M"] {
            assert!(!is_called("SmolLM2-135M", said), "{said}");
        }
    }
}
