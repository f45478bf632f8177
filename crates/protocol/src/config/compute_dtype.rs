//! What products multiply in.

use serde::{Deserialize, Serialize};

use crate::Problem;

/// What linear layers multiply in, forward and for the gradient of their input (mixed precision: Micikevicius et al. 2018, arXiv
/// 1710.03740). Products with a side of 32 or fewer, gradients of parameters, everything between the layers and
/// the optimiser stay f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    /// 32 bits, on every device.
    #[default]
    F32,
    /// Half floats: 11 bits of a number, which ends at 65,504.
    F16,
    /// The upper half of an f32: 8 bits of a number, which ends where f32 does.
    Bf16,
}

impl ComputeDtype {
    /// All, from most exact to least.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Refuses it on a device that multiplies in `these` alone.
    ///
    /// # Errors
    /// It is none of them.
    pub fn check(self, these: &[Self]) -> Result<(), Problem> {
        if these.contains(&self) {
            return Ok(());
        }
        let names: Vec<&str> = these.iter().map(|dtype| dtype.name()).collect();
        Err(Problem::input(format!("this device does not multiply in {self}"))
            .at("compute_dtype")
            .next(format!("use {}, or another device", names.join(" or "))))
    }
}

impl std::str::FromStr for ComputeDtype {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.name() == text)
            .ok_or_else(|| Problem::input(format!("unknown compute_dtype '{text}'")).next("use f32, f16 or bf16"))
    }
}

impl std::fmt::Display for ComputeDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_configurations_write() {
        for dtype in ComputeDtype::ALL {
            assert_eq!(serde_json::to_value(dtype).unwrap(), dtype.name());
            assert_eq!(dtype.name().parse::<ComputeDtype>().unwrap(), dtype);
        }
        assert!("int8".parse::<ComputeDtype>().unwrap_err().next.contains("bf16"));
    }

    #[test]
    fn a_device_refuses_what_it_has_not() {
        let has = [ComputeDtype::F32, ComputeDtype::F16];
        assert!(has.iter().all(|dtype| dtype.check(&has).is_ok()));
        let problem = ComputeDtype::Bf16.check(&has).unwrap_err();
        assert_eq!(problem.what, "this device does not multiply in bf16");
        assert!(problem.next.contains("f32 or f16"), "{}", problem.next);
    }
}
