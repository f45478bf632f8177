//! The matrix of a layer.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, ExtensionType,
    TensorMetadata,
};
use burn::tensor::Tensor;

use crate::quantized::{Quantized, QuantizedOps, WeightFormat};

/// The matrix of a layer, `[out, in]`.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// Floats, which may be tracked.
    Floats(Tensor<2>),
    /// Fewer bits, which are only read.
    Quantized(Quantized),
}

impl From<Tensor<2>> for Matrix {
    fn from(tensor: Tensor<2>) -> Self {
        Self::Floats(tensor)
    }
}

impl Matrix {
    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Floats(tensor) => tensor.dims(),
            Self::Quantized(quantized) => quantized.dims(),
        }
    }

    /// What its words are, if it is quantized.
    pub fn format(&self) -> Option<WeightFormat> {
        match self {
            Self::Floats(_) => None,
            Self::Quantized(quantized) => Some(quantized.format()),
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        let sides @ [rows, columns] = self.dims();
        self.format().map_or(4 * rows as u64 * columns as u64, |format| format.bytes(sides))
    }

    pub(crate) fn from_dispatch(weight: Weight<Dispatch>) -> Self {
        match weight {
            Weight::Floats(tensor) => Self::Floats(Tensor::from_dispatch(tensor)),
            Weight::Quantized { words, format, columns } => {
                Self::Quantized(Quantized::from_words(Tensor::from_dispatch(words), format, columns))
            }
        }
    }

    pub(crate) fn into_dispatch(self) -> Weight<Dispatch> {
        match self {
            Self::Floats(tensor) => Weight::Floats(tensor.into_dispatch()),
            Self::Quantized(quantized) => {
                let (format, [_, columns]) = (quantized.format(), quantized.dims());
                Weight::Quantized { words: quantized.words().into_dispatch(), format, columns }
            }
        }
    }
}

/// The same as a backend has it.
#[derive(Clone, Debug, ExtensionType)]
pub enum Weight<B: Backend> {
    Floats(FloatTensor<B>),
    Quantized { words: IntTensor<B>, format: WeightFormat, columns: usize },
}

impl<B: QuantizedOps> Weight<B> {
    /// Rows and columns.
    pub fn sides(&self) -> [usize; 2] {
        match self {
            Self::Floats(tensor) => [tensor.shape()[0], tensor.shape()[1]],
            Self::Quantized { words, columns, .. } => [words.shape()[0], *columns],
        }
    }

    /// The floats, if it is not quantized.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub fn as_floats(&self) -> Option<&FloatTensor<B>> {
        match self {
            Self::Floats(tensor) => Some(tensor),
            Self::Quantized { .. } => None,
        }
    }

    /// The words, if it is quantized so.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub fn as_words(&self, into: WeightFormat) -> Option<&IntTensor<B>> {
        match self {
            Self::Quantized { words, format, .. } if *format == into => Some(words),
            _ => None,
        }
    }

    /// As floats, dequantized if need be.
    pub fn floats(self) -> FloatTensor<B> {
        match self {
            Self::Floats(tensor) => tensor,
            Self::Quantized { words, format, columns } => B::dequantize_weight(words, format, columns),
        }
    }
}

/// The matrices of layers that read one input.
#[derive(Clone, Debug)]
pub struct Weights<B: Backend>(pub Vec<Weight<B>>);

// The derive of this trait knows no lists.
impl<B: Backend> ExtensionType<B> for Weights<B> {
    type Target = Weights<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        Weights(self.0.into_iter().map(|weight| weight.map_to_dispatch(&map_kind, autodiff)).collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        Self(target.0.into_iter().map(|weight| Weight::map_from_dispatch(weight, &unwrap_kind)).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first().and_then(<Weight<B> as ExtensionType<B>>::routing_tensor)
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first().and_then(<Weight<B> as ExtensionType<B>>::routing_float_tensor)
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        let contexts = target.0.iter().map(<Weight<B> as ExtensionType<B>>::autodiff_context);
        contexts.fold(DispatchAutodiffContext::default(), DispatchAutodiffContext::merge)
    }
}
