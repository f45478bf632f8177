//! The page, one file for each part of it that has a name of its own.

mod confusion;
mod data;
mod forecast;
mod header;
mod hub;
mod label_it;
mod loss;
mod method;
mod model;
mod notices;
mod page;
mod preview;
mod run;
mod samples;
mod search;
mod search_card;
mod search_charts;
mod status;
mod strata;
mod strata_picture;
mod take_it;
mod try_it;

pub use page::Page;
