//! (f) A run that was interrupted is the run that was not, bit for bit.

use burn::tensor::Device;
use stratune_protocol::{EndReason, IstConfig, IstMode};
use stratune_runtime::block_on;
use stratune_store::Checkpoint;
use stratune_tests::runs::{RecordingCallback, trainer};
use stratune_train::{Event, RunConfig};

const LAYERS: usize = 4;
const STEPS: usize = 17;

fn config(mode: IstMode) -> RunConfig {
    let mut config = RunConfig { ist: IstConfig::preset(mode), ..RunConfig::default() };
    config.ist.interval = 4;
    config.ist.redraw_every = 3;
    config.method[0].rank = Some(2);
    config.method[0].dropout = Some(0.1);
    config.train.steps = STEPS;
    config.train.batch_size = 3;
    config.train.accumulation = 2;
    config.train.eval_every = 5;
    config.train.weight_decay = 0.01;
    config
}

/// All that a checkpoint holds, but the time it was written.
fn contents(
    checkpoint: &Checkpoint,
) -> (serde_json::Value, &std::collections::BTreeMap<String, stratune_store::HostTensor>) {
    let mut meta = checkpoint.meta.clone();
    meta["run"]["written"] = 0.into();
    (meta, &checkpoint.tensors)
}

#[test]
fn resumed_is_uninterrupted() {
    let device = Device::flex();
    for mode in
        [IstMode::All, IstMode::Scored, IstMode::Random, IstMode::Faithful, IstMode::Practical, IstMode::CostAware]
    {
        let config = config(mode);
        let mut whole = RecordingCallback::default();
        block_on(whole.watch(&mut trainer(&config, LAYERS, &device))).unwrap();
        for stop in [1, 7, 10, 16] {
            let mut first = RecordingCallback { stop_after: Some(stop), ..RecordingCallback::default() };
            block_on(first.watch(&mut trainer(&config, LAYERS, &device))).unwrap();
            let mut again = trainer(&config, LAYERS, &device);
            again.resume(first.last()).unwrap();
            assert_eq!(again.progress(), (stop, STEPS));
            let mut second = RecordingCallback::default();
            block_on(second.watch(&mut again)).unwrap();

            assert_eq!([first.losses(), second.losses()].concat(), whole.losses(), "{mode:?}, stopped after {stop}");
            assert_eq!([first.sampled(), second.sampled()].concat(), whole.sampled());
            assert_eq!(contents(second.last()), contents(whole.last()), "{mode:?}, stopped after {stop}");
        }
    }
}

/// A checkpoint of an earlier version, which had one hook and other names, goes on to the same end.
#[test]
fn a_checkpoint_with_the_names_of_before_is_resumed() {
    let (device, config) = (Device::flex(), config(IstMode::Practical));
    let mut whole = RecordingCallback::default();
    block_on(whole.watch(&mut trainer(&config, LAYERS, &device))).unwrap();
    let mut first = RecordingCallback { stop_after: Some(7), ..RecordingCallback::default() };
    block_on(first.watch(&mut trainer(&config, LAYERS, &device))).unwrap();
    let mut old = first.last().clone();
    let run = old.meta["run"].as_object_mut().unwrap();
    for (before, now) in [("owes", "validation_due"), ("moves", "mezo_steps"), ("times", "step_counts")] {
        let value = run.remove(now).unwrap();
        run.insert(before.into(), value);
    }
    let hooks = run.remove("hooks").unwrap();
    run.insert("hook".into(), hooks["ist"].clone());
    let mut again = trainer(&config, LAYERS, &device);
    again.resume(&old).unwrap();
    let mut second = RecordingCallback::default();
    block_on(second.watch(&mut again)).unwrap();
    assert_eq!(contents(second.last()), contents(whole.last()));
}

/// Held-out losses, step by step.
fn validations(recording: &RecordingCallback) -> Vec<(usize, f64)> {
    let of = |event: &Event| if let Event::Validation { step, loss, .. } = event { Some((*step, *loss)) } else { None };
    recording.events.iter().filter_map(of).collect()
}

