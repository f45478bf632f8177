//! How a shader of ours comes to run: its text, what is bound to it, over how many workgroups.

use std::fmt::Display;
use std::sync::LazyLock;

use burn::backend::{DType, TensorMetadata};
use burn::tensor::Shape;
use burn_cubecl::cubecl;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::attributes::BufferIOAttr;
use cubecl::prelude::{CubeCount, CubeDim, KernelId};
use cubecl::server::{KernelArguments, MetadataBindingInfo};

/// Invocations of a workgroup; the same number as in every shader but `linear_direct.wgsl`.
pub const INVOCATIONS: u32 = 64;

/// Workgroups that every adapter takes along one dimension.
pub const SIDE: u32 = 65_535;

/// Whether shaders can work on these: floats that 32 bits count, on a device that compiles WGSL. The same backend serves
/// CUDA, and wgpu devices that compile another language.
pub fn suit<const N: usize>(tensors: [&CubeTensor; N]) -> bool {
    tensors.iter().all(|t| t.client.name() == "wgpu<wgsl>" && t.dtype == DType::F32 && countable(t))
}

/// Whether shaders can read words of 32 bits from it.
pub fn reads_words(tensor: &CubeTensor) -> bool {
    tensor.client.name() == "wgpu<wgsl>" && tensor.dtype == DType::I32 && countable(tensor)
}

/// Whether 32 bits count its numbers, of which there are some.
pub fn countable(tensor: &CubeTensor) -> bool {
    (1..=u32::MAX as usize).contains(&tensor.shape().num_elements())
}

/// A software adapter: its workgroup memory is memory like any other, and a barrier costs. One that hides in a browser is
/// taken for a GPU; so are all with `STRATUNE_ADAPTER=gpu`, which shows on any machine what a GPU is given to do.
pub fn is_software(tensor: &CubeTensor) -> bool {
    static TAKEN_FOR_GPU: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("STRATUNE_ADAPTER").is_some_and(|kind| kind == "gpu"));
    !*TAKEN_FOR_GPU && tensor.client.properties().identity.physical.is_none()
}

/// Room for an output, where `like` is.
pub fn empty(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), DType::F32)
}

/// A tensor of four dimensions whose last one lies side by side, and the numbers between neighbours along the others.
pub fn strides(tensor: CubeTensor) -> (CubeTensor, [u32; 3]) {
    let tensor = if tensor.meta.strides()[3] == 1 { tensor } else { into_contiguous(tensor) };
    let strides = [0, 1, 2].map(|side| tensor.meta.strides()[side] as u32);
    (tensor, strides)
}

/// Bytes of the four numbers that a shader reads at once.
pub const FOUR_NUMBERS: u64 = 16;

/// A place in a memory, in fours of numbers.
pub fn fours(bytes: u64) -> u32 {
    (bytes / FOUR_NUMBERS) as u32
}

/// So many workgroups, in rows that every adapter takes.
pub fn grid(workgroups: u32) -> [u32; 3] {
    let x = workgroups.clamp(1, SIDE);
    [x, workgroups.div_ceil(x), 1]
}

