//! What would help a run that does not fit: each setting is tried, and the forecast says whether it does.

use stratune_peft::MethodConfig;
use stratune_protocol::{BaseDtype, Problem, ProblemKind, Remedy, advice};
use stratune_train::RunConfig;

use super::{Conditions, Forecast};

/// Rows shorter than this are not worth training on.
const SHORTEST: usize = 64;

/// How many remedies are named.
const NAMED: usize = 2;

impl Conditions<'_> {
    /// The mildest settings that change the verdict; none where it is good or cannot be told.
    pub fn remedies(&self, config: &RunConfig) -> Vec<Remedy> {
        let limits = &self.device.limits;
        let now = self.forecast(config).verdict(limits);
        self.those_that(config, |then| then.verdict(limits) < now)
    }

    /// The mildest settings that spare a fifth: for a device that has turned out too small, whatever was forecast.
    pub fn savings(&self, config: &RunConfig) -> Vec<Remedy> {
        let now = self.forecast(config).bytes();
        self.those_that(config, |then| then.bytes() <= now / 5 * 4)
    }

    /// The problem with what to reduce, if the device's memory is exhausted.
    pub fn explain(&self, config: &RunConfig, problem: Problem) -> Problem {
        if problem.kind != ProblemKind::Memory {
            return problem;
        }
        let advice = advice(&self.savings(config));
        problem.next(format!("the last checkpoint stands; free memory and resume, or start anew and {advice}"))
    }

    /// The first step of each lever that does, and where none does alone, all of them pulled as far as they go.
    fn those_that(&self, config: &RunConfig, does: impl Fn(&Forecast) -> bool) -> Vec<Remedy> {
        let tried = |config: RunConfig, settings: String| {
            let forecast = self.forecast(&config);
            (config.validate().is_ok() && does(&forecast)).then(|| Remedy { settings, bytes: forecast.bytes() })
        };
        let alone = LEVERS.iter().filter_map(|lever| {
            let mut then = config.clone();
            std::iter::from_fn(|| lever(&mut then, self).map(|settings| (then.clone(), settings)))
                .find_map(|(then, settings)| tried(then, settings))
        });
        let named: Vec<Remedy> = alone.take(NAMED).collect();
        if !named.is_empty() {
            return named;
        }
        let mut then = config.clone();
        let pulled: Vec<String> = LEVERS
            .iter()
            .filter_map(|lever| {
                let mut further = then.clone();
                let settings = std::iter::from_fn(|| lever(&mut further, self)).last()?;
                // Not every method lets every lever go.
                further.validate().is_ok().then(|| {
                    then = further;
                    settings
                })
            })
            .collect();
        tried(then, pulled.join(", ")).into_iter().collect()
    }
}

