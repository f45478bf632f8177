//! Lists of methods that papers gave a name.

use stratune_protocol::{ModelReport, Problem, Targets};

use crate::{MethodConfig, MethodKind, Methods};

/// A combination with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodPreset {
    /// MAM adapter (He et al. 2022, arXiv 2110.04366): a prefix of 30 and a scaled parallel adapter.
    Mam,
    /// UniPELT (Mao et al. 2022, arXiv 2110.07577): LoRA, prefix and Pfeiffer adapter, each behind a gate.
    Unipelt,
    /// S4 (Chen et al. 2023, arXiv 2301.01821): four groups of layers, the middle ones wider, each with a mixture of
    /// its own, and as many parameters in each layer.
    S4,
    /// AdapterDrop (Rücklé et al. 2021, arXiv 2010.11918): no adapters in the lowest five of twelve layers.
    AdapterDrop,
    /// Child-tuning D (Xu et al. 2021, arXiv 2109.05687): the third of the weights with the largest Fisher information.
    ChildTuningD,
}

impl MethodPreset {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Mam, Self::Unipelt, Self::S4, Self::AdapterDrop, Self::ChildTuningD];

    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mam => "mam",
            Self::Unipelt => "unipelt",
            Self::S4 => "s4",
            Self::AdapterDrop => "adapter_drop",
            Self::ChildTuningD => "child_tuning_d",
        }
    }

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Mam => "MAM adapter",
            Self::Unipelt => "UniPELT",
            Self::S4 => "S4",
            Self::AdapterDrop => "AdapterDrop",
            Self::ChildTuningD => "Child-tuning (D)",
        }
    }

    /// One sentence for who chooses.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Mam => "Prefixes in the attention and a parallel adapter beside the feed-forward.",
            Self::Unipelt => "LoRA, prefixes and adapters, each behind a gate that learns when it helps.",
            Self::S4 => "Four groups of layers, wide in the middle, each with a mixture of methods of its own.",
            Self::AdapterDrop => "Adapters in the upper layers alone: the lower ones need no backward pass.",
            Self::ChildTuningD => "The third of the weights that some rows find most important train.",
        }
    }

    /// The methods it lists, for a model.
    pub fn methods(self, model: &ModelReport) -> Methods {
        let all = |kind| MethodConfig::new(kind);
        Methods(match self {
            Self::Mam => vec![
                MethodConfig { length: Some(30), ..all(MethodKind::Prefix) },
                MethodConfig { width: Some(64), scale: Some(4.0), ..all(MethodKind::Parallel) },
            ],
            Self::Unipelt => vec![
                MethodConfig {
                    gated: Some(true),
                    targets: Some(Targets::listed(&["query", "value"])),
                    ..all(MethodKind::Lora)
                },
                MethodConfig { gated: Some(true), ..all(MethodKind::Prefix) },
                MethodConfig { gated: Some(true), ..all(MethodKind::Pfeiffer) },
            ],
            Self::S4 => s4(model),
            Self::AdapterDrop => {
                vec![MethodConfig {
                    layers: (model.layers * 5 / 12..model.layers).collect(),
                    ..all(MethodKind::Pfeiffer)
                }]
            }
            Self::ChildTuningD => vec![MethodConfig { share: Some(0.3), ..all(MethodKind::Fish) }],
        })
    }

    /// The same with bottlenecks of the paper's width.
    pub fn methods_of_paper(self, model: &ModelReport) -> Methods {
        let width = |m: &MethodConfig| match self {
            Self::Mam | Self::Unipelt | Self::AdapterDrop => {
                m.width.filter(|_| m.kind != MethodKind::Prefix).and(MethodConfig::of_its_paper(m.kind, model).width)
            }
            // Its sizes follow from its budget, and Fisher's choice has none.
            Self::S4 | Self::ChildTuningD => None,
        };
        Methods(self.methods(model).iter().map(|m| MethodConfig { width: width(m).or(m.width), ..m.clone() }).collect())
    }
}

