//! Adapters that are LoRA in the end, whatever trained them: two factors a layer, and what their product is multiplied by.

use std::collections::BTreeMap;

use stratune_protocol::{ModelReport, Problem};
use stratune_store::HostTensor;

use crate::Adapter;
use crate::form::lora::{factors, scale};

/// What a layer's weight gets added: `scale · B A`.
#[derive(Clone, Debug)]
pub struct LoraFactors<'a> {
    /// The layer's path.
    pub path: String,
    /// A, `[rank, in]`.
    pub a: &'a HostTensor,
    /// B, `[out, rank]`.
    pub b: &'a HostTensor,
    /// What their product is multiplied by.
    pub scale: f32,
}

impl LoraFactors<'_> {
    /// Rows of A, and columns of B.
    pub fn rank(&self) -> usize {
        self.a.shape[0]
    }
}

impl Adapter {
    /// The factors of all layers, by their paths, if PEFT's form of each method is that of LoRA and nothing more.
    ///
    /// # Errors
    /// A method adds something else; names it.
    pub fn lora_factors<'a>(&'a self, model: &ModelReport) -> Result<Vec<LoraFactors<'a>>, Problem> {
        let next = "merge it into its model: --format gguf, or --format safetensors";
        if let Some(other) = self.methods.iter().find(|method| scale(method, "").is_none()) {
            let title = other.kind.method().title;
            let what = format!("{title} is no LoRA in the end, and an adapter in GGUF is one");
            return Err(Problem::input(what).next(next));
        }
        let pairs = factors(&self.tensors, [".lora_A.weight", ".lora_B.weight"])?;
        if let Some(path) = self.tensors.keys().find(|path| {
            let layer = path.strip_suffix(".lora_A.weight").or_else(|| path.strip_suffix(".lora_B.weight"));
            layer.is_none_or(|layer| !pairs.contains_key(layer))
        }) {
            return Err(
                Problem::input(format!("the adapter has {path}, which an adapter in GGUF has no place for")).next(next)
            );
        }
        let mut scales: BTreeMap<String, f32> = BTreeMap::new();
        for method in self.methods.iter() {
            for site in method.sites(model) {
                scales.extend(scale(method, &site.path).map(|scale| (site.path.clone(), scale)));
            }
        }
        let layer = |(path, [a, b]): (String, [&'a HostTensor; 2])| {
            let sound = a.shape.len() == 2 && b.shape.len() == 2 && a.shape[0] == b.shape[1] && a.shape[0] > 0;
            match scales.get(&path).filter(|_| sound) {
                Some(scale) => Ok(LoraFactors { path, a, b, scale: *scale }),
                None => Err(Problem::input(format!("the adapter has factors for {path}, and the model no such layer"))
                    .next("use an adapter that was trained on this model")),
            }
        };
        pairs.into_iter().map(layer).collect()
    }
}
