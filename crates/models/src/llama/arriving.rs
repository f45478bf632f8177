//! A checkpoint's tensors on their way to a device, and as they lie there.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Device, Float, Tensor};
use stratune_kernels::{Matrix, Packed, PackedDtype, Packer, lay_together};
use stratune_peft::Weight;
use stratune_protocol::{BaseDtype, Keep, Target};
use stratune_runtime::Filling;

/// Layers of a block that read the same input, by the ends of their paths.
const TOGETHER: [&[Target]; 2] = [&[Target::QProj, Target::KProj, Target::VProj], &[Target::GateProj, Target::UpProj]];

/// Tensors on the device by checkpoint name, each in its [`pieces`]. Matrices of layers that read the same input are put
/// where one dispatch can read all of them as soon as they are there: those of one block at a time are held twice.
#[derive(Debug, Default)]
pub struct Weights(BTreeMap<String, Vec<Stored>>);

impl Weights {
    /// One more.
    pub fn insert(&mut self, name: String, stored: Vec<Stored>) {
        let names = TOGETHER.iter().find_map(|targets| {
            let mut ends = targets.iter().map(|target| format!("{}.weight", target.path()));
            let block = ends.find_map(|end| name.strip_suffix(&end).map(str::to_string))?;
            let name = |target: &Target| format!("{block}{}.weight", target.path());
            Some(targets.iter().map(name).collect::<Vec<_>>())
        });
        self.0.insert(name, stored);
        if let Some(names) = names {
            self.lay_together(&names);
        }
    }

    /// If all of them are there.
    fn lay_together(&mut self, names: &[String]) {
        let matrix = |name: &String| match self.0.get(name).map(Vec::as_slice) {
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
            self.0.insert(name.clone(), vec![stored]);
        }
    }

    /// Takes one out.
    pub(super) fn take(&mut self, name: &str) -> Option<Vec<Stored>> {
        self.0.remove(name)
    }
}

impl FromIterator<(String, Vec<Stored>)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Vec<Stored>)>>(all: I) -> Self {
        let mut weights = Self::default();
        all.into_iter().for_each(|(name, stored)| weights.insert(name, stored));
        weights
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
    pub fn new(name: &str, shape: &[usize], dtype: BaseDtype, device: &Device) -> Self {
        let dtype = if is_table(name) { dtype.of_tables() } else { dtype };
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
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Floats(tensor) => tensor.dims()[0],
            Self::Packed(packed) => packed.dims().iter().product(),
        }
    }

    /// As a matrix of so many columns.
    pub(super) fn matrix(self, columns: usize) -> Weight {
        match self {
            Self::Floats(tensor) => {
                let rows = tensor.dims()[0] / columns.max(1);
                tensor.reshape([rows, columns]).into()
            }
            Self::Packed(packed) => Weight::Packed(packed),
        }
    }
}

/// The embedding's path.
pub const EMBED_TOKENS: &str = "model.embed_tokens.weight";
/// The output layer's path, if it has a matrix of its own.
pub const LM_HEAD: &str = "lm_head.weight";

fn is_table(name: &str) -> bool {
    name == EMBED_TOKENS || name == LM_HEAD
}

/// The pieces in which a tensor of the checkpoint is kept, the embedding and the output layer in as many as it takes: which
/// of its numbers each has, and its shape.
pub fn pieces(name: &str, shape: &[usize], keep: Keep) -> Vec<(Range<usize>, Vec<usize>)> {
    match *shape {
        [rows, columns] if is_table(name) => {
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
        _ => vec![(0..shape.iter().product(), shape.to_vec())],
    }
}
