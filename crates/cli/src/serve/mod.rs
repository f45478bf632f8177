//! An OpenAI-compatible server: what HTTP asks for, an engine answers in one batch.

mod engine;
mod http;
mod openai;
mod request;

pub use http::{Cors, listen};
