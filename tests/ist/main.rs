//! Importance-aware sparse tuning: what it must demonstrably do, and how it goes on after an interruption.

mod planted;
mod resume;
mod sparse;
