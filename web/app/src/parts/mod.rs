//! What pages are made of: cards, fields, charts.

pub mod axis;
pub mod bars;
pub mod canvas;
pub mod card;
pub mod drop_zone;
pub mod field;
pub mod ramp;
pub mod series;
pub mod targets;
