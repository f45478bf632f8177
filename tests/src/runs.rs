//! Small runs to look into.

use std::cell::Cell;
use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use futures::future::{FutureExt, LocalBoxFuture};
use rand::RngExt;
use serde_json::{Value, json};
use stratune_data::{Dataset, ImageProcessor, Label, Patches, Sequence, Target};
use stratune_models::{Model, ModelConfig};
use stratune_peft::Param;
use stratune_protocol::{BaseDtype, Problem, draws, normals};
use stratune_runtime::Control;
use stratune_session::{hooks_for, set_apart};
use stratune_store::Checkpoint;
use stratune_train::{Event, Identity, RunConfig, TrainOutput, Trainer, TrainerCallback};

/// Rows from Hugging Face's ids and labels.
pub fn rows(ids: &[Vec<u32>], labels: &[Vec<i64>]) -> Vec<Sequence> {
    let loss_mask = labels.iter().map(|row| row.iter().enumerate().map(|(t, l)| t > 0 && *l >= 0).collect());
    ids.iter()
        .zip(loss_mask)
        .map(|(tokens, loss_mask)| Sequence { tokens: tokens.clone(), loss_mask, ..Sequence::default() })
        .collect()
}

/// A model of `layers` blocks of 16, with random weights.
pub fn small(layers: usize, device: &Device) -> Model {
    small_as(layers, BaseDtype::F32, device)
}

/// The same with its matrices kept in fewer bits.
pub fn small_as(layers: usize, dtype: BaseDtype, device: &Device) -> Model {
    of_width(16, layers, dtype, device)
}

/// The same of blocks of this width.
pub fn of_width(width: usize, layers: usize, dtype: BaseDtype, device: &Device) -> Model {
    let mut model = Model::random_as(geometry(width, layers), dtype, 11, device).expect("a sound geometry");
    if family().is_some() && dtype == BaseDtype::F32 {
        // Norms behind layers are steep where those give next to nothing, as they do at the start of pretraining.
        for linear in model.layers.iter_mut().flat_map(|block| block.linears_mut()) {
            let weight = linear.weight.floats_mut();
            weight.value = weight.value.clone().mul_scalar(8.0);
        }
    }
    model
}

