//! No setting is declared and ignored: each is turned, and the run is another. A setting that is not listed here fails
//! the test.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;
use serde_json::Value;
use stratune_data::{Reads, SourceFile, Tokenizer, Wanted, load, load_labelled};
use stratune_peft::{MethodConfig, MethodKind, Projection, Setting, TargetOverride, adapter_values};
use stratune_protocol::{
    BaseDtype, ClassWeights, DataFormat, IstConfig, IstMode, Labels, Objective, OptimiserKind, Schedule, Targets,
};
use stratune_runtime::{block_on, peak_host_memory, read_f32, reset_peak_host_memory};
use stratune_store::HostTensor;
use stratune_tests::fixtures;
use stratune_tests::runs::{RecordingCallback, trainer};
use stratune_train::{Event, RunConfig};

type Change = fn(&mut RunConfig);
type Turn = fn(&mut MethodConfig);

/// A run in which every part has something to do.
fn base() -> RunConfig {
    let mut config = RunConfig { ist: IstConfig::preset(IstMode::Practical), ..RunConfig::default() };
    config.ist.interval = 2;
    config.ist.batch_size = 4;
    config.ist.step_size = 3.0;
    config.method[0].rank = Some(2);
    config.train.epochs = 1.0;
    config.train.batch_size = 4;
    config.train.eval_every = 4;
    config.train.warmup_steps = 2;
    config.train.learning_rate = 0.02;
    config
}

/// Each setting of each method that has it, and which blocks it enters.
fn method_turns() -> Vec<(MethodKind, &'static str, Turn)> {
    let turn = |setting: Setting| -> Turn {
        match setting {
            Setting::Targets => |m| m.targets = Some(Targets::listed(&["k_proj"])),
            Setting::Rank => |m| m.rank = Some(3),
            Setting::Alpha => |m| m.alpha = Some(3.0),
            Setting::Dropout => |m| m.dropout = Some(0.3),
            Setting::Overrides => |m| {
                m.overrides.insert("v_proj".into(), TargetOverride { rank: Some(1), alpha: None });
            },
            Setting::Ratio => |m| m.ratio = Some(2.0),
            Setting::Width => |m| m.width = Some(12),
            Setting::Scale => |m| m.scale = Some(1.5),
            Setting::Length => |m| m.length = Some(5),
            Setting::Share => |m| m.share = Some(0.15),
            Setting::Dimension => |m| m.dimension = Some(80),
            Setting::Projection => |m| m.projection = Some(Projection::Sparse),
            Setting::InitialRank => |m| m.initial_rank = Some(5),
            Setting::Penalty => |m| m.penalty = Some(0.7),
            Setting::Samples => |m| m.samples = Some(1),
            Setting::Interval => |m| m.interval = Some(1),
            Setting::Blocks => |m| m.blocks = Some(3),
            Setting::Bits => |m| m.bits = Some(8),
            Setting::Reduction => |m| m.reduction = Some(2),
            Setting::Gated => |m| m.gated = Some(true),
        }
    };
    let settings =
        |kind: MethodKind| kind.method().settings.iter().map(move |has| (kind, has.setting.name(), turn(has.setting)));
    let layers = |kind: MethodKind| (kind, "layers", (|m| m.layers = vec![1]) as Turn);
    let per_layer = MethodKind::ALL.into_iter().filter(|kind| kind.method().has_layers);
    MethodKind::ALL.into_iter().flat_map(settings).chain(per_layer.map(layers)).collect()
}

/// A setting of a method changes the run, whichever method has it.
fn method_settings() {
    for (kind, setting, turn) in method_turns() {
        let mut before = RunConfig { method: kind.into(), ..RunConfig::default() };
        before.train.steps = 2;
        before.train.learning_rate = 0.02;
        before.method.set(Some(2), |m| &mut m.rank);
        before.method.set(Some(3), |m| &mut m.initial_rank);
        before.method.set(Some(8), |m| &mut m.width);
        before.method.set(Some(70), |m| &mut m.dimension);
        let mut after = before.clone();
        turn(&mut after.method[0]);
        assert_ne!(before, after, "{kind} {setting}");
        after.validate().unwrap_or_else(|p| panic!("{kind} {setting}: {p}"));
        assert!(seen(&before) != seen(&after), "{setting} of {kind} changes nothing");
    }
}

