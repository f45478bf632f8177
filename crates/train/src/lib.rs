//! The training loop, and what it is made of.
//!
//! [`Trainer`] is the loop. [`sweep`](sweep()) is one batch up and down the model; an [`Objective`] is what is minimised;
//! [`AdamW`] moves the parameters, or [`Direction`] without a gradient (MeZO); [`learning_rate`] is the schedule; a [`Hook`]
//! acts before training, before a step, on its gradients and after it; a [`Host`] is the front end. The loop names no hook:
//! methods that act while a run goes on have a file each in `hooks/`.

mod evaluate;
mod hook;
mod hooks;
mod measuring;
mod memory;
mod mezo;
mod objective;
mod optimiser;
mod pace;
mod projected;
mod schedule;
mod share;
mod spacing;
mod state;
mod step;
mod sweep;
mod teller;
mod trainer;
mod upload;
mod watch;

pub use evaluate::{Measured, measure};
pub use hook::{Hook, HookState, Rows, Run, Saved, Selection, Tell};
pub use hooks::{AdaLora, Pruned, hooks_of, prune};
pub use mezo::{Direction, Move, Slope};
pub use objective::{NextToken, Objective};
pub use optimiser::{AdamW, Moment};
pub use projected::Projectors;
pub use schedule::learning_rate;
pub use state::{Identity, Record, TrainState};
pub use sweep::{Demand, Swept, sweep};
pub use trainer::{Ended, Host, Trainer};
pub use upload::{Batching, Uploaded};
pub use watch::Watch;
