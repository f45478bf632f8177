//! Flags that say what is trained.

use clap::{Args, ValueEnum};
use stratune_peft::{Methods, Projection};
use stratune_protocol::{ModelReport, Problem, Targets};

use crate::arguments::choose;
use crate::chosen::{self, Chosen};

/// What is trained. A setting goes to every method that has it.
#[derive(Args, Clone)]
#[command(next_help_heading = "Method (`stratune methods` lists them with their settings)")]
pub struct MethodFlags {
    /// A method, a combination such as mam, several with commas between, none (a classifier alone), or a structure's file
    /// [default: lora]
    #[arg(long, value_parser = choose::<Chosen>)]
    pub method: Option<Chosen>,
    /// The settings that other flags start from: usual, or paper for those of the method's paper [default: usual]
    #[arg(long, value_enum, requires = "method")]
    preset: Option<Settings>,
    /// Blocks it enters, from 0, such as 0,1,2 [default: all]
    #[arg(long, value_delimiter = ',')]
    layers: Vec<usize>,
    /// Linear layers it enters: names (q_proj,v_proj), roles (query), parts (attention, mlp), all-linear, or a regular
    /// expression for whole paths [default: all-linear; ia3: key,value,down]
    #[arg(long, value_parser = choose::<Targets>)]
    targets: Option<Targets>,
    /// Rank of the update; galore: of the gradient [default: 8; vera 64, hiwi 16]
    #[arg(long)]
    pub rank: Option<usize>,
    /// Scale of the update is alpha / rank [default: 16; lokr 8]
    #[arg(long)]
    pub alpha: Option<f32>,
    /// Dropout on the update's input [default: 0]
    #[arg(long)]
    dropout: Option<f32>,
    /// lora_plus: B's learning rate is this many times A's [default: 16]
    #[arg(long)]
    ratio: Option<f64>,
    /// Adapters: width of the bottleneck [default: 16; sparse_adapter 64]; prefix: of the reparametrising layer [default: none]
    #[arg(long)]
    pub width: Option<usize>,
    /// parallel: what the adapter's output is multiplied by; galore: the step [default: 4; galore 0.25]
    #[arg(long)]
    scale: Option<f32>,
    /// prefix, prompt: virtual tokens before the text [default: 10; prompt 20]
    #[arg(long)]
    length: Option<usize>,
    /// pafi, random_mask, fish, lt_sft, diff_pruning, sparse_adapter: share of each matrix that trains [default: 0.005;
    /// sparse_adapter 0.2]; child_tuning: share of the gradient that a step keeps [default: 0.3]
    #[arg(long)]
    share: Option<f32>,
    /// did, said: numbers that steer all weights [default: 1000]
    #[arg(long)]
    dimension: Option<usize>,
    /// did, said: dense, sparse or fastfood [default: fastfood]
    #[arg(long, value_parser = choose::<Projection>)]
    projection: Option<Projection>,
    /// adalora: rank that training starts with [default: 12]
    #[arg(long)]
    initial_rank: Option<usize>,
    /// adalora: weight of the directions' penalty [default: 0.1]; diff_pruning: of the switches' [default: 0.01]
    #[arg(long)]
    penalty: Option<f32>,
    /// fish, lt_sft, sparse_adapter: rows that are looked at to choose what trains; lt_sft with 0: as many batches as the run has
    /// [default: 128]
    #[arg(long)]
    samples: Option<usize>,
    /// Steps between changes: of adalora's ranks [default: 10], lisa's layers [default: 20], galore's directions [default: 200]
    #[arg(long)]
    interval: Option<usize>,
    /// lisa: layers that train at a time [default: 2]
    #[arg(long)]
    blocks: Option<usize>,
    /// qlora, loftq: bits of a base weight, 4 or 8 [default: 4]
    #[arg(long)]
    bits: Option<usize>,
    /// ladder: how many times narrower than the model [default: 4]
    #[arg(long)]
    reduction: Option<usize>,
    /// lora, prefix, pfeiffer: a learned gate decides for each token how much is added
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    gated: Option<bool>,
}

/// Where the settings of a method start.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Settings {
    Usual,
    Paper,
}

impl MethodFlags {
    /// Puts what was given into `methods`.
    ///
    /// # Errors
    /// A setting was given that none of the methods has.
    pub fn apply(self, methods: &mut Methods, model: &ModelReport) -> Result<(), Problem> {
        let (mut structure, papers) = (None, self.preset == Some(Settings::Paper));
        match self.method {
            None => {}
            Some(Chosen::Structure(path)) => {
                *methods = chosen::read_structure(&path, model)?;
                structure = Some(path);
            }
            Some(Chosen::Names(names)) => {
                let chosen = if papers { names.methods_of_papers(model) } else { names.methods(model) };
                // The same methods again keep the settings of the file, unless these are asked for.
                if self.preset.is_some() || !chosen.iter().map(|m| m.kind).eq(methods.iter().map(|m| m.kind)) {
                    *methods = chosen;
                }
            }
        }
        let sized = [
            ("--layers", !self.layers.is_empty()),
            ("--targets", self.targets.is_some()),
            ("--rank", self.rank.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--width", self.width.is_some()),
            ("--length", self.length.is_some()),
            ("--preset", self.preset.is_some()),
        ];
        chosen::says_sizes(structure.as_deref(), &sized)?;
        if !self.layers.is_empty() {
            methods.iter_mut().for_each(|method| method.layers.clone_from(&self.layers));
        }
        for (reached, flag) in [
            (methods.set(self.targets, |m| &mut m.targets), "--targets"),
            (methods.set(self.rank, |m| &mut m.rank), "--rank"),
            (methods.set(self.alpha, |m| &mut m.alpha), "--alpha"),
            (methods.set(self.dropout, |m| &mut m.dropout), "--dropout"),
            (methods.set(self.ratio, |m| &mut m.ratio), "--ratio"),
            (methods.set(self.width, |m| &mut m.width), "--width"),
            (methods.set(self.scale, |m| &mut m.scale), "--scale"),
            (methods.set(self.length, |m| &mut m.length), "--length"),
            (methods.set(self.share, |m| &mut m.share), "--share"),
            (methods.set(self.dimension, |m| &mut m.dimension), "--dimension"),
            (methods.set(self.projection, |m| &mut m.projection), "--projection"),
            (methods.set(self.initial_rank, |m| &mut m.initial_rank), "--initial-rank"),
            (methods.set(self.penalty, |m| &mut m.penalty), "--penalty"),
            (methods.set(self.samples, |m| &mut m.samples), "--samples"),
            (methods.set(self.interval, |m| &mut m.interval), "--interval"),
            (methods.set(self.blocks, |m| &mut m.blocks), "--blocks"),
            (methods.set(self.bits, |m| &mut m.bits), "--bits"),
            (methods.set(self.reduction, |m| &mut m.reduction), "--reduction"),
            (methods.set(self.gated, |m| &mut m.gated), "--gated"),
        ] {
            if !reached && methods.is_empty() {
                let what = "no method trains, so that there is nothing to set";
                return Err(Problem::input(what).at(flag).next("leave it out, or name a method"));
            }
            if !reached {
                let what = format!("{} has no such setting", methods.title());
                return Err(Problem::input(what).at(flag).next("leave it out; `stratune methods` lists the settings"));
            }
        }
        Ok(())
    }
}