/// Who is in which of the four groups.
const S4_GROUPS: [&[MethodKind]; 4] = [
    &[MethodKind::Pfeiffer, MethodKind::Lora],
    &[MethodKind::Pfeiffer, MethodKind::Prefix],
    &[MethodKind::Pfeiffer, MethodKind::Prefix, MethodKind::Bitfit],
    &[MethodKind::Prefix, MethodKind::Bitfit, MethodKind::Lora],
];

/// S4's groups of layers, and who is in which.
pub fn s4_groups(layers: usize) -> impl Iterator<Item = (Vec<usize>, &'static [MethodKind])> {
    spindle(layers).into_iter().zip(S4_GROUPS)
}

/// Each layer gets what a LoRA of rank 16 on q and v would have there, shared out among the members of its group.
fn s4(model: &ModelReport) -> Vec<MethodConfig> {
    let one = |kind: MethodKind| MethodConfig { layers: vec![0], ..of_s4(kind) };
    // Of the first block alone: `one` enters no other.
    let count = |method: &MethodConfig| method.trainable(model);
    let budget = count(&MethodConfig { rank: Some(16), ..one(MethodKind::Lora) });
    let mut methods: Vec<MethodConfig> = Vec::new();
    for (members, layers) in S4_GROUPS.into_iter().zip(spindle(model.layers)) {
        if layers.is_empty() {
            continue;
        }
        let mut left = budget;
        let sized: Vec<_> = members.iter().filter(|k| **k != MethodKind::Bitfit).collect();
        if members.contains(&MethodKind::Bitfit) {
            left = left.saturating_sub(count(&one(MethodKind::Bitfit)));
            methods.push(MethodConfig { layers: layers.clone(), ..one(MethodKind::Bitfit) });
        }
        for (k, kind) in sized.iter().enumerate() {
            // The last one takes what rounding has left of the others' shares.
            let share = left / (sized.len() - k) as u64;
            let of_size = |size: usize| sized_s4(&one(**kind), size);
            // Counts are straight lines in the size.
            let (at_1, at_2) = (count(&of_size(1)), count(&of_size(2)));
            let size = ((share + at_2).saturating_sub(2 * at_1) as f64 / (at_2 - at_1).max(1) as f64).round().max(1.0);
            let method = of_size(size as usize);
            left = left.saturating_sub(count(&method));
            methods.push(MethodConfig { layers: layers.clone(), ..method });
        }
    }
    methods
}

fn of_s4(kind: MethodKind) -> MethodConfig {
    let method = MethodConfig::new(kind);
    match kind {
        MethodKind::Lora => MethodConfig { targets: Some(Targets::listed(&["query", "value"])), ..method },
        _ => method,
    }
}

fn sized_s4(method: &MethodConfig, size: usize) -> MethodConfig {
    match method.kind {
        MethodKind::Lora => MethodConfig { rank: Some(size), ..method.clone() },
        MethodKind::Prefix => MethodConfig { length: Some(size), ..method.clone() },
        _ => MethodConfig { width: Some(size), ..method.clone() },
    }
}

/// Four groups of layers, the two in the middle twice as wide as the others.
fn spindle(layers: usize) -> [Vec<usize>; 4] {
    let bound = |sixths: usize| (layers * sixths + 3) / 6;
    [0..bound(1), bound(1)..bound(3), bound(3)..bound(5), bound(5)..layers].map(Iterator::collect)
}

/// Names of methods and combinations, with commas between: `lora,bitfit`, `mam`; `none` for no method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodNames(Vec<Named>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Method(MethodKind),
    Preset(MethodPreset),
}

impl MethodNames {
    /// The methods, for a model.
    pub fn methods(&self, model: &ModelReport) -> Methods {
        let of = |named: &Named| match named {
            Named::Method(kind) => MethodConfig::new(*kind).into(),
            Named::Preset(preset) => preset.methods(model),
        };
        Methods(self.0.iter().flat_map(|named| of(named).0).collect())
    }

