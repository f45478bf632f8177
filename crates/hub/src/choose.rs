//! Which files of a repository are a model, and nothing else of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use stratune_protocol::Problem;

use crate::entry::Entry;
use crate::quantisation;

/// Weights in one file, and the index of weights in several.
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TOKENIZER: &str = "tokenizer.json";
/// What belongs to a model beside its weights, if it is there.
const BESIDE: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "LICENSE.txt",
];
/// The same of a tokenizer without `tokenizer.json`.
const OLDER_TOKENIZER: [&str; 3] = ["tokenizer.model", "vocab.json", "merges.txt"];
/// Ends of weights that are programs when they are read.
const PICKLED: [&str; 5] = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];
/// Pieces that weights may be in.
const MOST_SHARDS: usize = 10_000;

/// What of a repository is wanted.
#[derive(Debug, PartialEq)]
pub(crate) enum Chosen {
    /// These files.
    Files(Vec<Entry>),
    /// These, and those that this index names.
    Indexed(Vec<Entry>, Entry),
}

/// The files of a model; `file` is a GGUF file or its quantisation.
///
/// # Errors
/// There is no model among the entries, or several that one has to be chosen of: says which.
pub(crate) fn choose(entries: &[Entry], file: Option<&str>) -> Result<Chosen, Problem> {
    let named = |name: &str| entries.iter().find(|entry| entry.path == name).cloned();
    if let Some(file) = file {
        return quantisation::choose(entries, file).map(Chosen::Files);
    }
    let (config, weights, index) = (named("config.json"), named(WEIGHTS), named(INDEX));
    if config.is_none() || (weights.is_none() && index.is_none()) {
        return quantisation::only(entries)?.map(Chosen::Files).ok_or_else(|| no_model(entries, config.is_some()));
    }
    let mut files: Vec<Entry> = BESIDE.iter().filter_map(|name| named(name)).collect();
    if named(TOKENIZER).is_none() {
        files.extend(OLDER_TOKENIZER.iter().filter_map(|name| named(name)));
    }
    Ok(match (weights, index) {
        (Some(weights), _) => {
            files.push(weights);
            Chosen::Files(files)
        }
        (None, Some(index)) => {
            files.push(index.clone());
            Chosen::Indexed(files, index)
        }
        (None, None) => Chosen::Files(files),
    })
}

/// Why there is nothing to choose.
fn no_model(entries: &[Entry], config: bool) -> Problem {
    let any = |ends: &[&str]| entries.iter().any(|entry| ends.iter().any(|end| entry.path.ends_with(end)));
    let is = |name: &str| entries.iter().any(|entry| entry.path == name);
    if is("adapter_config.json") {
        Problem::input("the repository holds an adapter and no model")
            .next("name the model that it was trained on; its adapter_config.json says which")
    } else if !config && any(&[".safetensors"]) {
        Problem::input("the repository has weights and no config.json, and so is no model in the form of transformers")
            .next("use a repository that transformers reads")
    } else if any(&PICKLED) {
        Problem::input("the repository has its weights only as pickle files, which run programs when they are read")
            .next("use a repository with safetensors; the page's Community tab may have a conversion: owner/name@refs/pr/N")
    } else {
        Problem::input("the repository holds no weights as safetensors or GGUF").next("use another model")
    }
}

/// The index of weights in several files.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that an index names.
///
/// # Errors
/// It is no index, or names what is not listed: then no byte of the others is of use.
pub(crate) fn shards(index: &[u8], entries: &[Entry]) -> Result<Vec<Entry>, Problem> {
    let bad = |what: String| Problem::input(what).at(INDEX).next("report it on the model's page, or use another model");
    let index: Index = serde_json::from_slice(index).map_err(|e| bad(format!("the index cannot be read: {e}")))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    if names.is_empty() || names.len() > MOST_SHARDS {
        return Err(bad(format!("the index names {} files of weights", names.len())));
    }
    let find = |name: &String| {
        let found = entries.iter().find(|entry| entry.path == *name && name.ends_with(".safetensors"));
        found.cloned().ok_or_else(|| bad(format!("the index names {name:.80?}, which the repository does not have")))
    };
    names.iter().map(find).collect()
}

