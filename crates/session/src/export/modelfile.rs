//! Ollama's Modelfile of a GGUF model, or of a GGUF adapter and its base.

use stratune_data::{Template, Tokenizer};

use super::{GGUF_ADAPTER, GGUF_MODEL};

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves<'a> {
    /// The folder in Hugging Face form that it lies in.
    Folder,
    /// The model beside it.
    Model,
    /// The adapter beside it, on this base.
    Adapter {
        /// What Ollama calls it: a file or a name.
        base: &'a str,
    },
}

/// The Modelfile. Ollama makes its own of a chat template that is in the file; where there is none, prompts are as they
/// were in training.
pub fn modelfile(serves: Serves<'_>, tokenizer: &Tokenizer, template: &Template) -> String {
    let mut lines = match serves {
        Serves::Folder => vec!["FROM .".into()],
        Serves::Model => vec![format!("FROM ./{GGUF_MODEL}")],
        Serves::Adapter { base } => vec![format!("FROM {base}"), format!("ADAPTER ./{GGUF_ADAPTER}")],
    };
    if let Some(go) = template.go() {
        lines.push(format!("TEMPLATE \"\"\"{go}\"\"\""));
    }
    let stops = template.all_ends(tokenizer);
    lines.extend(
        stops.iter().map(|stop| format!("PARAMETER stop \"{}\"", stop.replace('\\', "\\\\").replace('"', "\\\""))),
    );
    lines.join("\n") + "\n"
}
