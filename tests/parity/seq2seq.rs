//! An encoder and the decoder that reads it, on the CPU: what they say and write, and the gradients of what trains in them.

use burn::tensor::Device;
use stratune_runtime::block_on;
use stratune_tests::checks;

#[test]
fn seq2seq_agrees_with_transformers() {
    block_on(checks::seq2seq_agrees_with_transformers(&Device::flex()));
}

#[test]
fn seq2seq_gradients_agree_with_peft() {
    block_on(checks::seq2seq_gradients_agree_with_peft(&Device::flex()));
    block_on(checks::seq2seq_finite_differences(&Device::flex()));
}