/// Stopped in the middle of a phase that takes long, a run ends there and then, and goes on to the same end: what was cut off
/// happens when it goes on.
#[test]
fn stopped_within_a_phase_is_resumed_too() {
    let device = Device::flex();
    let config = config(IstMode::Practical);
    let mut whole = RecordingCallback::default();
    block_on(whole.watch(&mut trainer(&config, LAYERS, &device))).unwrap();
    // Validations are before the first step and after 5, 10, 15 and 17, scores move before 4, 8, 12 and 16, by three sets each.
    let measuring = "measuring held-out rows";
    for (phase, others, stopped) in [
        (measuring, 1, 5),
        (measuring, 4, 17),
        ("learning which layers matter", 0, 4),
        ("learning which layers matter", 4, 8),
    ] {
        let mut first = RecordingCallback { stop_in: Some((phase, others)), ..RecordingCallback::default() };
        let ended = block_on(first.watch(&mut trainer(&config, LAYERS, &device))).unwrap();
        assert_eq!((ended.reason, ended.step), (EndReason::Stopped, stopped), "{phase}");
        // Stopped within a validation there is none; after another phase there is the one that a stopped run ends with.
        let last = if phase == measuring { (stopped - 1) / 5 * 5 } else { stopped };
        assert_eq!(validations(&first).last().map(|v| v.0), Some(last), "{phase}");
        let mut again = trainer(&config, LAYERS, &device);
        again.resume(first.last()).unwrap();
        let mut second = RecordingCallback::default();
        block_on(second.watch(&mut again)).unwrap();
        assert_eq!([first.losses(), second.losses()].concat(), whole.losses(), "{phase}");
        assert_eq!(contents(second.last()), contents(whole.last()), "{phase}");
        let due = |of: &RecordingCallback| {
            validations(of).into_iter().filter(|v| v.0 % 5 == 0 || v.0 == STEPS).collect::<Vec<_>>()
        };
        assert_eq!([due(&first), due(&second)].concat(), due(&whole), "{phase}");
    }
    // Before the first step there is nothing to go on with, and nothing that might take the place of another run.
    let mut none = RecordingCallback { stop_in: Some((measuring, 0)), ..RecordingCallback::default() };
    let ended = block_on(none.watch(&mut trainer(&config, LAYERS, &device))).unwrap();
    assert_eq!((ended.reason, ended.step, none.checkpoints.len()), (EndReason::Stopped, 0, 0));
}

/// A loss that is not finite stops the run with the step's number, and no checkpoint of it is written.
#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint() {
    let mut config = config(IstMode::All);
    config.train.learning_rate = 1e30;
    config.train.clip_norm = 0.0;
    config.train.warmup_steps = 0;
    config.train.checkpoint_every = 1;
    config.train.eval_every = 0;
    config.train.log_every = 100;
    let mut recording = RecordingCallback::default();
    let problem = block_on(recording.watch(&mut trainer(&config, LAYERS, &Device::flex()))).unwrap_err();
    assert_eq!(problem.kind.exit_code(), 3);
    assert!(problem.what.contains("loss") && problem.at.starts_with("step "), "{problem:?}");
    for checkpoint in &recording.checkpoints {
        let values = checkpoint.tensors.iter().filter(|(name, _)| name.starts_with("value/"));
        assert!(values.flat_map(|(_, t)| &t.data).all(|v| v.is_finite()));
    }
    assert!(!recording.events.iter().any(|e| matches!(e, Event::Ended { .. })));
}

/// A checkpoint of another run is refused, and says why.
#[test]
fn another_runs_checkpoint_is_refused() {
    let device = Device::flex();
    let config = config(IstMode::Practical);
    let mut recording = RecordingCallback { stop_after: Some(2), ..RecordingCallback::default() };
    block_on(recording.watch(&mut trainer(&config, LAYERS, &device))).unwrap();
    let mut smaller = config.clone();
    smaller.method[0].rank = Some(1);
    for (mut other, about) in
        [(trainer(&config, LAYERS + 1, &device), "layers"), (trainer(&smaller, LAYERS, &device), "layers")]
    {
        let problem = other.resume(recording.last()).unwrap_err();
        assert!(problem.what.contains(about), "{problem:?}");
        assert_eq!(problem.kind.exit_code(), 2);
    }
    let mut checkpoint = recording.last().clone();
    checkpoint.meta["run"]["identity"]["model"] = "another".into();
    let problem = trainer(&config, LAYERS, &device).resume(&checkpoint).unwrap_err();
    assert!(problem.what.contains("another model"), "{problem:?}");
}
