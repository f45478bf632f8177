//! Nothing that comes from a file reaches a panic: every kind of input file, damaged a few hundred times, gives an error
//! that says something, or is read.
//!
//! In a page a panic ends the engine, and with it the run. Each damage is drawn from a seed, so a failure names one that
//! can be made again.
#![allow(clippy::unwrap_used)]

mod adapter;
mod damage;
mod data;
mod images;
mod model;
mod run;
mod tokenizer;
