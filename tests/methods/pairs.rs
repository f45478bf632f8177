//! Every method beside every other: right, or refused by name.

use burn::tensor::Device;
use stratune_models::Model;
use stratune_peft::{Merges, MethodKind, Methods};
use stratune_protocol::Problem;
use stratune_session::{adapter_of, attach, read_adapter};
use stratune_store::MemoryFolder;
use stratune_tests::runs::{small, with_biases};
use stratune_tests::worst;
use stratune_train::{RunConfig, prune};

use super::suited;
use crate::models::{SEED, move_what_trains, says};

/// In both orders, on a base without and with biases. What a pair computes, what merging makes of it, and what its folder
/// says on a fresh base are the same model.
pub async fn all(device: &Device) {
    for (what, base) in [("no biases", small(1, device)), ("biases", with_biases(1, device))] {
        let (mut together, mut refused) = (0, 0);
        for one in MethodKind::ALL {
            for other in MethodKind::ALL {
                let methods = Methods(vec![suited(one), suited(other)]);
                match attached(&base, &methods).await {
                    Ok(model) => {
                        is_one_model(&format!("{one},{other} on a base with {what}"), model, &base, &methods).await;
                        together += 1;
                    }
                    Err(problem) => {
                        let named = [one, other].iter().all(|kind| problem.what.contains(kind.name()));
                        assert!(named && !problem.next.is_empty(), "{one},{other}: {problem}");
                        refused += 1;
                    }
                }
            }
        }
        println!("{what}: {together} pairs work together, {refused} are refused");
        assert!(together > refused && refused > 0);
    }
}

async fn attached(base: &Model, methods: &Methods) -> Result<Model, Problem> {
    RunConfig { method: methods.clone(), ..RunConfig::default() }.validate()?;
    let mut model = base.clone();
    model.attach(methods, SEED).await?;
    Ok(model)
}

/// Merged: the same sums in another order, 1e-5 of the logits. Read back: bit by bit the same numbers on the same base, but
/// for PiSSA's longer product, 2e-5; a base in eight bits is read as it was, a half of a 127th of a weight off.
async fn is_one_model(name: &str, mut model: Model, base: &Model, methods: &Methods) {
    prune(&mut model).await.expect("differences");
    move_what_trains(&mut model).await;
    let says_first = says(&model).await;
    let scale = says_first.iter().fold(1.0_f32, |m, v| m.max(v.abs()));

    let mut config = RunConfig { method: methods.clone(), ..RunConfig::default() };
    config.train.seed = SEED;
    let files = adapter_of(&model, &config).await.expect("files");
    let folder = MemoryFolder::new("adapter", files.into_iter().map(|(file, bytes)| (file, bytes.into())).collect());
    let adapter = read_adapter(&folder).await.unwrap_or_else(|p| panic!("{name}: {p}"));
    let mut again = base.clone();
    attach(&mut again, &adapter).await.unwrap_or_else(|p| panic!("{name}: {p}"));
    let off = worst(&says(&again).await, &says_first);
    let quantised = methods.iter().any(|m| m.kind.method().few_bits);
    let allowed = if quantised { 5e-3 } else { 2e-5 };
    assert!(off <= allowed * scale, "{name}: the folder's model is off by {off:e} of {scale}");

    let mut kept = model.clone();
    kept.finalize(methods).await.expect("what is kept");
    let off = worst(&says(&kept).await, &says_first);
    assert!(off <= 2e-5 * scale, "{name}: what is kept is off by {off:e} of {scale}");

    let mergeable = methods.iter().all(|m| m.merges() != Merges::No);
    assert_eq!(model.merge().is_ok(), mergeable, "{name}");
    let off = worst(&says(&model).await, &says_first);
    assert!(off <= 1e-5 * scale, "{name}: merging moves logits of up to {scale} by {off:e}");
}
