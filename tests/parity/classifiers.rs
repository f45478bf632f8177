//! Encoders on the CPU, by themselves: what they say, and the gradients of what trains in them.

use burn::tensor::Device;
use stratune_runtime::block_on;
use stratune_tests::checks;

#[test]
fn classifiers_agree_with_transformers() {
    block_on(checks::classifiers_agree_with_transformers(&Device::flex()));
}

#[test]
fn image_classifiers_agree_with_transformers() {
    block_on(checks::image_classifiers_agree_with_transformers(&Device::flex()));
}

#[test]
fn image_gradients_agree_with_peft() {
    block_on(checks::image_gradients_agree_with_peft(&Device::flex()));
}

#[test]
fn classifier_gradients_agree_with_peft() {
    block_on(checks::classifier_gradients_agree_with_peft(&Device::flex()));
    block_on(checks::class_weights_weigh(&Device::flex()));
}
