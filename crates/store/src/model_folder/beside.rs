//! What lies beside a model's weights: its tokenizer, the tokens that end a text, licences.

use serde_json::Value;
use stratune_protocol::Problem;

use super::{DOWNLOAD, ModelFolder, json};
use crate::folder::{missing, place};

/// Files that decide, beside the weights and the geometry, what a model says, and its licence: a model that is made of
/// another has them too.
const BESIDE: [&str; 21] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "preprocessor_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "NOTICE.txt",
    "USE_POLICY.md",
];

impl ModelFolder {
    /// `tokenizer.json`, and `tokenizer_config.json` if there is one. A template in a file of its own,
    /// `chat_template.jinja`, is put into the latter's field `chat_template`.
    pub async fn tokenizer(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), Problem> {
        let folder = &*self.folder;
        if folder.size("tokenizer.json").is_none() {
            let next = "add the tokenizer.json that belongs to the model";
            return Err(missing(folder, "tokenizer.json", next));
        }
        Ok((folder.read("tokenizer.json", None).await?, self.tokenizer_config().await?))
    }

    /// A file of the tokenizer where there is no `tokenizer.json`, such as `tokenizer.model`; none if it is not there either.
    pub async fn older_tokenizer(&self, name: &str) -> Result<Option<Vec<u8>>, Problem> {
        if self.folder.size("tokenizer.json").is_some() || self.folder.size(name).is_none() {
            return Ok(None);
        }
        self.folder.read(name, None).await.map(Some)
    }

    /// A file beside its weights, if it is there.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn file(&self, name: &str) -> Result<Option<Vec<u8>>, Problem> {
        match self.folder.size(name) {
            None => Ok(None),
            Some(_) => self.folder.read(name, None).await.map(Some),
        }
    }

    /// `tokenizer_config.json` if there is one, with the template of `chat_template.jinja`.
    pub async fn tokenizer_config(&self) -> Result<Option<Vec<u8>>, Problem> {
        let folder = &*self.folder;
        let config = match folder.size("tokenizer_config.json") {
            Some(_) => Some(folder.read("tokenizer_config.json", None).await?),
            None => None,
        };
        if folder.size("chat_template.jinja").is_none() {
            return Ok(config);
        }
        let template = String::from_utf8(folder.read("chat_template.jinja", None).await?).map_err(|_| {
            Problem::input("chat_template.jinja is not UTF-8 text")
                .at(place(folder, "chat_template.jinja"))
                .next(DOWNLOAD)
        })?;
        let mut fields: serde_json::Map<String, Value> = match config {
            Some(bytes) => json(folder, "tokenizer_config.json", &bytes)?,
            None => serde_json::Map::new(),
        };
        fields.insert("chat_template".into(), template.into());
        Ok(Some(Value::Object(fields).to_string().into_bytes()))
    }

    /// The tokens at which `generation_config.json` and `config.json` say that a text ends, in this order.
    ///
    /// # Errors
    /// One of them says something else than a token or a list of tokens, or cannot be read.
    pub async fn ends(&self) -> Result<Vec<u32>, Problem> {
        const GENERATION: &str = "generation_config.json";
        let folder = &*self.folder;
        let generation: Value = match folder.size(GENERATION) {
            Some(_) => json(folder, GENERATION, &folder.read(GENERATION, None).await?)?,
            None => Value::Null,
        };
        let places =
            [(GENERATION, &generation), ("config.json", &self.config), ("config.json", &self.config["text_config"])];
        let mut ends = Vec::new();
        for (file, fields) in places {
            let says = &fields["eos_token_id"];
            let ids = tokens(says).ok_or_else(|| {
                Problem::input(format!("eos_token_id is {says}"))
                    .at(place(folder, file))
                    .next("make it the number of a token, or a list of such")
            })?;
            ends.extend(ids);
        }
        Ok(ends)
    }

    /// The files that a model made of this one needs beside its weights and `config.json`.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub async fn beside(&self) -> Result<Vec<(String, Vec<u8>)>, Problem> {
        let mut files = Vec::new();
        for name in BESIDE.into_iter().filter(|name| self.folder.size(name).is_some()) {
            files.push((name.to_string(), self.folder.read(name, None).await?));
        }
        Ok(files)
    }
}

