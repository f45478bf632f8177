//! What a run's configuration is made of, but for its methods.

mod base_dtype;
mod budget;
mod command_line;
mod compute_dtype;
mod data;
mod device;
mod ist;
mod objective;
mod preset;
mod prompt_template;
mod search;
mod targets;
mod train;

pub use base_dtype::BaseDtype;
pub use budget::{Budget, BudgetUnit, ModuleTime, NUMBER_BYTES, StepTime};
pub use command_line::command_line;
pub use compute_dtype::ComputeDtype;
pub use data::{DataConfig, DataFormat, Labels};
pub use device::DeviceChoice;
pub use ist::{IstConfig, IstMode};
pub use objective::{ClassWeights, Objective};
pub use prompt_template::PromptTemplate;
pub use search::{SearchBy, SearchConfig};
pub use targets::{Targets, whole};
pub use train::{OptimiserKind, Schedule, TrainConfig};
