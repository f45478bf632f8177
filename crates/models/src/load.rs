//! A checkpoint's tensors on their way to a device, and as they lie there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use burn::tensor::{Device, Float, Tensor};
use stratune_kernels::{Matrix, Quantized, QuantizedDtype, Quantizer, group_weights};
use stratune_peft::Weight;
use stratune_protocol::{BaseDtype, Role, WeightStorage};
use stratune_runtime::TensorBuilder;

use crate::Entry;
use crate::ModelConfig;

/// Tensors on the device by checkpoint name, each in its [`pieces`]. Matrices of layers that read the same input are put
/// where one dispatch can read all of them as soon as they are there: those of one block at a time are held twice.
#[derive(Debug)]
pub struct Weights {
    tensors: BTreeMap<String, Vec<LoadedTensor>>,
    /// The matrices that read the same input, by the name of each.
    siblings: BTreeMap<String, Rc<[String]>>,
}

impl Weights {
    /// Of a model, none of them yet.
    pub fn of(config: &ModelConfig) -> Self {
        let mut siblings = BTreeMap::new();
        for i in 0..config.num_hidden_layers {
            for roles in Role::LINEAR.map(Role::siblings) {
                let name = |role: &Role| config.module(Some(i), *role).map(|module| format!("{}.weight", module.path));
                let names: Rc<[String]> = roles.iter().filter_map(name).collect();
                if names.len() < 2 {
                    continue;
                }
                siblings.extend(names.iter().map(|name| (name.clone(), names.clone())));
            }
        }
        Self { tensors: BTreeMap::new(), siblings }
    }

    /// One more.
    pub fn insert(&mut self, name: String, loaded: Vec<LoadedTensor>) {
        let names = self.siblings.get(&name).cloned();
        self.tensors.insert(name, loaded);
        if let Some(names) = names {
            self.group_weights(&names);
        }
    }

    /// If all of them are there.
    fn group_weights(&mut self, names: &[String]) {
        let matrix = |name: &String| match self.tensors.get(name).map(Vec::as_slice) {
            Some([LoadedTensor::Floats(floats)]) => Some(floats.clone().unsqueeze::<2>().into()),
            Some([LoadedTensor::Quantized(quantized)]) => Some(Matrix::Quantized(quantized.clone())),
            _ => None,
        };
        let Some(matrices) = names.iter().map(matrix).collect::<Option<Vec<_>>>() else { return };
        for (name, matrix) in names.iter().zip(group_weights(matrices)) {
            let loaded = match matrix {
                Matrix::Floats(floats) => LoadedTensor::Floats(floats.flatten(0, 1)),
                Matrix::Quantized(quantized) => LoadedTensor::Quantized(quantized),
            };
            self.tensors.insert(name.clone(), vec![loaded]);
        }
    }

    /// Whether one is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Takes one out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Vec<LoadedTensor>> {
        self.tensors.remove(name)
    }
}

impl Extend<(String, Vec<LoadedTensor>)> for Weights {
    fn extend<I: IntoIterator<Item = (String, Vec<LoadedTensor>)>>(&mut self, more: I) {
        more.into_iter().for_each(|(name, loaded)| self.insert(name, loaded));
    }
}

/// A piece of a tensor of the checkpoint on the device.
#[derive(Clone, Debug)]
pub enum LoadedTensor {
    /// Floats, flattened.
    Floats(Tensor<1>),
    /// A matrix in fewer bits.
    Quantized(Quantized),
}

/// A piece of a tensor of the checkpoint on its way to the device.
#[derive(Debug)]
pub enum TensorLoader {
    /// As floats.
    Floats(TensorBuilder<Float>),
    /// To be quantized.
    Quantized(Quantizer),
}

/// How a kernel knows what matrices are kept as; none is floats.
pub fn quantized_dtype(dtype: BaseDtype) -> Option<QuantizedDtype> {
    match dtype {
        BaseDtype::File | BaseDtype::F32 => None,
        BaseDtype::F16 => Some(QuantizedDtype::F16),
        BaseDtype::Int8 => Some(QuantizedDtype::Int8),
        BaseDtype::Int4 => Some(QuantizedDtype::Int4),
    }
}

impl TensorLoader {
    /// A piece, of this shape, of which nothing has come yet: matrices as `dtype` has them, vectors as floats.
    pub fn new(role: Role, shape: &[usize], dtype: BaseDtype, device: &Device) -> Self {
        let dtype = match role {
            Role::Embedding | Role::PositionEmbedding | Role::TokenTypeEmbedding | Role::RelativeBias | Role::Head => {
                dtype.of_embeddings()
            }
            // Small, and its rows are as long as a patch has numbers, which may be anything.
            Role::PatchEmbedding => BaseDtype::F32,
            _ => dtype,
        };
        match (shape, quantized_dtype(dtype)) {
            (&[rows, columns], Some(dtype)) => Self::Quantized(Quantizer::new([rows, columns], dtype, device)),
            _ => Self::Floats(TensorBuilder::new(shape.iter().product(), device)),
        }
    }

    /// The next of its numbers, whole rows of a matrix.
    pub fn add(&mut self, values: Vec<f32>) {
        match self {
            Self::Floats(builder) => builder.add(values),
            Self::Quantized(quantizer) => quantizer.add(&values),
        }
    }

    /// What has come.
    pub fn finish(self) -> LoadedTensor {
        match self {
            Self::Floats(builder) => LoadedTensor::Floats(builder.finish()),
            Self::Quantized(quantizer) => LoadedTensor::Quantized(quantizer.finish()),
        }
    }
}

impl LoadedTensor {
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Floats(tensor) => tensor.dims()[0],
            Self::Quantized(quantized) => quantized.dims().iter().product(),
        }
    }

    /// As a matrix of so many columns.
    pub(crate) fn matrix(self, columns: usize) -> Weight {
        match self {
            Self::Floats(tensor) => {
                let rows = tensor.dims()[0] / columns.max(1);
                tensor.reshape([rows, columns]).into()
            }
            Self::Quantized(quantized) => Weight::Quantized(quantized),
        }
    }
}

/// The pieces in which a tensor of the checkpoint is kept, the embedding and the output layer in as many as it takes: which
/// of its numbers each has, and its shape.
pub fn pieces(entry: &Entry, storage: WeightStorage) -> Vec<(Range<usize>, Vec<usize>)> {
    let shape = &entry.shape;
    match shape[..] {
        [rows, columns] if entry.is_embedding() => {
            let most = storage.rows_of_a_piece([rows, columns]);
            // The rows that are left over from fours make a piece of their own.
            let count =
                |left: usize| if left <= most && most < rows && left > 4 { left / 4 * 4 } else { most.min(left) };
            let mut pieces = Vec::new();
            let mut from = 0;
            while from < rows {
                let count = count(rows - from);
                pieces.push((from * columns..(from + count) * columns, vec![count, columns]));
                from += count;
            }
            pieces
        }
        _ => vec![(0..shape.iter().product(), shape.clone())],
    }
}