/// Settings of the loop and IST: what to set first, and what to turn.
fn turns() -> Vec<(&'static str, Change, Change)> {
    let nothing: Change = |_| {};
    vec![
        ("base_dtype", nothing, |c| c.base_dtype = BaseDtype::Int8),
        ("ist.mode", nothing, |c| c.ist.mode = IstMode::Faithful),
        ("ist.fraction", nothing, |c| c.ist.fraction = 0.5),
        ("ist.damped_fraction", nothing, |c| c.ist.damped_fraction = 0.25),
        ("ist.candidates", nothing, |c| c.ist.candidates = 5),
        ("ist.damping", nothing, |c| c.ist.damping = 0.75),
        ("ist.step_size", nothing, |c| c.ist.step_size = 1.0),
        ("ist.interval", nothing, |c| c.ist.interval = 3),
        ("ist.batch_size", nothing, |c| c.ist.batch_size = 1),
        ("ist.importance_rows", nothing, |c| c.ist.importance_rows = 1),
        ("ist.redraw_every", nothing, |c| c.ist.redraw_every = 4),
        ("ist.score_limit", nothing, |c| c.ist.score_limit = 0.01),
        ("ist.rate_limit", |c| c.train.learning_rate = 1e-3, |c| c.ist.rate_limit = 1.0),
        ("ist.depth", |c| c.ist.mode = IstMode::CostAware, |c| c.ist.depth = 0.3),
        ("ist.floor", |c| c.ist.fraction = 0.5, |c| c.ist.floor = false),
        ("train.steps", nothing, |c| c.train.steps = 3),
        ("train.epochs", nothing, |c| c.train.epochs = 0.5),
        ("train.batch_size", nothing, |c| c.train.batch_size = 5),
        ("train.accumulation", nothing, |c| c.train.accumulation = 2),
        ("train.packing", nothing, |c| c.train.packing = false),
        ("train.optimiser", nothing, |c| c.train.optimiser = OptimiserKind::Mezo),
        ("train.perturbation", |c| c.train.optimiser = OptimiserKind::Mezo, |c| c.train.perturbation = 0.1),
        ("train.learning_rate", nothing, |c| c.train.learning_rate = 0.01),
        ("train.schedule", nothing, |c| c.train.schedule = Schedule::Linear),
        ("train.warmup_steps", nothing, |c| c.train.warmup_steps = 5),
        ("train.weight_decay", nothing, |c| c.train.weight_decay = 0.5),
        ("train.clip_norm", nothing, |c| c.train.clip_norm = 0.01),
        ("train.seed", nothing, |c| c.train.seed = 1),
        ("train.log_every", |c| c.ist.interval = 1, |c| c.train.log_every = 3),
        ("train.evaluation_share", nothing, |c| c.train.evaluation_share = 1.0),
        ("train.eval_every", nothing, |c| c.train.eval_every = 3),
        ("train.patience", |c| (c.train.learning_rate, c.train.eval_every) = (2.0, 1), |c| c.train.patience = 1),
        ("train.checkpoint_every", nothing, |c| c.train.checkpoint_every = 3),
    ]
}

/// What a run did, without the clock.
#[derive(PartialEq)]
struct Seen {
    events: Vec<Value>,
    kept: Vec<(String, Vec<f32>)>,
    checkpoints: Vec<BTreeMap<String, HostTensor>>,
}

fn seen(config: &RunConfig) -> Seen {
    let mut recording = RecordingCallback::default();
    let mut trainer = trainer(config, 8, &Device::flex());
    block_on(recording.watch(&mut trainer)).unwrap();
    block_on(trainer.model.finalize(&config.method)).unwrap();
    let base = trainer.model.config.base_paths();
    let kept = adapter_values(&mut trainer.model, &base)
        .into_iter()
        .map(|(path, (_, v))| (path, block_on(read_f32(v)).unwrap()));
    let lasting = recording.events.iter().filter(|e| !matches!(e, Event::Begun { .. } | Event::Progress { .. }));
    let events = lasting
        .map(|event| {
            let mut event: Value = serde_json::from_str(&event.line()).unwrap();
            for clock in ["tokens_per_second", "seconds_left", "seconds", "memory_bytes"] {
                event.as_object_mut().unwrap().remove(clock);
            }
            event
        })
        .collect();
    Seen { kept: kept.collect(), events, checkpoints: recording.checkpoints.into_iter().map(|c| c.tensors).collect() }
}

