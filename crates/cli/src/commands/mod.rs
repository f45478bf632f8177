//! One file a verb.

pub mod bench;
pub mod chat;
pub mod classify;
pub mod compare;
pub mod eval;
pub mod generate;
pub mod inspect;
pub mod intrinsic;
pub mod merge;
pub mod methods;
pub mod pretrain;
pub mod search;
pub mod serve;
pub mod slice;
pub mod study;
pub mod task;
pub mod train;
