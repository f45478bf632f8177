//! Methods that work together.

use serde::{Deserialize, Serialize};

use stratune_protocol::{IstMode, Problem};

use crate::method::{Enters, Method};
use crate::{MethodConfig, MethodKind, TargetOverride};

/// The methods of a run, each entering on top of the ones before. In a file: `[method]`, or `[[method]]` for each; `method = []`
/// where nothing trains but the classifier, which is a linear probe.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Methods(pub Vec<MethodConfig>);

impl Default for Methods {
    fn default() -> Self {
        MethodConfig::default().into()
    }
}

impl From<MethodConfig> for Methods {
    fn from(method: MethodConfig) -> Self {
        Self(vec![method])
    }
}

impl From<MethodKind> for Methods {
    fn from(kind: MethodKind) -> Self {
        MethodConfig::new(kind).into()
    }
}

impl std::ops::Deref for Methods {
    type Target = Vec<MethodConfig>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Methods {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand: an untagged enum would lose the message that names the field.
        struct OneOrMany;
        impl<'de> serde::de::Visitor<'de> for OneOrMany {
            type Value = Methods;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a method or a list of methods")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Methods, A::Error> {
                MethodConfig::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Methods::from)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Methods, A::Error> {
                let mut methods = Vec::new();
                while let Some(method) = seq.next_element()? {
                    methods.push(method);
                }
                Ok(Methods(methods))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl Methods {
    /// Changes every method that has the setting `field` gives; used by flags, which belong to no single method.
    pub fn set<T: Clone>(&mut self, value: Option<T>, field: impl Fn(&mut MethodConfig) -> &mut Option<T>) -> bool {
        let Some(value) = value else { return true };
        let mut any = false;
        for method in &mut self.0 {
            let slot = field(method);
            if slot.is_some() {
                *slot = Some(value.clone());
                any = true;
            }
        }
        any
    }

    /// Positions of the context that the methods take from the text.
    pub fn virtual_tokens(&self) -> usize {
        let taken = |m: &MethodConfig| m.length.unwrap_or(0);
        let enters = |m: &&MethodConfig, input: bool| match m.kind.method().enters {
            Enters::Input => input,
            Enters::Attention => !input,
            _ => false,
        };
        let before_all: usize = self.0.iter().filter(|m| enters(m, true)).map(taken).sum();
        // Those of different layers lie side by side.
        before_all + self.0.iter().filter(|m| enters(m, false)).map(taken).max().unwrap_or(0)
    }

    /// In a few words, such as `LoRA r8` or `Prefix tuning + Parallel adapter`.
    pub fn title(&self) -> String {
        let one = |m: &MethodConfig| match m.rank {
            Some(rank) => format!("{} r{rank}", m.kind.method().title),
            None => m.kind.method().title.to_string(),
        };
        match self.0.is_empty() {
            true => "no method".into(),
            false => self.0.iter().map(one).collect::<Vec<_>>().join(" + "),
        }
    }

    /// Another rank or alpha at some layers of the first method.
    pub fn override_at(&mut self, path: &str, over: TargetOverride) {
        if let Some(first) = self.0.first_mut() {
            first.overrides.insert(path.into(), over);
        }
    }

    /// Checks each method, and that they can work together and under IST.
    ///
    /// # Errors
    /// Names the first setting that is out of range, or what does not go together.
    pub fn check(&self, ist: IstMode) -> Result<(), Problem> {
        self.0.iter().try_for_each(MethodConfig::check)?;
        let methods = || self.0.iter().map(|m| m.kind.method());
        for (i, method) in methods().enumerate().filter(|(_, method)| method.unique) {
            if methods().skip(i + 1).any(|other| other.kind == method.kind) {
                return Err(Problem::input(format!("{} is listed twice", method.kind))
                    .at("method")
                    .next("list it once: there is one of it in a model"));
            }
        }
        methods().try_for_each(|method| (method.fits)(self, ist))?;
        if let [one, other, ..] = methods().filter(|m| m.in_place()).map(|m| m.kind).collect::<Vec<_>>()[..] {
            return Err(Problem::input(format!("{one} and {other} both train the model's own weights"))
                .at("method")
                .next("choose one of them"));
        }
        let chooses_weights = |m: &Method| m.from_data.chooses() && matches!(m.enters, Enters::Linear(_));
        let whole = methods().find(|m| m.in_place() || chooses_weights(m));
        if let Some((few_bits, whole)) = methods().find(|m| m.few_bits).zip(whole) {
            let what =
                format!("{} needs the gradients of weights that {} keeps in few bits", whole.kind, few_bits.kind);
            return Err(Problem::input(what).at("method").next("choose one of them"));
        }
        if ist != IstMode::All
            && let Some(method) = methods().find(|m| !m.per_layer)
        {
            return Err(Problem::input(format!("{} has no numbers of each layer's own to choose among", method.kind))
                .at("ist.mode")
                .next("use --ist=all with it, or another method"));
        }
        if ist.learns()
            && let Some(method) = methods().find(|m| m.in_place())
        {
            return Err(Problem::input(format!(
                "{} changes the weights themselves, which IST cannot damp",
                method.kind
            ))
            .at("ist.mode")
            .next("use --ist=random, or another method"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        method: Methods,
    }

    #[test]
    fn one_or_many() {
        let read = |text: &str| toml::from_str::<File>(text).map(|f| f.method).map_err(|e| e.to_string());
        assert_eq!(read("[method]\nrank = 4\n").unwrap()[0].rank, Some(4));
        let many = read("[[method]]\nkind = \"prefix\"\n[[method]]\nkind = \"parallel\"\nscale = 2.0\n").unwrap();
        assert_eq!(many.iter().map(|m| m.kind).collect::<Vec<_>>(), [MethodKind::Prefix, MethodKind::Parallel]);
        assert_eq!(many.title(), "Prefix tuning / P-tuning v2 + Parallel adapter");
        assert!(read("[method]\nkind = \"bitfit\"\nrank = 4\n").unwrap_err().contains("bitfit has no setting rank"));
        assert!(read("[[method]]\nrnk = 4\n").unwrap_err().contains("rnk"));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let list = |kinds: &[MethodKind]| Methods(kinds.iter().map(|k| MethodConfig::new(*k)).collect());
        use MethodKind::{Did, Full, Lora, Prefix, Prompt, Said};
        for (kinds, ist, fits) in [
            (&[Lora, Prefix][..], IstMode::Practical, true),
            (&[Prefix, Prefix], IstMode::All, false),
            (&[Did, Said], IstMode::All, false),
            (&[Prompt], IstMode::All, true),
            (&[Prompt], IstMode::Random, false),
            (&[Full], IstMode::Random, true),
            (&[Full], IstMode::Faithful, false),
            (&[Full, MethodKind::Galore], IstMode::All, false),
            (&[MethodKind::Lisa], IstMode::All, true),
            (&[MethodKind::Lisa], IstMode::Random, false),
            (&[], IstMode::All, true),
        ] {
            assert_eq!(list(kinds).check(ist).is_ok(), fits, "{kinds:?} {ist:?}");
        }
    }

    #[test]
    fn a_flag_reaches_the_methods_that_have_it() {
        let mut methods = Methods(vec![MethodConfig::new(MethodKind::Lora), MethodConfig::new(MethodKind::Prefix)]);
        assert!(methods.set(Some(3), |m| &mut m.rank));
        assert_eq!((methods[0].rank, methods[1].rank), (Some(3), None));
        assert!(!methods.set(Some(0.5), |m| &mut m.share));
    }
}
