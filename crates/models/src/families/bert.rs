//! BERT (Devlin et al. 2018, arXiv 1810.04805), and what was made of it: MiniLM, bge, e5. Old files call the parts of a norm
//! gamma and beta.

use super::Family;
use super::encoder::{self, BERT};

/// The pooler is the encoder's own; many files have it, and models for other tasks than pairs of sentences lack it.
pub const FAMILY: Family = Family {
    model_type: "bert",
    class: "BertForSequenceClassification",
    read: |family, fields| encoder::read(family, fields, &BERT),
    bias_keys: &[],
    gguf: None,
    file_names: &[],
    file_name: None,
};
