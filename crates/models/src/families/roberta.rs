//! RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT whose positions begin behind that of the padding, and whose classifier has
//! a layer of its own in the pooler's place.

use super::Family;
use super::encoder::{self, BERT, Encoder};

/// The pooler that files may have is not read: nothing here uses it.
pub const FAMILY: Family = Family {
    model_type: "roberta",
    class: "RobertaForSequenceClassification",
    read: |family, fields| encoder::read(family, fields, &ROBERTA),
    bias_keys: &[],
    gguf: None,
    file_names: &[],
    file_name: None,
};

const ROBERTA: Encoder =
    Encoder { base: "roberta", padding: Some(1), classifier: ["classifier.dense", "classifier.out_proj"], ..BERT };
