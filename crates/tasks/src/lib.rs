#![doc = include_str!("../README.md")]

mod answer;
mod classification;
mod classify;
mod commonsense;
mod files;
mod glue;
mod interval;
mod item;
mod labelled;
mod math;
mod metrics;
mod own;
mod score;
mod superglue;
mod task;

pub use answer::Answers;
pub use files::{Folder, TaskFiles};
pub use interval::{Interval, over_seeds};
pub use item::{Choice, Item, Label, Prediction};
pub use labelled::Labelled;
pub use metrics::Metric;
pub use own::OwnData;
pub use score::Scored;
pub use task::{Family, Judge, Paths, Split, Task, task, tasks};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod published;
