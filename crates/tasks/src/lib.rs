#![doc = include_str!("../README.md")]

mod answer;
mod commonsense;
mod files;
mod interval;
mod item;
mod metrics;
mod score;
mod task;

pub use answer::Answers;
pub use files::{Folder, TaskFiles};
pub use interval::{Interval, over_seeds};
pub use item::{Choice, Item, Label, Prediction};
pub use metrics::Metric;
pub use score::Scored;
pub use task::{Family, Judge, Split, Task, task, tasks};
