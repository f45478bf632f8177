//! Everything that a run depends on: TOML file, command-line flags, web form and the record in every checkpoint.

use serde::{Deserialize, Serialize};
use stratune_peft::{Method, Methods};
use stratune_protocol::{
    BaseDtype, ComputeDtype, DataConfig, DeviceChoice, IstConfig, IstMode, OptimiserKind, Problem, ProblemKind,
    SearchConfig, TrainConfig,
};

/// What an engine is asked, with the configuration as it knows it.
pub type Command = stratune_protocol::Command<RunConfig>;
/// What it answers.
pub type Event = stratune_protocol::Event<RunConfig>;
/// A run that was interrupted.
pub type SavedRun = stratune_protocol::SavedRun<RunConfig>;
/// A run that has ended.
pub type TunedRun = stratune_protocol::TunedRun<RunConfig>;

/// Everything a training run depends on. Equal configurations on equal data give equal runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// The model to tune: `starter`, a folder in Hugging Face form, a GGUF file, or an id on the hub with its commit.
    pub model: String,
    /// What the model's frozen matrices are kept as.
    pub base_dtype: BaseDtype,
    /// What products multiply in.
    pub compute_dtype: ComputeDtype,
    /// Where to compute.
    pub device: DeviceChoice,
    /// What to learn from.
    pub data: DataConfig,
    /// What is trained: one method, or several that work together.
    pub method: Methods,
    /// Which layers train at each step.
    pub ist: IstConfig,
    /// How it is trained.
    pub train: TrainConfig,
    /// What of the methods is searched for a structure; none: they train as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchConfig>,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            model: "starter".into(),
            base_dtype: BaseDtype::File,
            compute_dtype: ComputeDtype::F32,
            device: DeviceChoice::Auto,
            data: DataConfig::default(),
            method: Methods::default(),
            ist: IstConfig::default(),
            train: TrainConfig::default(),
            search: None,
        }
    }
}

