//! In a browser whose software adapter does not say that it is one: what a GPU is given to do, by the browser's own compiler.

use stratune_kernels::{BlockFormat, Sizes, WeightFormat, formats_are_read, self_test};
use stratune_runtime::open_wgpu;
use stratune_tests::checks;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::common;

/// The self-test, which names the operation that is wrong, and gradients of whole models; all of the checks would take a
/// software adapter many minutes.
#[wasm_bindgen_test]
async fn what_a_gpu_is_given_is_right() {
    common::start();
    js_sys::eval("Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { get: () => false })").unwrap();
    let opened = open_wgpu().await.unwrap();
    assert!(!opened.info.software, "{} still says that it is software", opened.info.name);
    let device = opened.device;
    assert_eq!(self_test(&device, &Sizes::default()).await, Ok(()));
    assert_eq!(formats_are_read(&device, &BlockFormat::ALL.map(WeightFormat::from), 48).await, Ok(()));
    checks::gradients_agree_with_peft(&device).await;
    common::no_errors();
}