/// What a buffer is bound for.
#[derive(Clone, Copy)]
pub enum Bound<'a> {
    /// Read.
    In(&'a CubeTensor),
    /// Written whole, never read.
    Out(&'a CubeTensor),
    /// Read and written in place.
    InOut(&'a CubeTensor),
}

/// The text of a shader. Each set of constants makes a pipeline of its own.
#[derive(Clone, Debug)]
pub struct Shader {
    name: &'static str,
    text: Vec<&'static str>,
    constants: Vec<(&'static str, String)>,
    /// A place such as `$c`, and how many lines a line with it stands for, each with its number. Accumulators that are named
    /// variables stay in registers, where an array that is indexed may not.
    lines: Vec<(&'static str, u32)>,
}

impl Shader {
    /// A file of `shaders/`, and its name.
    pub fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text: vec![text], constants: Vec::new(), lines: Vec::new() }
    }

    /// More text behind it. What is added is to follow from the constants, which tell pipelines apart.
    pub fn and(mut self, text: &'static str) -> Self {
        self.text.push(text);
        self
    }

    /// A constant: what `{{ name }}` stands for.
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.constants.push((name, value.to_string()));
        self
    }

    /// A line with `place` in it stands for `lines` lines, each with its number there.
    pub fn unrolled(mut self, place: &'static str, lines: u32) -> Self {
        self.lines.push((place, lines));
        self
    }

    /// Runs it over `workgroups`. Bindings are numbered as listed; behind them come `numbers`, as vectors of four.
    pub fn launch(self, bound: &[Bound], numbers: &[u32], workgroups: [u32; 3]) {
        let Some(Bound::In(first) | Bound::Out(first) | Bound::InOut(first)) = bound.first() else { return };
        let client = first.client.clone();
        let mut arguments = KernelArguments::new();
        for of in bound {
            let (tensor, access) = match of {
                Bound::In(tensor) => (tensor, BufferIOAttr::ReadOnly),
                Bound::Out(tensor) => (tensor, BufferIOAttr::WriteOnly),
                Bound::InOut(tensor) => (tensor, BufferIOAttr::ReadWrite),
            };
            arguments = arguments.with_buffer_io(tensor.handle.clone().binding(), access);
        }
        let number = |i: usize| u64::from(numbers.get(i).copied().unwrap_or(0));
        let pairs = (0..numbers.len().next_multiple_of(4) / 2).map(|i| number(2 * i) | number(2 * i + 1) << 32);
        let arguments = arguments.with_info(MetadataBindingInfo::custom(pairs.collect()));
        let kernel = SourceKernel::new(self, CubeDim::new_1d(INVOCATIONS));
        let [x, y, z] = workgroups;
        client.launch(Box::new(kernel), CubeCount::Static(x, y, z), arguments);
    }
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        let mut lines: Vec<String> = self.text.iter().flat_map(|text| text.lines()).map(str::to_string).collect();
        for (place, count) in &self.lines {
            let each = |line: String| match line.contains(place) {
                true => (0..*count).map(|i| line.replace(place, &i.to_string())).collect(),
                false => vec![line],
            };
            lines = lines.into_iter().flat_map(each).collect();
        }
        let whole = SourceTemplate::new(lines.join("\n"));
        // Natively tensors share buffers, and a buffer cannot be bound for reading and for writing at once. In a browser
        // only parts of one buffer do, and nothing that is read lies in one buffer with what is written; one that is
        // bound twice, as in `x xᵀ`, may not be bound for writing.
        let input_access = if cfg!(target_family = "wasm") { "read" } else { "read_write" };
        let whole = whole.register("input_access", input_access);
        self.constants.iter().fold(whole, |all, (name, value)| all.register(*name, value.clone()))
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info((self.name, self.constants.clone(), self.lines.clone()))
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroups_are_laid_in_rows() {
        assert_eq!(grid(0), [1, 0, 1]);
        assert_eq!(grid(7), [7, 1, 1]);
        assert_eq!(grid(65_536), [65_535, 2, 1]);
    }

    #[test]
    fn a_pipeline_is_its_name_and_its_constants() {
        let shader = |name, value: u32| Shader::new(name, "const N = {{ n }};").with("n", value);
        assert_eq!(shader("a", 3).source().complete(), "const N = 3;");
        assert_eq!(shader("a", 3).id(), shader("a", 3).id());
        assert_ne!(shader("a", 3).id(), shader("a", 4).id());
        assert_ne!(shader("a", 3).id(), shader("b", 3).id());
        assert_ne!(shader("a", 3).id(), shader("a", 3).unrolled("$c", 2).id());
    }

    #[test]
    fn lines_are_unrolled() {
        let shader = Shader::new("a", "let sum = 0.0\n+ x$c * y[$c]\n;").unrolled("$c", 2);
        assert_eq!(shader.source().complete(), "let sum = 0.0\n+ x0 * y[0]\n+ x1 * y[1]\n;");
        let shader = Shader::new("a", "x$c_$e\ny$e").unrolled("$c", 2).unrolled("$e", 2);
        assert_eq!(shader.source().complete(), "x0_0\nx0_1\nx1_0\nx1_1\ny0\ny1");
    }
}