impl RunConfig {
    /// Reads a TOML file's text. Unknown fields are errors that name the field.
    pub fn from_toml(text: &str) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|e| {
            Problem::input(format!("the configuration cannot be read: {}", e.message()))
                .at(e
                    .span()
                    .map(|s| format!("line {}", 1 + text[..s.start.min(text.len())].matches('\n').count()))
                    .unwrap_or_default())
                .next("compare with the reference in crates/cli/README.md")
        })
    }

    /// The TOML text of this configuration.
    pub fn to_toml(&self) -> Result<String, Problem> {
        toml::to_string(self).map_err(|e| Problem::new(ProblemKind::Internal, format!("cannot write TOML: {e}")))
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self) -> Result<(), Problem> {
        if self.model.is_empty() {
            return Err(Problem::input("no model is named").at("model").next("use `starter` or a folder"));
        }
        let held_out = self.data.holds_out();
        self.method.check(self.ist.mode)?;
        self.check_base()?;
        self.train.check(held_out)?;
        if self.train.optimiser == OptimiserKind::Mezo {
            self.check_mezo()?;
        }
        self.data.check()?;
        self.data.check_objective(self.train.objective)?;
        self.check_search()?;
        self.ist.check()
    }

    /// A search has gradients to learn from, and trains every layer at each step.
    fn check_search(&self) -> Result<(), Problem> {
        let Some(search) = &self.search else { return Ok(()) };
        if self.train.optimiser == OptimiserKind::Mezo {
            return Err(Problem::input("a search learns from gradients, and mezo has none")
                .at("train.optimiser")
                .next("use adamw"));
        }
        if self.ist.mode != IstMode::All {
            return Err(Problem::input("a search trains all layers at each step")
                .at("ist.mode")
                .next("use --ist=all while searching; train what it finds under IST"));
        }
        search.check()
    }

    /// Of so many training rows those that are set apart: for a search, or for IST.
    pub fn rows_apart(&self, rows: usize) -> usize {
        self.search.as_ref().map_or_else(|| self.ist.rows_apart(rows), |search| search.rows_apart(rows))
    }

    /// Refuses what cannot stand on such a base: a method that trains the base itself, or keeps it in few bits of its
    /// own accord.
    fn check_base(&self) -> Result<(), Problem> {
        let moves = |m: &&Method| m.in_place() || m.few_bits;
        let dtype = self.base_dtype;
        match self.method.iter().map(|m| m.kind.method()).find(moves).filter(|_| !dtype.can_train()) {
            None => Ok(()),
            Some(m) if m.few_bits => Err(Problem::input(format!("{} keeps the base in few bits by itself", m.kind))
                .at("base_dtype")
                .next("leave base_dtype at file and set bits, or use lora")),
            Some(m) => Err(Problem::input(format!("{} trains the base itself, which is {dtype} then", m.kind))
                .at("base_dtype")
                .next("leave base_dtype at file, or use a method that adds to the base")),
        }
    }

    /// MeZO has no gradients for a method to work on, and its step has no decay.
    fn check_mezo(&self) -> Result<(), Problem> {
        if let Some(method) = self.method.iter().find(|m| m.kind.method().needs_gradients) {
            return Err(Problem::input(format!("{} works on gradients, and mezo has none", method.kind))
                .at("train.optimiser")
                .next("use adamw, or another method"));
        }
        if self.train.weight_decay > 0.0 {
            return Err(Problem::input("mezo has no weight decay").at("train.weight_decay").next("set it to 0"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use stratune_peft::{MethodConfig, MethodKind, TargetOverride};

    #[test]
    fn toml_round_trip() {
        let mut config = RunConfig::default();
        config.method.override_at("q_proj", TargetOverride { rank: Some(2), alpha: None });
        config.method.push(MethodConfig::new(MethodKind::Prefix));
        config.ist = IstConfig::preset(IstMode::Practical);
        config.device = DeviceChoice::Cuda(1);
        let text = config.to_toml().unwrap();
        assert_eq!(RunConfig::from_toml(&text).unwrap(), config, "{text}");
    }

    #[test]
    fn an_unknown_field_is_named() {
        let problem = RunConfig::from_toml("[train]\nlerning_rate = 1.0\n").unwrap_err();
        assert!(problem.what.contains("lerning_rate"), "{problem:?}");
        assert_eq!(problem.at, "line 2");
    }

    #[test]
    fn bad_values_name_their_field() {
        type Spoil = fn(&mut RunConfig);
        let cases: [(&str, Spoil); 9] = [
            ("method.rank", |c| c.method[0].rank = Some(0)),
            ("train.learning_rate", |c| c.train.learning_rate = 0.0),
            ("train.learning_rate", |c| c.train.learning_rate = -1.0),
            ("train.batch_size", |c| c.train.batch_size = 0),
            ("train.epochs", |c| c.train.epochs = 0.0),
            ("data.max_length", |c| c.data.max_length = 1),
            ("data.validation_split", |c| c.data.validation_split = 1.0),
            ("ist.fraction", |c| c.ist.fraction = 0.0),
            ("ist.candidates", |c| {
                c.ist = IstConfig { mode: IstMode::Faithful, candidates: 1, ..IstConfig::default() }
            }),
        ];
        for (field, spoil) in cases {
            let mut config = RunConfig::default();
            spoil(&mut config);
            let problem = config.validate().unwrap_err();
            assert_eq!(problem.at, field);
            assert_eq!(problem.kind.exit_code(), 2);
            assert!(!problem.next.is_empty());
        }
        RunConfig::default().validate().unwrap();
    }

    #[test]
    fn what_moves_the_base_needs_floats() {
        for (kind, dtype, fits) in [
            (MethodKind::Lora, BaseDtype::Int4, true),
            (MethodKind::Fish, BaseDtype::Int8, true),
            (MethodKind::Full, BaseDtype::F32, true),
            (MethodKind::Full, BaseDtype::F16, false),
            (MethodKind::Galore, BaseDtype::Int8, false),
            (MethodKind::Qlora, BaseDtype::Int4, false),
        ] {
            let config =
                RunConfig { method: MethodConfig::new(kind).into(), base_dtype: dtype, ..RunConfig::default() };
            assert_eq!(config.validate().is_ok(), fits, "{kind} on {dtype}");
        }
    }
}