/// The bytes of files together.
///
/// # Errors
/// They are more than a number holds, or two names differ in case alone, which are one file on many disks.
pub(crate) fn bytes(files: &[Entry]) -> Result<u64, Problem> {
    let next = "report it on the model's page, or use another model";
    let mut names = BTreeSet::new();
    if let Some(twice) = files.iter().find(|file| !names.insert(file.path.to_lowercase())) {
        return Err(Problem::input(format!("the repository has {} in two spellings", twice.path)).next(next));
    }
    let sum = files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.size));
    sum.ok_or_else(|| Problem::input("the sizes of the files cannot be true").next(next))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::entry::Hash;

    pub fn entries(names: &[&str]) -> Vec<Entry> {
        let entry = |name: &&str| Entry { path: (*name).into(), size: 1, hash: Hash::Git(String::new()) };
        names.iter().map(entry).collect()
    }

    pub fn paths(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.path.as_str()).collect()
    }

    #[test]
    fn a_model_is_its_files_and_no_other() {
        let all = entries(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "generation_config.json",
            "merges.txt",
            "model.fp16.safetensors",
            "model.safetensors",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "runs/config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
            "vocab.json",
            "q.gguf",
        ]);
        let Chosen::Files(files) = choose(&all, None).unwrap() else { panic!() };
        let expected = [
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
            "model.safetensors",
        ];
        assert_eq!(paths(&files), expected);
        let older = entries(&["config.json", "vocab.json", "merges.txt", "tokenizer.model", "model.safetensors"]);
        let Chosen::Files(files) = choose(&older, None).unwrap() else { panic!() };
        assert_eq!(paths(&files), ["config.json", "tokenizer.model", "vocab.json", "merges.txt", "model.safetensors"]);
        let sharded = entries(&["config.json", INDEX, "model-00001-of-00002.safetensors"]);
        let Chosen::Indexed(files, index) = choose(&sharded, None).unwrap() else { panic!() };
        assert_eq!((paths(&files), index.path.as_str()), (vec!["config.json", INDEX], INDEX));
    }

    #[test]
    fn a_model_of_images_comes_with_what_makes_numbers_of_them() {
        let names = ["config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin"];
        let Chosen::Files(files) = choose(&entries(&names), None).unwrap() else { panic!() };
        assert_eq!(paths(&files), &names[..3]);
    }

    #[test]
    fn what_is_no_model_is_told() {
        for (names, what) in [
            (vec!["config.json", "pytorch_model.bin"], "pickle"),
            (vec!["adapter_config.json", "adapter_model.safetensors"], "an adapter and no model"),
            (vec!["unet/model.safetensors"], "no config.json"),
            (vec!["README.md"], "no weights"),
            (vec![], "no weights"),
            (vec!["a-Q4_0.gguf", "a-Q8_0.gguf"], "several GGUF"),
        ] {
            let problem = choose(&entries(&names), None).unwrap_err();
            assert!(problem.what.contains(what) && !problem.next.is_empty(), "{names:?}: {problem:?}");
        }
    }

    #[test]
    fn an_index_names_files_of_the_listing() {
        let all = entries(&["a.safetensors", "b.safetensors", "c.safetensors", "d.bin"]);
        let index = |names: &[&str]| {
            let map: BTreeMap<String, &str> = names.iter().enumerate().map(|(k, n)| (k.to_string(), *n)).collect();
            serde_json::json!({ "metadata": {}, "weight_map": map }).to_string()
        };
        let found = shards(index(&["b.safetensors", "a.safetensors", "b.safetensors"]).as_bytes(), &all).unwrap();
        assert_eq!(paths(&found), ["a.safetensors", "b.safetensors"]);
        for bad in [
            index(&["../x.safetensors"]),
            index(&["z.safetensors"]),
            index(&["d.bin"]),
            index(&[]),
            "{".into(),
            "{}".into(),
        ] {
            assert!(shards(bad.as_bytes(), &all).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_names_are_looked_at() {
        let mut all = entries(&["a", "b"]);
        assert_eq!(bytes(&all).unwrap(), 2);
        all[0].size = u64::MAX;
        assert!(bytes(&all).unwrap_err().what.contains("sizes"));
        assert!(bytes(&entries(&["config.json", "Config.json"])).unwrap_err().what.contains("two spellings"));
    }
}
