//! The tensors of a model's checkpoint: their names, shapes, and what files have of them.

use std::collections::BTreeSet;

use stratune_protocol::{Module, Role};

use crate::ModelConfig;

/// What files that come from TensorFlow call the parts of a norm.
const TENSORFLOW: [(&str, &str); 2] = [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")];

/// A tensor of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What its module is for.
    pub role: Role,
    /// Whether files have it as `[in, out]`.
    pub transposed: bool,
    /// Its name in files that are written.
    pub file_name: String,
    /// Its dimensions in files where these are others, turned aside.
    file_dims: Option<Vec<usize>>,
}

impl Entry {
    /// Whether it has a row for each token.
    pub(crate) fn is_embedding(&self) -> bool {
        matches!(self.role, Role::Embedding | Role::Head)
    }

    /// Whether a checkpoint may lack it, and it is drawn then.
    pub fn is_optional(&self) -> bool {
        self.role.is_of_classifier()
    }

    /// Its shape in files.
    pub fn file_shape(&self) -> Vec<usize> {
        let mut shape = self.file_dims.clone().unwrap_or_else(|| self.shape.clone());
        if self.transposed {
            shape.reverse();
        }
        shape
    }
}

impl ModelConfig {
    /// Every tensor of the checkpoint, in the order of the forward pass.
    pub fn layout(&self) -> Vec<Entry> {
        let of = |module: &Module| {
            let role = module.role;
            let of = move |(name, shape): (String, Vec<usize>)| {
                let transposed = module.transposed && shape.len() == 2;
                let (file_name, file_dims) = (self.file_name(&name), self.file_dims(role, &shape));
                Entry { name, shape, role, transposed, file_name, file_dims }
            };
            module.tensors().map(of).collect::<Vec<_>>()
        };
        self.modules.iter().flat_map(of).collect()
    }

    /// The paths of the model's own parameters.
    pub fn base_paths(&self) -> BTreeSet<String> {
        self.layout().into_iter().map(|entry| entry.name).collect()
    }

    /// Numbers in the model.
    pub fn parameters(&self) -> u64 {
        self.layout().iter().map(|entry| entry.shape.iter().product::<usize>() as u64).sum()
    }

    /// What a tensor may be called in files: its name, other names that its family has for it, and the name without its first
    /// part, as a model that was saved without its output layer has it.
    pub fn names_in_files(&self, name: &str) -> Vec<String> {
        let others = self.family.file_names.iter();
        let others = others.filter_map(|(begins, other)| Some(format!("{other}{}", name.strip_prefix(begins)?)));
        let own = [Some(self.file_name(name)), self.family.file_name.map(|_| name.to_string())];
        let own: Vec<String> = own.into_iter().flatten().collect();
        let short: Vec<String> =
            own.iter().filter_map(|name| name.split_once('.')).map(|(_, behind)| behind.to_string()).collect();
        let mut names: Vec<String> = own.into_iter().chain(others).chain(short).collect();
        for (ending, old) in TENSORFLOW {
            let older = names.iter().filter_map(|name| Some(format!("{}{old}", name.strip_suffix(ending)?)));
            names.extend(older.collect::<Vec<_>>());
        }
        names
    }

    /// What a tensor is called in files that are written.
    fn file_name(&self, name: &str) -> String {
        self.family.file_name.map_or_else(|| name.to_string(), |of| of(name))
    }

    /// The dimensions that files have of a tensor of an image's embeddings: of a table one in front, of the patches' layer
    /// those of a patch.
    fn file_dims(&self, role: Role, shape: &[usize]) -> Option<Vec<usize>> {
        let side = self.image?.patch_size;
        match (role, shape) {
            (Role::Embedding | Role::PositionEmbedding, _) => Some([&[1], shape].concat()),
            (Role::PatchEmbedding, &[out, inputs]) => Some(vec![out, inputs / (side * side), side, side]),
            _ => None,
        }
    }
}
