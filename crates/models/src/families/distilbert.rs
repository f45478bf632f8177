//! DistilBERT (Sanh et al. 2019, arXiv 1910.01108): half of BERT's blocks, by other names, without types of tokens, with a
//! classifier that has a layer of its own.

use super::Family;
use super::encoder::{self, BERT, Encoder};
use crate::nn::ClassifierActivation;

/// Whether positions are sinusoids does not matter: files have them as a table.
pub const FAMILY: Family = Family {
    model_type: "distilbert",
    class: "DistilBertForSequenceClassification",
    read: |family, fields| encoder::read(family, fields, &DISTILBERT),
    bias_keys: &[],
    gguf: None,
    file_names: &[],
    file_name: None,
};

const DISTILBERT: Encoder = Encoder {
    base: "distilbert",
    keys: &[
        ("dim", "hidden_size"),
        ("n_layers", "num_hidden_layers"),
        ("n_heads", "num_attention_heads"),
        ("hidden_dim", "intermediate_size"),
    ],
    activation: "activation",
    blocks: "transformer.layer",
    linears: ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"],
    norms: ["sa_layer_norm", "output_layer_norm"],
    token_types: false,
    classifier: ["pre_classifier", "classifier"],
    between: ClassifierActivation::Relu,
    ..BERT
};