thread_local! {
    static FAMILY: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The family whose blocks the runs have, if it is another than Llama: [of this thread](with_family), or
/// `STRATUNE_FAMILY` names it.
pub fn family() -> Option<String> {
    FAMILY.get().map(str::to_owned).or_else(|| std::env::var("STRATUNE_FAMILY").ok())
}

/// Has the runs of this thread have the blocks of another family meanwhile.
pub fn with_family(name: &'static str, run: impl FnOnce()) {
    FAMILY.set(Some(name));
    run();
    FAMILY.set(None);
}

/// Of blocks of this width, as Llama has them, or [that family](family), with a window, a scale of its scores
/// and a cap on its logits where it has such.
pub fn geometry(width: usize, layers: usize) -> ModelConfig {
    let mut json = json!({
        "model_type": "llama",
        "vocab_size": 32,
        "hidden_size": width,
        "intermediate_size": width / 2 * 3,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": width / 2,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64,
        "tie_word_embeddings": true,
    });
    if let Some(family) = family() {
        json["model_type"] = family.into();
        json["sliding_window"] = 5.into();
        json["query_pre_attn_scalar"] = 20.into();
        json["final_logit_softcapping"] = 4.0.into();
        // Of two stacks, where there are such: the first block is the encoder's.
        json["num_layers"] = 1.into();
        json["num_decoder_layers"] = (layers - 1).into();
        // Of images, where they are read: of four patches.
        (json["image_size"], json["patch_size"]) = (8.into(), 4.into());
    }
    of_json(json)
}

/// What this `config.json` says.
pub fn of_json(json: Value) -> ModelConfig {
    ModelConfig::from_json(&json, "config.json").expect("a sound geometry")
}

/// The same of `layers` blocks with random biases in their linear layers.
pub fn with_biases(layers: usize, device: &Device) -> Model {
    let config = geometry(16, layers).changed([("attention_bias", true.into()), ("mlp_bias", true.into())]);
    let mut model = Model::random(config.expect("a sound geometry"), 11, device).expect("a sound geometry");
    for (i, linear) in model.layers.iter_mut().flat_map(|block| block.linears_mut()).enumerate() {
        let count = linear.shape()[0];
        let values = normals(&mut draws(13, "biases", [i as u64, 0]), count, 0.3);
        linear.bias = Some(Param::frozen(Tensor::from_data(TensorData::new(values, [count]), device)));
    }
    model
}

/// Rows in which every token is the one before plus a step of the row's own: something to learn. Where an encoder reads, it has
/// the beginning of another such row to read. A model that reads images has images of noise, with classes.
pub fn counting(train: usize, validation: usize) -> Dataset {
    let config = family().map(|_| geometry(16, 2));
    if config.as_ref().is_some_and(|config| config.image.is_some()) {
        let rows: Vec<Sequence> = (0..train + validation).map(image_row).collect();
        let (train, validation) = rows.split_at(train);
        return Dataset { train: train.to_vec(), validation: validation.to_vec(), ..Dataset::default() };
    }
    let reads = config.is_some_and(|config| config.seq2seq.is_some());
    let row = |i: usize| {
        let mut rng = draws(5, "counting", [i as u64, 0]);
        let (start, step, length) = (rng.random_range(0..32_u32), rng.random_range(1..4_u32), rng.random_range(8..20));
        let tokens = (0..length).map(|t| (start + t * step) % 32).collect();
        let source = if reads { (0..length / 2).map(|t| (step + t * start) % 32).collect() } else { Vec::new() };
        Sequence { tokens, loss_mask: (0..length).map(|t| t > 2).collect(), source, ..Sequence::default() }
    };
    let all: Vec<Sequence> = (0..train + validation).map(row).collect();
    let (train, validation) = all.split_at(train);
    Dataset { train: train.to_vec(), validation: validation.to_vec(), ..Dataset::default() }
}

/// An image of noise in one of two classes.
fn image_row(i: usize) -> Sequence {
    let mut rng = draws(5, "images", [i as u64, 0]);
    let values: Vec<u8> = (0..8 * 8 * 3).map(|_| rng.random_range(0..=255_u8)).collect();
    let normalization = ImageProcessor::default().normalization;
    let patches = Patches { values: values.into(), side: 4, normalization };
    let label = Label { at: 0, target: Target::Class(rng.random_range(0..2_u32)) };
    Sequence { label: Some(label), ..Sequence::of_image(patches) }
}

/// A run of `config` on a small model and counting rows.
pub fn trainer(config: &RunConfig, layers: usize, device: &Device) -> Trainer {
    trainer_of(config, small_as(layers, config.base_dtype, device))
}

/// The same on this model.
pub fn trainer_of(config: &RunConfig, mut model: Model) -> Trainer {
    let layers = model.layers.len();
    // No method of these runs reads the device, so there is nothing to wait for.
    let attached = model.attach(&config.method, config.train.seed).now_or_never();
    attached.expect("an answer at once").expect("a method that fits");
    let hooks = hooks_for(config, layers);
    let dataset = set_apart(Rc::new(counting(40, 12)), config).expect("rows to spare");
    Trainer::new(config.clone(), model, dataset, hooks, Identity::default()).expect("a run")
}

/// A host that remembers everything, and may stop the run after a step.
#[derive(Default)]
pub struct RecordingCallback {
    /// What was told.
    pub events: Vec<Event>,
    /// What was kept.
    pub checkpoints: Vec<Checkpoint>,
    /// Stops the run after this step.
    pub stop_after: Option<usize>,
    /// Stops the run at the beginning of a phase that is called so, after this many others of the name.
    pub stop_in: Option<(&'static str, usize)>,
    /// How often prompts would have been continued.
    pub samples: usize,
    /// What the run looks at.
    pub control: Control,
}

impl RecordingCallback {
    /// Runs `trainer` to its end.
    pub async fn watch(&mut self, trainer: &mut Trainer) -> Result<TrainOutput, Problem> {
        let control = self.control.clone();
        trainer.run(self, &control).await
    }

    /// The layers that trained, step by step.
    pub fn sampled(&self) -> Vec<Vec<usize>> {
        self.events.iter().filter_map(|e| if let Event::Step(s) = e { Some(s.sampled.clone()) } else { None }).collect()
    }

    /// The loss, step by step.
    pub fn losses(&self) -> Vec<f64> {
        self.events.iter().filter_map(|e| if let Event::Step(s) = e { Some(s.loss) } else { None }).collect()
    }

    /// The last checkpoint.
    pub fn last(&self) -> &Checkpoint {
        self.checkpoints.last().expect("a checkpoint")
    }
}

impl TrainerCallback for RecordingCallback {
    fn emit(&mut self, event: Event) {
        if let Event::Step(step) = &event
            && self.stop_after == Some(step.step)
        {
            self.control.stop();
        }
        if let (Event::Progress { what, done: 0, .. }, Some((phase, others))) = (&event, &mut self.stop_in)
            && what == phase
        {
            match others.checked_sub(1) {
                Some(fewer) => *others = fewer,
                None => self.control.stop(),
            }
        }
        self.events.push(event);
    }

    fn save_checkpoint(&mut self, checkpoint: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>> {
        // Through bytes and back, as a real one goes.
        let bytes = checkpoint.to_bytes();
        self.checkpoints.push(bytes.and_then(|b| Checkpoint::from_bytes(&b, "memory")).expect("a sound checkpoint"));
        Box::pin(async { Ok(()) })
    }

    fn sample<'a>(&'a mut self, _: &'a Model, _: usize, _: f64) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.samples += 1;
        Box::pin(async { Ok(()) })
    }
}
