//! Every method of the table, by the same checks: a new method is tested by being listed.

mod diff_pruning;
mod dylora;
mod for_peft;
mod kept_base;
mod models;
mod packing;
mod pairs;
mod proofs;
mod references;
mod selective;
mod suite;
mod together;
mod training;
mod two_stacks;
mod without_gradient;

use burn::tensor::Device;
use stratune_peft::{MethodConfig, MethodKind, MethodPreset, Methods};
use stratune_runtime::block_on;

/// Every method by itself, with settings that a small model can take, and every combination.
fn table() -> Vec<(String, Methods)> {
    let mut table: Vec<(String, Methods)> = MethodKind::ALL.map(|kind| (kind.to_string(), suited(kind).into())).into();
    let reparametrised = MethodConfig { width: Some(6), ..suited(MethodKind::Prefix) };
    table.push(("prefix with a network".into(), reparametrised.into()));
    for projection in [stratune_peft::Projection::Dense, stratune_peft::Projection::Sparse] {
        let method = MethodConfig { projection: Some(projection), ..suited(MethodKind::Said) };
        table.push((format!("said, {projection:?}"), method.into()));
    }
    for preset in MethodPreset::ALL {
        let small = |m: &MethodConfig| {
            let of = suited(m.kind);
            MethodConfig { length: of.length, width: of.width, rank: of.rank, ..m.clone() }
        };
        let model = stratune_tests::runs::small(models::LAYERS, &Device::flex()).config.report("small", 0);
        table.push((preset.name().into(), Methods(preset.methods(&model).iter().map(small).collect())));
    }
    for kind in [MethodKind::Lora, MethodKind::Pfeiffer] {
        table.push((format!("{kind} behind a gate"), MethodConfig { gated: Some(true), ..suited(kind) }.into()));
    }
    let some_layers = MethodConfig { layers: vec![1], ..suited(MethodKind::Dora) };
    table.push((
        "lora and biases and norms".into(),
        Methods(vec![suited(MethodKind::Lora), suited(MethodKind::Bitfit), suited(MethodKind::LayerNorm)]),
    ));
    table.push(("dora in one layer".into(), some_layers.into()));
    // While a method is worked on, the others can wait: names with commas between them.
    if let Ok(named) = std::env::var("STRATUNE_METHODS") {
        table.retain(|(name, _)| named.split(',').any(|wanted| wanted == name));
        assert!(!table.is_empty(), "no entry of the table is called {named}");
    }
    table
}

/// A method with settings that a model of width 16 can take.
fn suited(kind: MethodKind) -> MethodConfig {
    let mut method = MethodConfig::new(kind);
    let small = |setting: &mut Option<usize>, to: usize| {
        if let Some(value) = setting {
            *value = to;
        }
    };
    small(&mut method.rank, 3);
    let width = match kind {
        MethodKind::Prefix => 0,
        MethodKind::Compacter => 8,
        _ => 5,
    };
    small(&mut method.width, width);
    small(&mut method.initial_rank, 5);
    small(&mut method.samples, 10);
    small(&mut method.interval, 3);
    small(&mut method.bits, 8);
    small(&mut method.length, 4);
    small(&mut method.dimension, 60);
    method.share = method.share.map(|_| if kind == MethodKind::ChildTuning { 0.3 } else { 0.1 });
    method
}

#[test]
fn every_method_passes_every_check() {
    let device = Device::flex();
    for (name, methods) in table() {
        println!("{name}");
        block_on(suite::all(&name, &methods, &device));
    }
}

/// The same on blocks whose tokens see all of their text, whose norms are of sums, and which have biases everywhere.
#[test]
fn every_method_passes_every_check_on_an_encoder() {
    let device = Device::flex();
    stratune_tests::runs::with_family("bert", || {
        for (name, methods) in table() {
            println!("bert: {name}");
            block_on(suite::all(&name, &methods, &device));
        }
    });
}

/// The same on blocks that read the patches of images.
#[test]
fn every_method_passes_every_check_on_images() {
    let device = Device::flex();
    stratune_tests::runs::with_family("vit", || {
        for (name, methods) in table() {
            println!("vit: {name}");
            block_on(suite::all(&name, &methods, &device));
        }
    });
}

#[test]
fn packing_is_a_matter_of_layout() {
    let device = Device::flex();
    for (name, methods) in table() {
        block_on(packing::same_loss_and_gradients(&name, methods, &device));
    }
    block_on(packing::all(&device));
}

#[test]
fn a_base_in_fewer_bits_is_its_numbers() {
    let device = Device::flex();
    for (name, methods) in table() {
        block_on(kept_base::is_its_numbers(&name, &methods, &device));
    }
    block_on(kept_base::fewer_bits_are_less_exact(&device));
}

#[test]
fn every_pair_of_methods_is_right_or_refused() {
    block_on(pairs::all(&Device::flex()));
}

#[test]
fn what_each_method_is_known_for() {
    block_on(proofs::all(&Device::flex()));
}

#[test]
fn what_is_written_out_by_hand() {
    block_on(references::all(&Device::flex()));
}

#[test]
fn what_trains_some_of_the_weights() {
    block_on(selective::all(&Device::flex()));
    block_on(diff_pruning::all(&Device::flex()));
}

#[test]
fn what_works_together() {
    block_on(together::all(&Device::flex()));
}

#[test]
fn two_stacks_train() {
    block_on(two_stacks::all(&Device::flex()));
}

#[test]
fn what_needs_no_gradient() {
    block_on(without_gradient::all(&Device::flex()));
}

#[test]
fn peft_reads_what_we_write() {
    block_on(for_peft::all(&Device::flex()));
}
