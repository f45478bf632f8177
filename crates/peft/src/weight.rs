//! The matrix of a layer.

use burn::tensor::{Device, Int, Tensor};
use stratune_kernels::{Matrix, Packed, PackedDtype};
use stratune_protocol::Problem;
use stratune_runtime::read_f32;

use crate::{Additions, ModuleId, Param, Visitor};

/// A matrix: floats, which a method may train, or fewer bits, which are read where they are used.
#[derive(Clone, Debug)]
pub enum Weight {
    /// A parameter.
    Floats(Param<2>),
    /// No parameter: nothing can move it.
    Packed(Packed),
}

/// Floats that stay as they are.
impl From<Tensor<2>> for Weight {
    fn from(value: Tensor<2>) -> Self {
        Self::Floats(Param::frozen(value))
    }
}

impl Weight {
    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Floats(param) => param.value.dims(),
            Self::Packed(packed) => packed.dims(),
        }
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        match self {
            Self::Floats(param) => param.value.device(),
            Self::Packed(packed) => packed.device(),
        }
    }

    /// Whether the run trains it.
    pub fn trains(&self) -> bool {
        matches!(self, Self::Floats(param) if param.trainable)
    }

    /// What a product takes.
    pub fn matrix(&self) -> Matrix {
        match self {
            Self::Floats(param) => param.value.clone().into(),
            Self::Packed(packed) => Matrix::Packed(packed.clone()),
        }
    }

    /// The same matrix, at another place.
    pub(crate) fn put(&mut self, matrix: Matrix) {
        match (&mut *self, matrix) {
            (Self::Floats(param), Matrix::Floats(value)) => param.value = value,
            (_, Matrix::Floats(value)) => *self = value.into(),
            (_, Matrix::Packed(packed)) => *self = Self::Packed(packed),
        }
    }

    /// Its numbers as floats. What is packed is unpacked for this one use.
    pub fn dense(&self) -> Tensor<2> {
        match self {
            Self::Floats(param) => param.value.clone(),
            Self::Packed(packed) => packed.dense(),
        }
    }

    /// Some of its rows as floats.
    ///
    /// # Shapes
    /// - `places`: `[n]`
    /// - output: `[n, columns]`
    pub fn rows(&self, places: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Floats(param) => param.value.clone().select(0, places),
            Self::Packed(packed) => packed.select(places).dense(),
        }
    }

    /// Its numbers on the host, one row behind the other.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn read(&self) -> Result<Vec<f32>, Problem> {
        match self {
            Self::Floats(param) => read_f32(param.value.clone()).await,
            Self::Packed(packed) => packed.clone().read().await,
        }
    }

    /// The parameter; what is packed becomes one first.
    pub fn floats_mut(&mut self) -> &mut Param<2> {
        if let Self::Packed(packed) = self {
            *self = packed.dense().into();
        }
        let Self::Floats(param) = self else { unreachable!("packed ones were made floats above") };
        param
    }

    /// Packs it, through the host.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn pack(&mut self, dtype: PackedDtype) -> Result<(), Problem> {
        *self = Self::Packed(packed(self.dense(), dtype).await?);
        Ok(())
    }
}

/// A tensor's numbers, packed.
pub(crate) async fn packed(weight: Tensor<2>, dtype: PackedDtype) -> Result<Packed, Problem> {
    let (shape, device) = (weight.dims(), weight.device());
    Ok(Packed::new(&read_f32(weight).await?, shape, dtype, &device))
}

impl Additions for Weight {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        if let Self::Floats(param) = self {
            visitor.visit(&of.param("weight"), param);
        }
    }
}
