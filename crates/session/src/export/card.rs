//! The model card: what a model was made of, how, with what result, and how it is used. Of the data it has what tells them from
//! others, and nothing else.

use serde_json::Value;
use stratune_models::ModelConfig;
use stratune_protocol::{HubId, IstMode};

use super::{GGUF_ADAPTER, GGUF_MODEL, RunFacts, short_name};

/// In which form a tuned model is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// A folder in Hugging Face form.
    Folder,
    /// The same of a model that labels texts.
    Classifier,
    /// The same of a model that labels images.
    ImageClassifier,
    /// A GGUF model, its matrices written so.
    Gguf(stratune_store::Ftype),
    /// A GGUF adapter.
    GgufAdapter,
}

impl Export {
    /// The folder of such a model.
    pub fn folder_of(config: &ModelConfig) -> Self {
        match (&config.classifier, config.image) {
            (None, _) => Self::Folder,
            (Some(_), None) => Self::Classifier,
            (Some(_), Some(_)) => Self::ImageClassifier,
        }
    }

    /// The commands that use it, in the folder that it lies in; `base` is what its base is called.
    pub fn commands(self, name: &str, base: &str) -> Vec<String> {
        let pipeline = |task: &str, input: &str| {
            vec![format!(
                "python -c 'from transformers import pipeline; print(pipeline(\"{task}\", \".\")(\"{input}\"))'"
            )]
        };
        let ollama = format!("ollama create {name} -f Modelfile && ollama run {name}");
        match self {
            Self::Folder => pipeline("text-generation", "Hello"),
            Self::Classifier => pipeline("text-classification", "Hello"),
            Self::ImageClassifier => pipeline("image-classification", "photo.jpg"),
            Self::Gguf(_) => vec![format!("llama-cli -m {GGUF_MODEL}"), ollama],
            Self::GgufAdapter => vec![format!("llama-cli -m {base} --lora {GGUF_ADAPTER}"), ollama],
        }
    }
}

/// `README.md`. `base` is the model's name as the run has it, `methods` what was trained of it, if anything, `licence` what is
/// known of the base's.
pub fn card(
    export: Export,
    base: &str,
    methods: Option<&str>,
    facts: &RunFacts,
    licence: Option<&str>,
    commands: &[String],
) -> String {
    let (repository, revision) = HubId::split(base);
    // A path is nobody else's business.
    let named = if revision.is_some() { repository.as_str() } else { short_name(base) };
    let (library, relation) = match export {
        Export::Folder | Export::Classifier | Export::ImageClassifier => ("transformers", "finetune"),
        Export::Gguf(_) => ("gguf", "finetune"),
        Export::GgufAdapter => ("gguf", "adapter"),
    };
    let text = |text: &str| Value::from(text).to_string();
    let mut front = vec![format!("base_model: {}", text(named)), format!("base_model_relation: {relation}")];
    front.extend(licence.map(|licence| format!("license: {}", text(licence))));
    front.push(format!("library_name: {library}"));
    front.push("tags: [stratune]".into());
    let mut rows = vec![("Base", revision.map_or(named.into(), |commit| format!("{named}, commit {commit}")))];
    rows.extend(methods.map(|methods| ("Method", methods.to_string())));
    rows.extend(facts.ist.map(|mode| ("Layers that trained", ist_name(mode))));
    rows.extend(facts.steps.map(|(done, all)| ("Steps", format!("{done} of {all}"))));
    rows.extend(facts.data.as_ref().map(|data| ("Data", format!("fingerprint `{data}`"))));
    rows.extend(facts.best.map(|(step, loss)| {
        ("Held-out loss", format!("{loss:.4} a label, perplexity {:.3}, at step {step}", loss.exp()))
    }));
    rows.extend(facts.last_loss.map(|loss| ("Last training loss", format!("{loss:.4} a label"))));
    rows.push((
        "Form",
        match export {
            Export::Folder | Export::Classifier | Export::ImageClassifier => "safetensors, merged".into(),
            Export::Gguf(ftype) => format!("GGUF, merged, {}", ftype.name()),
            Export::GgufAdapter => "GGUF adapter (LoRA)".into(),
        },
    ));
    rows.push(("Made with", format!("Stratune {}", env!("CARGO_PKG_VERSION"))));
    let rows: String = rows.iter().map(|(what, how)| format!("| {what} | {} |\n", how.replace('|', "\\|"))).collect();
    let title = if methods.is_some() { format!("{named}, tuned") } else { named.to_string() };
    format!(
        "---\n{}\n---\n\n# {title}\n\n| | |\n|---|---|\n{rows}\n## Use\n\n```sh\n{}\n```\n",
        front.join("\n"),
        commands.join("\n")
    )
}

/// As flags name it.
fn ist_name(mode: IstMode) -> String {
    let name = serde_json::to_value(mode).ok().and_then(|name| name.as_str().map(str::to_owned));
    name.unwrap_or_default().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use stratune_store::Ftype;

    use super::*;

    #[test]
    fn a_card_says_what_is_known_and_no_path() {
        let facts = RunFacts {
            data: Some("00ff".into()),
            ist: Some(IstMode::CostAware),
            steps: Some((30, 40)),
            last_loss: Some(1.5),
            best: Some((20, 2.0)),
        };
        let export = Export::Gguf(Ftype::Q8_0);
        let card_of = |base: &str, methods| card(export, base, methods, &facts, None, &export.commands("m", ""));
        let told = card_of("/home/someone/models/tiny.gguf", Some("LoRA r8"));
        for part in [
            "base_model: \"tiny\"",
            "# tiny, tuned",
            "| Method | LoRA r8 |",
            "| Layers that trained | cost-aware |",
            "| Steps | 30 of 40 |",
            "fingerprint `00ff`",
            "2.0000 a label, perplexity 7.389, at step 20",
            "GGUF, merged, Q8_0",
            "llama-cli -m model.gguf",
            "ollama create m -f Modelfile",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("someone"));
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let of_hub = card_of(&format!("o/n@{commit}"), None);
        assert!(of_hub.contains("base_model: \"o/n\"") && of_hub.contains(&format!("commit {commit}")), "{of_hub}");
        assert!(of_hub.contains("# o/n\n"));
    }
}