/// One test, so that nothing else allocates while memory is counted.
#[test]
fn every_setting_has_an_effect() {
    let plain = seen(&base());
    assert!(plain == seen(&base()), "two equal runs are equal");
    let mut proven: BTreeSet<&str> = BTreeSet::new();
    for (name, prepare, turn) in turns() {
        let mut before = base();
        prepare(&mut before);
        let mut after = before.clone();
        turn(&mut after);
        assert_ne!(before, after, "{name}");
        assert!(seen(&before) != seen(&after), "{name} changes nothing");
        proven.insert(name);
    }
    method_settings();
    proven.extend(["method"]);
    proven.extend(data_settings());
    proven.extend(label_settings());
    keep_graphs_holds_more();
    frugal_methods_hold_less();
    proven.extend(["train.keep_graphs", "train.graph_memory"]);
    // Proven in tests/parity, on what has f16.
    proven.extend(["compute_dtype"]);
    // Proven in tests/cli: the model, the device, the files and the prompts are what the command line gives.
    proven.extend(["model", "device", "data.files", "data.validation_files", "data.task", "train.sample_prompts"]);

    let mut declared = BTreeSet::new();
    leaves("", &serde_json::to_value(RunConfig::default()).unwrap(), &mut declared);
    let proven: BTreeSet<String> = proven.into_iter().map(String::from).collect();
    assert_eq!(declared, proven, "declared, and proven");
}

/// The most bytes that two steps of a run held, and what it did.
fn peak(config: &RunConfig) -> (u64, Seen) {
    reset_peak_host_memory();
    let seen = seen(config);
    (peak_host_memory(), seen)
}

/// The graphs of the top blocks are held from the way up: more bytes. That the gradients stay is
/// proven among the gradients' checks.
fn keep_graphs_holds_more() {
    let of = |keep_graphs: usize| {
        let mut config = base();
        (config.train.keep_graphs, config.train.graph_memory) = (keep_graphs, 0);
        config.train.packing = false;
        config.ist.mode = IstMode::All;
        config.train.steps = 2;
        peak(&config)
    };
    let ((little, twice), (much, kept)) = (of(0), of(8));
    assert!(much > little, "{much} {little}");
    // A budget in which all fit keeps all: the graphs of 4 rows of 32 positions in eight blocks are below a MiB.
    let mut config = base();
    (config.ist.mode, config.train.steps, config.train.graph_memory) = (IstMode::All, 2, 1);
    config.train.packing = false;
    let fitted = peak(&config).0;
    assert!(fitted.abs_diff(much) * 20 < much, "the memory of graphs is a budget: {fitted} {much}");
    assert_eq!(twice.checkpoints.len(), kept.checkpoints.len());
}

/// What methods that are chosen for their memory hold at most, with all graphs kept: beside LoRA's.
fn frugal_methods_hold_less() {
    let of = |kind: MethodKind, optimiser: OptimiserKind| {
        let mut config = RunConfig { method: kind.into(), ..RunConfig::default() };
        config.train.keep_graphs = 8;
        config.train.batch_size = 32;
        config.train.packing = false;
        config.train.steps = 2;
        config.train.optimiser = optimiser;
        // On a machine that others use cores do not always work at once, and then hold less.
        (0..3).map(|_| peak(&config).0).max().unwrap()
    };
    let adamw = |kind| of(kind, OptimiserKind::Adamw);
    let lora = adamw(MethodKind::Lora);
    // LoRA keeps the inputs of its A for their gradients: of q, k and v together, of o, of gate and up together, 16 floats each
    // for each of 32 rows of 32 tokens, in eight blocks; that of down is made again.
    let inputs = (16 + 16 + 16) * 4 * 32 * 32 * 8;
    let saved = lora - adamw(MethodKind::LoraFa);
    assert!(saved * 10 > inputs * 8, "{saved} of {inputs} bytes of inputs are saved");
    // A ladder keeps no graph of the model: beyond a forward pass it holds its own, four times narrower, and the states
    // that it reads.
    let forward = of(MethodKind::Lora, OptimiserKind::Mezo);
    let (ladder, lora) = (adamw(MethodKind::Ladder) - forward, lora - forward);
    println!("beyond a forward pass: LoRA {lora}, ladder {ladder} ({:.2} x)", ladder as f64 / lora as f64);
    assert!(ladder * 2 < lora, "{ladder} {lora}");
    // MeZO keeps no graph and no gradient.
    let (mezo, full) = (of(MethodKind::Full, OptimiserKind::Mezo), adamw(MethodKind::Full));
    println!("peak: full tuning {full}, MeZO {mezo} ({:.2} x)", mezo as f64 / full as f64);
    assert!(mezo * 2 < full, "{mezo} {full}");
}

