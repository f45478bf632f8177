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
use stratune_runtime::Stopwatch;

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

/// These proofs, each with its name, and by itself: the frames of all of them together would fill the stack of a thread.
macro_rules! named {
    ($device:expr; $($check:ident),* $(,)?) => {
        [$((stringify!($check), Box::pin($check($device)) as Pin<Box<dyn Future<Output = ()> + '_>>)),*]
    };
}

/// All of them, each with the seconds that it took in what the test prints. Panics with the first that fails.
pub async fn all(device: &Device) {
    let checks = named![
        device;
        self_test_passes,
        formats_are_read,
        logits_agree_with_transformers,
        parts_are_the_whole,
        rows_by_themselves_say_the_same,
        adapters_agree_with_peft,
        classifiers_agree_with_transformers,
        classifier_gradients_agree_with_peft,
        image_classifiers_agree_with_transformers,
        image_gradients_agree_with_peft,
        class_weights_weigh,
        seq2seq_agrees_with_transformers,
        seq2seq_gradients_agree_with_peft,
        seq2seq_finite_differences,
        merging_changes_nothing,
        gradients_agree_with_peft,
        gradients_agree_with_burns_lora,
        keeping_graphs_changes_nothing,
        packing_changes_nothing,
        pieces_are_the_whole,
        finite_differences,
        training_follows_pytorch,
        methods_learn,
        a_search_keeps_its_budget,
    ];
    for (name, check) in checks {
        let clock = Stopwatch::start();
        check.await;
        told(format_args!("{name}: {:.1} s", clock.seconds()));
    }
}

async fn self_test_passes(device: &Device) {
    assert_eq!(stratune_kernels::self_test(device, &stratune_kernels::Sizes::default()).await, Ok(()));
}

async fn formats_are_read(device: &Device) {
    let formats = stratune_kernels::BlockFormat::ALL.map(stratune_kernels::WeightFormat::from);
    assert_eq!(stratune_kernels::formats_are_read(device, &formats, 48).await, Ok(()));
}

/// A line of what a test prints.
fn told(line: std::fmt::Arguments<'_>) {
    #[cfg(target_family = "wasm")]
    wasm_bindgen_test::console_log!("{line}");
    #[cfg(not(target_family = "wasm"))]
    println!("{line}");
}

/// The largest difference between two lists of the same length.
pub fn worst(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    // A comparison with NaN must not pass as small.
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d <= m { m } else { d })
}
