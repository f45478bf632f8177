//! Importance-aware sparse tuning: what it must demonstrably do, and how it goes on after an interruption. What any hook and
//! any objective may do.

mod hooks;
mod objectives;
mod planted;
mod resume;
mod sparse;
