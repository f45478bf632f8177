//! Layers that read one input.

use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, ExtensionType,
};

use super::weight::Weights;
use crate::Compute;

/// Layers that read one input, each with a low-rank update or without, and with a bias or without.
#[derive(Clone, Debug, ExtensionType)]
pub struct Group<B: Backend> {
    /// Each `[out, in]`.
    #[extension_type]
    pub weights: Weights<B>,
    /// Each `[rank, in]`, of the layers with an update.
    #[extension_type]
    pub a: PerLayer<B>,
    /// Each `[out, rank]`, of the same layers.
    #[extension_type]
    pub b: PerLayer<B>,
    /// What each layer's update is multiplied by.
    pub scales: Vec<f32>,
    /// Each `[out]`.
    #[extension_type]
    pub bias: PerLayer<B>,
    /// What they multiply in.
    pub compute: Compute,
}

/// One of each layer, or none.
#[derive(Clone, Debug)]
pub struct PerLayer<B: Backend>(pub Vec<Option<FloatTensor<B>>>);

impl<B: Backend> PerLayer<B> {
    /// Those there are.
    pub fn some(&self) -> impl Iterator<Item = &FloatTensor<B>> {
        self.0.iter().flatten()
    }

    /// Each that there is, made into something else.
    pub fn map<T>(self, f: impl FnMut(FloatTensor<B>) -> T + Copy) -> Vec<Option<T>> {
        self.0.into_iter().map(|one| one.map(f)).collect()
    }

    /// As many others, each in the place of one there is.
    pub fn places<T>(&self, others: impl IntoIterator<Item = T>) -> Vec<Option<T>> {
        let mut others = others.into_iter();
        self.0.iter().map(|one| one.as_ref().and_then(|_| others.next())).collect()
    }
}

// The derive of this trait knows no lists.
impl<B: Backend> ExtensionType<B> for PerLayer<B> {
    type Target = PerLayer<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        PerLayer(self.map(|one| DispatchTensor { kind: map_kind(BackendTensor::Float(one)), autodiff }))
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        Self(target.map(|one| unwrap_kind(one).float()))
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.some().next()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.some().next()
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        target.some().fold(DispatchAutodiffContext::default(), |all, tensor| all.merge(tensor.autodiff))
    }
}