    /// The same with the settings of the papers; combinations are of their papers anyway, but for sizes.
    pub fn methods_of_papers(&self, model: &ModelReport) -> Methods {
        let of = |named: &Named| match named {
            Named::Method(kind) => MethodConfig::of_its_paper(*kind, model).into(),
            Named::Preset(preset) => preset.methods_of_paper(model),
        };
        Methods(self.0.iter().flat_map(|named| of(named).0).collect())
    }

    /// What a person would call it.
    pub fn title(&self) -> String {
        let of = |named: &Named| match named {
            Named::Method(kind) => kind.name(),
            Named::Preset(preset) => preset.name(),
        };
        match self.0.is_empty() {
            true => NONE.into(),
            false => self.0.iter().map(of).collect::<Vec<_>>().join(","),
        }
    }
}

/// The name of no method: what reads labels trains alone.
const NONE: &str = "none";

impl std::str::FromStr for MethodNames {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let plain = |name: &str| name.to_lowercase().replace('-', "_");
        if plain(text.trim()) == NONE {
            return Ok(Self(Vec::new()));
        }
        let named = |name: &str| match MethodPreset::ALL.into_iter().find(|p| p.name() == plain(name)) {
            Some(preset) => Ok(Named::Preset(preset)),
            None => name.parse().map(Named::Method),
        };
        text.split(',').map(|name| named(name.trim())).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::IstMode;

    use super::*;

    fn model() -> ModelReport {
        stratune_protocol::testing::model(12, [64, 160, 64, 32])
    }

    #[test]
    fn names_become_lists() {
        for preset in MethodPreset::ALL {
            let methods = preset.name().parse::<MethodNames>().unwrap().methods(&model());
            methods.check(IstMode::All).unwrap();
            assert_eq!(methods, preset.methods(&model()));
            let names = preset.name().parse::<MethodNames>().unwrap();
            names.methods_of_papers(&model()).check(IstMode::All).unwrap();
        }
        let kinds = |text: &str| {
            text.parse::<MethodNames>().unwrap().methods(&model()).iter().map(|m| m.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds("lora"), [MethodKind::Lora]);
        assert_eq!((kinds("None"), "none".parse::<MethodNames>().unwrap().title()), (Vec::new(), "none".into()));
        assert_eq!(kinds("lora+, bitfit"), [MethodKind::LoraPlus, MethodKind::Bitfit]);
        assert!("loora".parse::<MethodNames>().is_err());
    }

    #[test]
    fn the_spindle_is_wide_in_the_middle_and_leaves_no_layer_out() {
        for (layers, sizes) in [(12, [2, 4, 4, 2]), (8, [1, 3, 3, 1]), (3, [1, 1, 1, 0]), (1, [0, 1, 0, 0])] {
            let groups = spindle(layers);
            assert_eq!(groups.each_ref().map(Vec::len), sizes, "{layers}");
            assert_eq!(groups.concat(), (0..layers).collect::<Vec<_>>());
        }
    }

    #[test]
    fn s4_gives_each_layer_as_many_numbers() {
        let (model, methods) = (model(), MethodPreset::S4.methods(&model()));
        let of_layer = |layer: usize| -> u64 {
            let here = methods.iter().filter(|m| m.enters_layer(layer));
            here.map(|m| MethodConfig { layers: vec![layer], ..m.clone() }.trainable(&model)).sum()
        };
        let counts: Vec<u64> = (0..12).map(of_layer).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        // One unit of the coarsest size is a rank of LoRA's, 224 numbers.
        assert!(most - least <= 224, "{counts:?}");
        assert_eq!(methods.trainable(&model), counts.iter().sum::<u64>());
    }

    #[test]
    fn adapter_drop_leaves_the_lowest_layers_alone() {
        assert_eq!(MethodPreset::AdapterDrop.methods(&model())[0].layers, (5..12).collect::<Vec<_>>());
    }
}
