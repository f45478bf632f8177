//! What a model and a data set are, as a front end shows them before anything trains.

use serde::{Deserialize, Serialize};

use crate::{Module, Role};

/// What a model is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// Its family, such as `llama`.
    pub family: String,
    /// Parameters.
    pub parameters: u64,
    /// Blocks.
    pub layers: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Outputs of the keys, and of the values.
    pub key_value_size: usize,
    /// Outputs of q.
    pub query_size: usize,
    /// Whether it is a part of a model whose other parts have layers of the same names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beside_others: bool,
    /// Width of a head.
    pub head_dim: usize,
    /// The activation of its feed-forward layers, such as `silu`.
    #[serde(default)]
    pub activation: String,
    /// Tokens it knows.
    pub vocabulary: usize,
    /// Longest sequence it was made for.
    pub context: usize,
    /// What its matrices take as its file has them, if that is in few bits.
    #[serde(default)]
    pub in_file: Option<WeightBytes>,
    /// Whether it labels texts and writes none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encoder: bool,
    /// The labels that it tells apart as it came, if it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Its modules, in the order of the forward pass.
    #[serde(default)]
    pub modules: Vec<Module>,
}

/// Bytes of a model's matrices on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightBytes {
    /// Those of all blocks.
    pub blocks: u64,
    /// The embedding, and the output layer if it is another.
    pub embeddings: u64,
}

impl ModelReport {
    /// Whether it has a module of this role.
    pub fn has(&self, role: Role) -> bool {
        self.modules.iter().any(|module| module.role == role)
    }

    /// The linear layers of its blocks.
    pub fn linears(&self) -> impl Iterator<Item = &Module> {
        self.modules.iter().filter(|module| module.role.is_linear())
    }

    /// The names of the linear layers of a block, such as `q_proj`, each once.
    pub fn linear_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for module in self.linears() {
            if !names.contains(&module.name()) {
                names.push(module.name());
            }
        }
        names
    }

    /// Numbers in the matrices of a block, on average.
    pub fn block_matrices(&self) -> f64 {
        self.linears().map(|module| module.count() as f64).sum::<f64>() / self.layers.max(1) as f64
    }
}

/// What the data is, before anything trains on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataReport {
    /// Files read.
    pub files: Vec<String>,
    /// The format that was recognised or given.
    pub format: String,
    /// Columns of a table, to choose from.
    pub columns: Vec<String>,
    /// Rows to train on.
    pub train_rows: usize,
    /// Rows held out.
    pub validation_rows: usize,
    /// Rows set apart from training to learn on which layers matter.
    #[serde(default)]
    pub importance_rows: usize,
    /// Rows cut at the longest allowed length.
    pub truncated: usize,
    /// How many rows were left out altogether.
    pub skipped_rows: usize,
    /// The first of them, and why.
    pub skipped: Vec<SkippedRow>,
    /// Tokens over all rows.
    pub tokens: u64,
    /// Of these, labels: the tokens in the loss.
    #[serde(alias = "learned_tokens")]
    pub label_tokens: u64,
    /// Rows by length: (upper bound in tokens, rows).
    pub lengths: Vec<(usize, usize)>,
    /// Positions of the longest row in a batch, padding included.
    pub width: usize,
    /// The columns of texts and labels; where tokens are learned, those that look like such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelled: Option<LabelledColumns>,
    /// The classes, each with its rows; empty where rows have none.
    #[serde(default)]
    pub classes: Vec<(String, usize)>,
    /// The first rows, templated and tokenised.
    pub preview: Vec<PreviewRow>,
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRow {
    /// File and line or row.
    pub at: String,
    /// Why.
    pub why: String,
    /// The row as it stands, shortened; empty if it is not known.
    #[serde(default)]
    pub raw: String,
}

/// A row as the model sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PreviewRow {
    /// Its tokens in order.
    pub tokens: Vec<PreviewToken>,
    /// The row as it stands, shortened; empty if it is not known.
    #[serde(default)]
    pub raw: String,
    /// What the row as a whole is labelled with: a class or a number; empty if nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
}

/// Columns of texts with labels, or that look like such.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledColumns {
    /// The column of the texts.
    pub text: String,
    /// The column of the second texts; empty if there is none.
    pub text_pair: String,
    /// The column of the labels.
    pub label: String,
    /// How many classes there are; 0: the labels are numbers.
    pub classes: usize,
}

/// A token of a previewed row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreviewToken {
    /// Its text.
    pub text: String,
    /// Whether it is a label.
    #[serde(alias = "learned")]
    pub is_label: bool,
}
