#![doc = include_str!("../README.md")]
//!
//! # In the code
//!
//! [`Search`] is a [`Hook`](stratune_train::Hook): the training loop does not know it. It has a [`Space`] (where, how large,
//! the budget), a [`Supernet`](supernet::Supernet) (gates on the parameters of all modules) and a [`Searcher`], a file each in
//! `searchers/`.

mod adam;
mod front;
mod hook;
mod searcher;
mod searchers;
mod second_order;
mod space;
mod start;
mod step_time;
pub mod supernet;

pub use front::Front;
pub use hook::{Found, Search};
pub use searcher::{Look, Moment, Searcher};
pub use searchers::{Bipeft, S3Delta};
pub use second_order::second_order_slopes;
pub use space::{Module, Sizes, Space, in_blocks};
