//! Proofs that run on any device.

mod curve;
mod gradients;
mod logits;
mod methods;
mod packing;
mod pieces;
mod slopes;
mod stories;

use burn::tensor::Device;

pub use curve::training_follows_pytorch;
pub use gradients::{
    finite_differences, gradients_agree_with_burns_lora, gradients_agree_with_peft, keeping_graphs_changes_nothing,
};
pub use logits::{adapters_agree_with_peft, logits_agree_with_transformers, merging_changes_nothing};
pub use methods::methods_learn;
pub use packing::{examples, packed_is_apart, packing_changes_nothing};
pub use pieces::pieces_are_the_whole;
pub use slopes::slopes_along_random_directions;
pub use stories::stories_are_told;

/// All of them. Panics with the first that fails.
pub async fn all(device: &Device) {
    assert_eq!(stratune_kernels::self_test(device, &stratune_kernels::Sizes::default()).await, Ok(()));
    logits_agree_with_transformers(device).await;
    adapters_agree_with_peft(device).await;
    merging_changes_nothing(device).await;
    gradients_agree_with_peft(device).await;
    gradients_agree_with_burns_lora(device).await;
    keeping_graphs_changes_nothing(device).await;
    packing_changes_nothing(device).await;
    pieces_are_the_whole(device).await;
    finite_differences(device).await;
    training_follows_pytorch(device).await;
    methods_learn(device).await;
}

/// The largest difference between two lists of the same length.
pub fn worst(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    // A comparison with NaN must not pass as small.
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d <= m { m } else { d })
}
