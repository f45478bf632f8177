//! The training loop, and what it is made of.
//!
//! [`Trainer`] is the loop. [`sweep`](sweep()) gives loss and gradients of one batch, with gradient checkpointing block
//! by block; an [`Objective`] is what is minimised; [`AdamW`] moves the parameters, or [`Perturbation`] without a
//! gradient (MeZO); [`learning_rate`] is the schedule; a [`Hook`] acts before training, before a step, on its gradients
//! and after it; a [`TrainerCallback`] is the front end. The loop names no hook: methods that act while a run goes on
//! have a file each in `hooks/`.

mod classification;
mod config;
mod device_batch;
mod evaluate;
mod evaluation_share;
mod hook;
mod hooks;
mod log_spaced;
mod metrics_logger;
mod mezo;
mod no_output;
mod objective;
mod optimiser;
mod optimiser_state;
mod pace;
mod progress;
mod projected;
mod schedule;
mod state;
mod step;
mod sweep;
mod trainer;
mod validate;

pub use classification::{Classification, Regression, likeliest};
pub use config::{Command, Event, RunConfig, SavedRun, TunedRun};
pub use device_batch::{Batching, DeviceBatch};
pub use evaluate::{Evaluation, classify, evaluate, row_losses};
pub use hook::{Hook, HookState, Rows, Run, Saved, Selection, Tell};
pub use hooks::{AdaLora, Pruned, hooks_of, prune};
pub use mezo::{MezoStep, Perturbation, ProjectedGradient};
pub use no_output::NoOutput;
pub use objective::{NextToken, Objective};
pub use optimiser::{AdamW, StepKey};
pub use progress::ProgressReporter;
pub use projected::Projectors;
pub use schedule::learning_rate;
pub use state::{Identity, Record, TrainState};
pub use sweep::{SweepOptions, SweepOutput, sweep};
pub use trainer::{TrainOutput, Trainer, TrainerCallback};
