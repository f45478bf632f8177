//! The training loop, and what it is made of.
//!
//! [`Trainer`] is the loop. [`sweep`](sweep()) is one batch up and down the model; [`AdamW`] moves the parameters, or
//! [`Direction`] without a gradient (MeZO); [`learning_rate`] is the schedule; a [`Hook`] may narrow which layers train and
//! watch what happens; a [`Host`] is the front end. The loop names no hook. What some methods need beside a gradient has a
//! file each: [`scout`](scout()) lets them choose what trains, a [`Budget`] takes directions from AdaLoRA, [`Projectors`]
//! narrow GaLore's gradients, [`prune`](prune()) keeps the largest differences of diff pruning.

mod budget;
mod config;
mod evaluate;
mod hook;
mod measuring;
mod memory;
mod mezo;
mod optimiser;
mod pace;
mod projected;
mod pruning;
mod schedule;
mod scout;
mod share;
mod spacing;
mod state;
mod step;
mod sweep;
mod teller;
mod trainer;
mod upload;
mod watch;

pub use budget::Budget;
pub use config::{Command, Event, RunConfig, SavedRun, TunedRun};
pub use evaluate::{Measured, measure};
pub use hook::{Everything, Hook, Lab, Rows, Selection};
pub use mezo::{Direction, Move, Slope};
pub use optimiser::{AdamW, Moment};
pub use projected::Projectors;
pub use pruning::{Pruned, prune};
pub use schedule::learning_rate;
pub use scout::scout;
pub use state::{Identity, Record, TrainState};
pub use sweep::{Demand, Swept, sweep};
pub use trainer::{Ended, Host, Trainer};
pub use upload::{Batching, Uploaded};
pub use watch::Watch;
