//! Studies: tables of runs. A TOML file says which runs there are ([`Study`]), each leaves a line of JSON ([`Record`]), and
//! means, intervals and paired differences follow ([`Summary`]), as Markdown ([`markdown()`]) and as a picture ([`plot()`]).
//!
//! Nothing here runs anything: `stratune study` does, with the same commands that a person would use.

mod markdown;
mod plot;
mod record;
mod study;
mod summary;
mod variables;

pub use markdown::markdown;
pub use plot::plot;
pub use record::{HeldOut, Made, Record, Searched, TaskScore, Training, fingerprint, read_records, short_hash};
pub use study::{Axis, AxisValue, PlannedRun, Study, StudyTask};
pub use summary::{CONFIDENCE, Estimate, Measure, Row, Summary};
pub use variables::{filled, filled_table};