/// Goes one step further, and says what is set then; none where it goes no further.
type Lever = fn(&mut RunConfig, &Conditions<'_>) -> Option<String>;

/// From what changes nothing but time to what changes the method.
const LEVERS: [Lever; 5] = [fewer_graphs, smaller_batches, shorter_rows, a_lora, fewer_bits];

fn fewer_graphs(config: &mut RunConfig, _: &Conditions<'_>) -> Option<String> {
    let train = &mut config.train;
    if train.graph_memory == 0 && train.keep_graphs == 0 {
        return None;
    }
    (train.graph_memory, train.keep_graphs) = (train.graph_memory / 4, 0);
    Some(format!("graph_memory {}", train.graph_memory))
}

fn smaller_batches(config: &mut RunConfig, _: &Conditions<'_>) -> Option<String> {
    let train = &mut config.train;
    if train.batch_size <= 1 {
        return None;
    }
    train.batch_size = train.batch_size.div_ceil(2);
    train.accumulation = train.accumulation.saturating_mul(2);
    Some(format!("batch_size {} and accumulation {}", train.batch_size, train.accumulation))
}

fn shorter_rows(config: &mut RunConfig, on: &Conditions<'_>) -> Option<String> {
    let longest = config.data.max_length.min(on.width.unwrap_or(usize::MAX)).min(on.model.context);
    if longest <= SHORTEST {
        return None;
    }
    config.data.max_length = (longest / 2).max(SHORTEST);
    Some(format!("max_length {}", config.data.max_length))
}

fn fewer_bits(config: &mut RunConfig, on: &Conditions<'_>) -> Option<String> {
    let kept = on.base_dtype(config);
    // A file's own bits are few.
    let at = BaseDtype::ALL.iter().position(|dtype| *dtype == kept).filter(|_| kept != BaseDtype::File)?;
    config.base_dtype = *BaseDtype::ALL.get(at + 1)?;
    Some(format!("base_dtype {}", config.base_dtype))
}

fn a_lora(config: &mut RunConfig, on: &Conditions<'_>) -> Option<String> {
    let lora = MethodConfig::default().into();
    if config.method.trainable(on.model) <= on.model.parameters / 10 || config.method == lora {
        return None;
    }
    config.method = lora;
    Some("method lora".into())
}

#[cfg(test)]
mod tests {
    use stratune_peft::MethodKind;
    use stratune_protocol::{AdapterInfo, Limits, ModelReport, Verdict};

    use super::*;

    /// About SmolLM2-135M.
    fn model() -> ModelReport {
        ModelReport {
            parameters: 134_515_008,
            head_dim: 64,
            vocabulary: 49_152,
            context: 8192,
            ..stratune_protocol::testing::model(30, [576, 1536, 576, 192])
        }
    }

    fn remedies(config: &RunConfig, memory: u64) -> (Verdict, Vec<Remedy>) {
        let model = model();
        let limits = Limits { memory: Some(memory), buffer: None };
        let device = AdapterInfo { device: "cpu".into(), limits, ..AdapterInfo::default() };
        let memory_report = Conditions { model: &model, device: &device, width: None }.memory_report(config);
        // Whatever is named does help, and takes what is said.
        for remedy in &memory_report.remedies {
            let then = Forecast { weights: remedy.bytes, ..Forecast::default() };
            assert!(then.verdict(&limits) < memory_report.verdict, "{remedy:?}");
        }
        (memory_report.verdict, memory_report.remedies)
    }

    #[test]
    fn the_mildest_that_helps_is_named() {
        let config = RunConfig::default();
        let settings = |of: &[Remedy]| of.iter().map(|r| r.settings.clone()).collect::<Vec<_>>();
        let (verdict, none) = remedies(&config, 8 << 30);
        assert_eq!((verdict, none.len()), (Verdict::Fits, 0));
        // The graphs' 512 MiB are what is too much.
        let (verdict, few) = remedies(&config, 2_000_000_000);
        assert_eq!(verdict, Verdict::Tight);
        assert_eq!(settings(&few)[0], "graph_memory 128", "{few:?}");
        assert_eq!(few.len(), 2);
        assert!(settings(&few)[1].starts_with("batch_size "), "{few:?}");
        // The model alone takes 540 MB, and 100 with 4 bits.
        let (verdict, few) = remedies(&config, 300_000_000);
        assert_eq!((verdict, few.len()), (Verdict::WontFit, 1));
        assert!(few[0].settings.ends_with("base_dtype int4"), "{few:?}");
        let (verdict, none) = remedies(&config, 90_000_000);
        assert_eq!((verdict, none), (Verdict::WontFit, Vec::new()));
        assert_eq!(advice(&[]), "use a smaller model");
        // Full tuning has its moments everywhere: only another method helps.
        let full = RunConfig { method: MethodKind::Full.into(), ..RunConfig::default() };
        let (verdict, few) = remedies(&full, 2_000_000_000);
        assert_eq!((verdict, settings(&few)), (Verdict::WontFit, vec!["method lora".to_string()]));
        assert!(advice(&few).starts_with("set method lora ("), "{}", advice(&few));
    }

    #[test]
    fn where_no_setting_helps_alone_all_are_named() {
        let full = RunConfig { method: MethodKind::Full.into(), ..RunConfig::default() };
        let (verdict, few) = remedies(&full, 700_000_000);
        assert_eq!((verdict, few.len()), (Verdict::WontFit, 1), "{few:?}");
        assert_eq!(
            few[0].settings,
            "graph_memory 0, batch_size 1 and accumulation 8, max_length 64, method lora, base_dtype int4"
        );
        // A method that has its base in few bits by itself is left with the others.
        let qlora = RunConfig { method: MethodKind::Qlora.into(), ..RunConfig::default() };
        let (verdict, few) = remedies(&qlora, 740_000_000);
        assert_eq!((verdict, few.len()), (Verdict::WontFit, 1), "{few:?}");
        assert_eq!(few[0].settings, "graph_memory 0, batch_size 1 and accumulation 8, max_length 64");
    }

    #[test]
    fn savings_do_not_ask_for_limits() {
        let model = model();
        let device = AdapterInfo::default();
        let on = Conditions { model: &model, device: &device, width: Some(512) };
        let few = on.savings(&RunConfig::default());
        let now = on.forecast(&RunConfig::default()).bytes();
        assert!(few.len() == 2 && few.iter().all(|r| r.bytes * 5 <= now * 4), "{few:?}");
        let told = on.explain(&RunConfig::default(), Problem::of_device("out of memory"));
        assert!(told.next.contains("checkpoint") && told.next.contains(&advice(&few)), "{told:?}");
        let other = Problem::of_device("lost");
        assert_eq!(on.explain(&RunConfig::default(), other.clone()), other);
    }
}
