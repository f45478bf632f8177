//! The browser: workers, files, the GPU, the address, storage. Everything that is not the page's own state.

pub mod browser;
pub mod files;
pub mod gpu;
pub mod hub;
pub mod worker;
