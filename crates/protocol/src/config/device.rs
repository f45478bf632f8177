//! Where to compute.

use serde::{Deserialize, Serialize};

use crate::Problem;

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// A hardware GPU that passes the self-test, else the CPU; the run says which and why.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU through wgpu (WebGPU in a browser), software adapters included.
    Wgpu,
    /// A CUDA card; needs a build with the `cuda` feature.
    Cuda(usize),
}

impl std::str::FromStr for DeviceChoice {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let bad = || Problem::input(format!("unknown device '{text}'")).next("use auto, cpu, wgpu, cuda or cuda:INDEX");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "wgpu" => Ok(Self::Wgpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|i| i.parse().ok()).map(Self::Cuda).ok_or_else(bad),
        }
    }
}
