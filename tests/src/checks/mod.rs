//! Proofs that run on any device.

mod classifiers;
mod curve;
mod gradients;
mod images;
mod logits;
mod methods;
mod packing;
mod pieces;
mod search;
mod seq2seq;
mod slopes;
mod stories;

use std::pin::Pin;

use burn::tensor::Device;

pub use classifiers::{
    CLASSIFIERS, ENCODERS, class_weights_weigh, classifier_gradients_agree_with_peft,
    classifiers_agree_with_transformers,
};
pub use curve::training_follows_pytorch;
pub use gradients::{
    finite_differences, gradients_agree_with_burns_lora, gradients_agree_with_peft, keeping_graphs_changes_nothing,
};
pub use images::{
    IMAGE_ADAPTERS, IMAGE_MODELS, image_classifiers_agree_with_transformers, image_gradients_agree_with_peft,
};
pub use logits::{
    FAMILY_FOLDERS, MODELS, PEFT_FOLDERS, adapters_agree_with_peft, logits_agree_with_transformers,
    merging_changes_nothing, parts_are_the_whole, rows_by_themselves_say_the_same,
};
pub use methods::methods_learn;
pub use packing::{examples, packed_is_apart, packing_changes_nothing};
pub use pieces::pieces_are_the_whole;
pub use search::a_search_keeps_its_budget;
pub use seq2seq::{
    SEQ2SEQ, SEQ2SEQ_ADAPTERS, seq2seq_agrees_with_transformers, seq2seq_finite_differences,
    seq2seq_gradients_agree_with_peft,
};
pub use slopes::slopes_along_random_directions;
pub use stories::stories_are_told;

/// All of them. Panics with the first that fails.
pub async fn all(device: &Device) {
    assert_eq!(stratune_kernels::self_test(device, &stratune_kernels::Sizes::default()).await, Ok(()));
    let formats = stratune_kernels::BlockFormat::ALL.map(stratune_kernels::WeightFormat::from);
    assert_eq!(stratune_kernels::formats_are_read(device, &formats, 48).await, Ok(()));
    // Each by itself: the frames of all of them together would fill the stack of a thread.
    let checks: [Pin<Box<dyn Future<Output = ()> + '_>>; 22] = [
        Box::pin(logits_agree_with_transformers(device)),
        Box::pin(parts_are_the_whole(device)),
        Box::pin(rows_by_themselves_say_the_same(device)),
        Box::pin(adapters_agree_with_peft(device)),
        Box::pin(classifiers_agree_with_transformers(device)),
        Box::pin(classifier_gradients_agree_with_peft(device)),
        Box::pin(image_classifiers_agree_with_transformers(device)),
        Box::pin(image_gradients_agree_with_peft(device)),
        Box::pin(class_weights_weigh(device)),
        Box::pin(seq2seq_agrees_with_transformers(device)),
        Box::pin(seq2seq_gradients_agree_with_peft(device)),
        Box::pin(seq2seq_finite_differences(device)),
        Box::pin(merging_changes_nothing(device)),
        Box::pin(gradients_agree_with_peft(device)),
        Box::pin(gradients_agree_with_burns_lora(device)),
        Box::pin(keeping_graphs_changes_nothing(device)),
        Box::pin(packing_changes_nothing(device)),
        Box::pin(pieces_are_the_whole(device)),
        Box::pin(finite_differences(device)),
        Box::pin(training_follows_pytorch(device)),
        Box::pin(methods_learn(device)),
        Box::pin(a_search_keeps_its_budget(device)),
    ];
    for check in checks {
        check.await;
    }
}

/// The largest difference between two lists of the same length.
pub fn worst(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    // A comparison with NaN must not pass as small.
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d <= m { m } else { d })
}
