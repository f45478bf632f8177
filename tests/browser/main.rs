//! In a browser's worker. Each module is run by itself, in a worker of its own: what a device is found to be is kept as long
//! as that lives.
#![cfg(target_family = "wasm")]

mod as_a_gpu;
mod common;
mod on_cpu;
mod on_gpu;

use wasm_bindgen_test::wasm_bindgen_test_configure;

wasm_bindgen_test_configure!(run_in_dedicated_worker);
