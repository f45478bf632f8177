//! The matrix of a layer.

use burn::tensor::{Device, Int, Tensor};
use stratune_kernels::{Matrix, Quantized, QuantizedDtype};
use stratune_protocol::Problem;
use stratune_runtime::read_f32;

use crate::{Additions, ModuleId, Param, Visitor};

/// A matrix: floats, which a method may train, or fewer bits, which are read where they are used.
#[derive(Clone, Debug)]
pub enum Weight {
    /// A parameter.
    Floats(Param<2>),
    /// No parameter: nothing can move it.
    Quantized(Quantized),
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
            Self::Quantized(quantized) => quantized.dims(),
        }
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        match self {
            Self::Floats(param) => param.value.device(),
            Self::Quantized(quantized) => quantized.device(),
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
            Self::Quantized(quantized) => Matrix::Quantized(quantized.clone()),
        }
    }

    /// The same matrix, at another place.
    pub(crate) fn put(&mut self, matrix: Matrix) {
        match (&mut *self, matrix) {
            (Self::Floats(param), Matrix::Floats(value)) => param.value = value,
            (_, Matrix::Floats(value)) => *self = value.into(),
            (_, Matrix::Quantized(quantized)) => *self = Self::Quantized(quantized),
        }
    }

    /// Its numbers as floats. What is quantized is dequantized for this one use.
    pub fn dense(&self) -> Tensor<2> {
        match self {
            Self::Floats(param) => param.value.clone(),
            Self::Quantized(quantized) => quantized.dense(),
        }
    }

    /// Some of its rows as floats.
    ///
    /// # Shapes
    /// - `ids`: `[n]`
    /// - output: `[n, columns]`
    pub fn rows(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Floats(param) => param.value.clone().select(0, ids),
            Self::Quantized(quantized) => quantized.select(ids).dense(),
        }
    }

    /// Its numbers on the host, one row behind the other.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn read(&self) -> Result<Vec<f32>, Problem> {
        match self {
            Self::Floats(param) => read_f32(param.value.clone()).await,
            Self::Quantized(quantized) => quantized.clone().read().await,
        }
    }

    /// The parameter; what is quantized becomes one first.
    pub fn floats_mut(&mut self) -> &mut Param<2> {
        if let Self::Quantized(quantized) = self {
            *self = quantized.dense().into();
        }
        let Self::Floats(param) = self else { unreachable!("quantized ones were made floats above") };
        param
    }

    /// Quantizes it, through the host.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn quantize(&mut self, dtype: QuantizedDtype) -> Result<(), Problem> {
        *self = Self::Quantized(quantized(self.dense(), dtype).await?);
        Ok(())
    }
}

/// A tensor's numbers, quantized.
pub(crate) async fn quantized(weight: Tensor<2>, dtype: QuantizedDtype) -> Result<Quantized, Problem> {
    let (shape, device) = (weight.dims(), weight.device());
    Ok(Quantized::new(&read_f32(weight).await?, shape, dtype, &device))
}

impl Additions for Weight {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        if let Self::Floats(param) = self {
            visitor.visit(&of.param("weight"), param);
        }
    }
}
