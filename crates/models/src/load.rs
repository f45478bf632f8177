//! A checkpoint's tensors on their way to a device, and as they lie there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use burn::tensor::{Device, Float, Tensor};
use stratune_kernels::{Matrix, Packed, PackedDtype, Packer, lay_together};
use stratune_peft::Weight;
use stratune_protocol::{BaseDtype, Keep, Role};
use stratune_runtime::Filling;

use crate::ModelConfig;
use crate::config::Entry;

/// Tensors on the device by checkpoint name, each in its [`pieces`]. Matrices of layers that read the same input are put
/// where one dispatch can read all of them as soon as they are there: those of one block at a time are held twice.
#[derive(Debug)]
pub struct Weights {
    tensors: BTreeMap<String, Vec<Stored>>,
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
    pub fn insert(&mut self, name: String, stored: Vec<Stored>) {
        let names = self.siblings.get(&name).cloned();
        self.tensors.insert(name, stored);
        if let Some(names) = names {
            self.lay_together(&names);
        }
    }

    /// If all of them are there.
    fn lay_together(&mut self, names: &[String]) {
        let matrix = |name: &String| match self.tensors.get(name).map(Vec::as_slice) {
            Some([Stored::Floats(floats)]) => Some(floats.clone().unsqueeze::<2>().into()),
            Some([Stored::Packed(packed)]) => Some(Matrix::Packed(packed.clone())),
            _ => None,
        };
        let Some(matrices) = names.iter().map(matrix).collect::<Option<Vec<_>>>() else { return };
        for (name, matrix) in names.iter().zip(lay_together(matrices)) {
            let stored = match matrix {
                Matrix::Floats(floats) => Stored::Floats(floats.flatten(0, 1)),
                Matrix::Packed(packed) => Stored::Packed(packed),
            };
            self.tensors.insert(name.clone(), vec![stored]);
        }
    }

    /// Takes one out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Vec<Stored>> {
        self.tensors.remove(name)
    }
}

impl Extend<(String, Vec<Stored>)> for Weights {
    fn extend<I: IntoIterator<Item = (String, Vec<Stored>)>>(&mut self, more: I) {
        more.into_iter().for_each(|(name, stored)| self.insert(name, stored));
    }
}

/// A piece of a tensor of the checkpoint on the device.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Floats, flattened.
    Floats(Tensor<1>),
    /// A matrix in fewer bits.
    Packed(Packed),
}

/// A piece of a tensor of the checkpoint on its way to the device.
#[derive(Debug)]
pub enum Arriving {
    /// As floats.
    Floats(Filling<Float>),
    /// To be packed.
    Packed(Packer),
}

/// How a kernel knows what matrices are kept as; none is floats.
pub fn packed_as(dtype: BaseDtype) -> Option<PackedDtype> {
    match dtype {
        BaseDtype::F32 => None,
        BaseDtype::F16 => Some(PackedDtype::F16),
        BaseDtype::Int8 => Some(PackedDtype::Int8),
        BaseDtype::Int4 => Some(PackedDtype::Int4),
    }
}

impl Arriving {
    /// A piece, of this shape, of which nothing has come yet: matrices as `dtype` has them, vectors as floats.
    pub fn new(role: Role, shape: &[usize], dtype: BaseDtype, device: &Device) -> Self {
        let dtype = if matches!(role, Role::Embedding | Role::Head) { dtype.of_tables() } else { dtype };
        match (shape, packed_as(dtype)) {
            (&[rows, columns], Some(dtype)) => Self::Packed(Packer::new([rows, columns], dtype, device)),
            _ => Self::Floats(Filling::new(shape.iter().product(), device)),
        }
    }

    /// The next of its numbers, whole rows of a matrix.
    pub fn add(&mut self, values: Vec<f32>) {
        match self {
            Self::Floats(filling) => filling.add(values),
            Self::Packed(packer) => packer.add(&values),
        }
    }

    /// What has come.
    pub fn finish(self) -> Stored {
        match self {
            Self::Floats(filling) => Stored::Floats(filling.finish()),
            Self::Packed(packer) => Stored::Packed(packer.finish()),
        }
    }
}

impl Stored {
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Floats(tensor) => tensor.dims()[0],
            Self::Packed(packed) => packed.dims().iter().product(),
        }
    }

    /// As a matrix of so many columns.
    pub(crate) fn matrix(self, columns: usize) -> Weight {
        match self {
            Self::Floats(tensor) => {
                let rows = tensor.dims()[0] / columns.max(1);
                tensor.reshape([rows, columns]).into()
            }
            Self::Packed(packed) => Weight::Packed(packed),
        }
    }
}

/// The pieces in which a tensor of the checkpoint is kept, the embedding and the output layer in as many as it takes: which
/// of its numbers each has, and its shape.
pub fn pieces(entry: &Entry, keep: Keep) -> Vec<(Range<usize>, Vec<usize>)> {
    let shape = &entry.shape;
    match shape[..] {
        [rows, columns] if entry.is_table() => {
            let most = keep.rows_of_a_piece([rows, columns]);
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
