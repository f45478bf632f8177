//! Layers that read one input.

use burn::backend::{Backend, ExtensionType};

use super::weight::Weights;
use crate::several::Several;

/// Layers that read one input, all of them with a low-rank update or none.
#[derive(Clone, Debug, ExtensionType)]
pub struct Group<B: Backend> {
    /// Each `[out, in]`.
    #[extension_type]
    pub weights: Weights<B>,
    /// Each `[rank, in]`.
    #[extension_type]
    pub a: Several<B>,
    /// Each `[out, rank]`.
    #[extension_type]
    pub b: Several<B>,
    /// What each update is multiplied by.
    pub scales: Vec<f32>,
}