/// A row of a table, in which there is a conversation too.
const LINE: &str = "the rain fell,on the river,all night,\
    \"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"a\"\"},{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"b\"\"}]\"\n";

fn tokenizer() -> Tokenizer {
    let json = block_on(fixtures::folder("tokenizer").read("tokenizer.json", None)).unwrap();
    Tokenizer::from_json(&json, None, "tokenizer.json").unwrap()
}

fn data_settings() -> [&'static str; 10] {
    let tokenizer = tokenizer();
    let table = |name: &str| SourceFile {
        name: name.to_string(),
        bytes: format!("prompt,completion,other,talk\n{}", LINE.repeat(20)).into_bytes(),
        held_out: false,
    };
    let rows = |file: SourceFile, change: Change| {
        let mut config = RunConfig::default();
        change(&mut config);
        let dataset = load(&[file], &config.data, &tokenizer, 64, 0).unwrap();
        (dataset.train, dataset.validation)
    };
    let plain = rows(table("rows.csv"), |_| {});
    let turns: [(&str, Change); 10] = [
        ("data.format", |c| c.data.format = DataFormat::Text),
        ("data.prompt_column", |c| c.data.prompt_column = "other".into()),
        ("data.completion_column", |c| c.data.completion_column = "other".into()),
        ("data.system_column", |c| c.data.system_column = "other".into()),
        ("data.messages_column", |c| c.data.messages_column = "talk".into()),
        ("data.prompt_template", |c| c.data.prompt_template = "{prompt} {other}".into()),
        ("data.system_prompt", |c| c.data.system_prompt = "Be brief.".into()),
        ("data.labels", |c| c.data.labels = Labels::All),
        ("data.max_length", |c| c.data.max_length = 12),
        ("data.validation_split", |c| c.data.validation_split = 0.5),
    ];
    for (name, turn) in turns {
        assert!(rows(table("rows.csv"), turn) != plain, "{name} changes nothing");
    }
    turns.map(|(name, _)| name)
}

/// What rows with labels are read by.
fn label_settings() -> [&'static str; 6] {
    let tokenizer = tokenizer();
    let lines = ["the rain fell,all night,1,3", "on the river,at dawn,0,3", "by the mill,at noon,1,4"].join("\n");
    let table = SourceFile {
        name: "rows.csv".into(),
        bytes: format!("sentence1,sentence2,label,kind\n{lines}").into_bytes(),
        held_out: false,
    };
    let rows = |change: Change| {
        let mut config = RunConfig::default();
        config.data.validation_split = 0.0;
        change(&mut config);
        config.validate().unwrap();
        let wanted = Wanted { objective: config.train.objective, reads: Reads::Last, type_ids: false, known: &[] };
        let file = std::slice::from_ref(&table);
        let dataset = load_labelled(file, &config.data, &tokenizer, &wanted, 64, 0).unwrap();
        let labels = dataset.labels.unwrap();
        (labels.weights(&dataset.train, config.train.class_weights), labels, dataset.train)
    };
    let plain = rows(|_| {});
    let turns: [(&str, Change); 6] = [
        ("data.text_column", |c| c.data.text_column = "sentence2".into()),
        ("data.text_pair_column", |c| c.data.text_pair_column = "kind".into()),
        ("data.label_column", |c| c.data.label_column = "kind".into()),
        ("data.label_names", |c| c.data.label_names = vec!["1".into(), "0".into()]),
        ("train.objective", |c| c.train.objective = Objective::Regression),
        ("train.class_weights", |c| c.train.class_weights = ClassWeights::Balanced),
    ];
    for (name, turn) in turns {
        assert!(rows(turn) != plain, "{name} changes nothing");
    }
    turns.map(|(name, _)| name)
}

/// The paths of all values that are no tables.
fn leaves(path: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(&path, value, into);
            }
        }
        _ => drop(into.insert(path.to_string())),
    }
}
