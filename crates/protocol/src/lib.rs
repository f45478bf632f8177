//! What a run is made of, as plain data.
//!
//! The command line, the page and the engine share these types and nothing else: a [`Command`] goes to an engine,
//! [`Event`]s come back. No tensor, no file, no thread and no method is known here, so the page can hold the whole of
//! it without holding an engine.

mod architecture;
mod catalogue;
mod command;
mod config;
mod draw;
mod event;
mod forecast;
mod hub_id;
mod hub_message;
mod label_metrics;
mod plan;
mod problem;
mod report;
mod storage;

#[doc(hidden)]
pub use architecture::testing;
pub use architecture::{Module, Role, ends_with};
pub use catalogue::{Catalogue, Choices, Field, FieldKind, MethodEntry, Mode, Preset, Range, SearchChoices, Values};
pub use command::{Asset, Command, ExportForm, FOLDER_MARK, GenerateRequest, ModelVariant};
pub use config::{
    BaseDtype, Budget, BudgetUnit, ClassWeights, ComputeDtype, DataConfig, DataFormat, DeviceChoice, IstConfig,
    IstMode, Labels, ModuleTime, NUMBER_BYTES, Objective, OptimiserKind, PromptTemplate, Schedule, SearchBy,
    SearchConfig, StepTime, Targets, TrainConfig, command_line, whole,
};
pub use draw::{draws, normals};
pub use event::{
    AdapterInfo, Candidate, EndReason, Event, FrontPoint, SavedRun, SearchPlace, SearchReport, StepReport,
    StructureReport, TunedRun,
};
pub use forecast::{Bytes, Limits, Pace, Remedy, Verdict, advice, loss_rows, scaled};
pub use hub_id::{HubId, check_path, is_commit};
pub use hub_message::{HubCommand, HubEvent, HubReport, KeptFiles};
pub use label_metrics::{Confusion, LabelMetrics};
pub use plan::{MemoryPlan, Plan, RunSize, SearchSize};
pub use problem::{Problem, ProblemKind};
pub use report::{DataReport, LabelledColumns, ModelReport, PreviewRow, PreviewToken, SkippedRow, WeightBytes};
pub use storage::WeightStorage;