/// A token, a list of tokens, or nothing. Some files have −1 for none.
fn tokens(value: &Value) -> Option<Vec<u32>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(tokens).collect::<Option<Vec<_>>>().map(|lists| lists.concat()),
        Value::Number(number) if number.as_i64().is_some_and(|n| n < 0) => Some(Vec::new()),
        _ => Some(vec![u32::try_from(value.as_u64()?).ok()?]),
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
#[allow(clippy::unwrap_used)]
mod tests {
    use pollster::block_on;

    use super::super::tests::{Files, open, weights};
    use super::*;

    const SINGLE: &str = "model.safetensors";

    #[test]
    fn the_template_file_wins() {
        let base = || vec![("config.json", b"{}".to_vec()), (SINGLE, weights("w"))];
        let tokenizer = |more: Files| {
            let files = base().into_iter().chain(more).collect();
            block_on(open(files).unwrap().tokenizer())
        };
        let own = ("tokenizer.json", b"T".to_vec());
        let template = ("chat_template.jinja", b"new".to_vec());
        let config = ("tokenizer_config.json", br#"{"chat_template":"old","x":1}"#.to_vec());
        assert!(tokenizer(vec![]).unwrap_err().what.starts_with("tokenizer.json is missing"));
        assert_eq!(tokenizer(vec![own.clone()]).unwrap(), (b"T".to_vec(), None));
        assert_eq!(tokenizer(vec![own.clone(), config.clone()]).unwrap().1.unwrap(), config.1);
        let merged: Value =
            serde_json::from_slice(&tokenizer(vec![own.clone(), config, template.clone()]).unwrap().1.unwrap())
                .unwrap();
        assert_eq!(merged, serde_json::json!({"chat_template": "new", "x": 1}));
        let alone = tokenizer(vec![own, template]).unwrap().1.unwrap();
        assert_eq!(alone, br#"{"chat_template":"new"}"#);
    }

    #[test]
    fn every_end_of_a_text_is_read() {
        let ends = |config: &str, generation: Option<&str>| {
            let mut files = vec![("config.json", config.as_bytes().to_vec()), (SINGLE, weights("w"))];
            files.extend(generation.map(|text| ("generation_config.json", text.as_bytes().to_vec())));
            block_on(open(files).unwrap().ends())
        };
        let cases = [
            ("{}", None, vec![]),
            (r#"{"eos_token_id": 2}"#, None, vec![2]),
            (r#"{"eos_token_id": [3, 4]}"#, Some(r#"{"eos_token_id": [5, 3]}"#), vec![5, 3, 3, 4]),
            (r#"{"eos_token_id": null, "text_config": {"eos_token_id": 106}}"#, Some("{}"), vec![106]),
            (r#"{"eos_token_id": -1}"#, None, vec![]),
        ];
        for (config, generation, tokens) in cases {
            assert_eq!(ends(config, generation).unwrap(), tokens, "{config} {generation:?}");
        }
        let problem = ends("{}", Some(r#"{"eos_token_id": "</s>"}"#)).unwrap_err();
        assert_eq!(
            (problem.what.as_str(), problem.at.as_str()),
            ("eos_token_id is \"</s>\"", "toy/generation_config.json")
        );
        assert!(ends("{}", Some("{")).unwrap_err().what.contains("generation_config.json cannot be read"));
    }

    #[test]
    fn what_a_model_needs_beside_its_weights_is_found() {
        let file = |name: &'static str| (name, name.as_bytes().to_vec());
        let there = ["tokenizer.json", "chat_template.jinja", "generation_config.json", "LICENSE"];
        let others = ["README.md", "pytorch_model.bin", "optimizer.pt"].map(file);
        let files = [("config.json", b"{}".to_vec()), (SINGLE, weights("w"))].into_iter().chain(others);
        let beside = block_on(open(files.chain(there.map(file)).collect()).unwrap().beside()).unwrap();
        assert_eq!(beside, there.map(|name| (name.to_string(), name.as_bytes().to_vec())));
    }
}
