//! The methods, one a file, and the list of them.

mod adalora;
mod bitfit;
mod child_tuning;
mod compacter;
mod did;
mod diff_pruning;
mod dora;
mod dylora;
mod fish;
mod full;
mod galore;
mod hiwi;
mod houlsby;
mod ia3;
mod ladder;
mod layer_norm;
mod lisa;
mod loftq;
mod lokr;
mod lora;
mod lora_fa;
mod lora_plus;
mod lt_sft;
mod pafi;
mod parallel;
mod pfeiffer;
mod pissa;
mod prefix;
mod prompt;
mod qlora;
mod random_mask;
mod rslora;
mod said;
mod shira;
mod sparse_adapter;
mod ssf;
mod vera;

pub use adalora::Adalora;
pub use bitfit::Bias;
pub use diff_pruning::Diff;
pub use dora::Dora;
pub use hiwi::Hiwi;
pub use ia3::Ia3;
pub use ladder::SideShape;
pub use lokr::{Kronecker, Second};
pub use prefix::Prefix;
pub use ssf::Ssf;
pub use vera::Vera;

use serde::{Deserialize, Serialize};

use crate::Method;

/// The kinds of methods, all of them, and the file of each.
macro_rules! list {
    ($($kind:ident: $file:ident,)*) => {
        /// A method of the literature.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(missing_docs)]
        pub enum MethodKind {
            #[default]
            $($kind,)*
        }

        impl MethodKind {
            /// All of them, by family.
            pub const ALL: [Self; [$(Self::$kind),*].len()] = [$(Self::$kind),*];

            /// All that is known of it.
            pub fn method(self) -> &'static Method {
                match self {
                    $(Self::$kind => &$file::METHOD,)*
                }
            }
        }
    };
}

list! {
    Lora: lora,
    Rslora: rslora,
    LoraPlus: lora_plus,
    LoraFa: lora_fa,
    Pissa: pissa,
    Qlora: qlora,
    Loftq: loftq,
    Adalora: adalora,
    Dylora: dylora,
    Dora: dora,
    Vera: vera,
    Lokr: lokr,
    Did: did,
    Said: said,
    Hiwi: hiwi,
    Houlsby: houlsby,
    Pfeiffer: pfeiffer,
    Parallel: parallel,
    Compacter: compacter,
    SparseAdapter: sparse_adapter,
    Prefix: prefix,
    Prompt: prompt,
    Ia3: ia3,
    Ssf: ssf,
    Ladder: ladder,
    Bitfit: bitfit,
    LayerNorm: layer_norm,
    Pafi: pafi,
    RandomMask: random_mask,
    Shira: shira,
    Fish: fish,
    LtSft: lt_sft,
    DiffPruning: diff_pruning,
    ChildTuning: child_tuning,
    Lisa: lisa,
    Galore: galore,
    Full: full,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Enters, Setting, Takes, Usual};

    /// The rows of the README are what the list says; numbers and times depend on model and machine.
    #[test]
    fn each_has_its_row_in_the_readme() {
        let rows: Vec<Vec<&str>> = include_str!("../../README.md")
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        for (i, kind) in MethodKind::ALL.into_iter().enumerate() {
            let method = kind.method();
            let name = format!("`{}` {}", method.name, method.title);
            let peft = method.peft.map_or("–", |form| form.peft_type);
            let [its_name, family, trains, enters, _, _, merges, _, form] = rows[i][..] else { panic!("{name}") };
            assert_eq!(
                [its_name, family, trains, enters, merges, form],
                [&name, method.family.name(), method.trains, method.enters.name(), method.merges.name(), peft],
            );
        }
    }

    #[test]
    fn each_is_the_one_it_is_listed_as_and_its_facts_go_together() {
        for kind in MethodKind::ALL {
            let method = kind.method();
            assert_eq!(method.kind, kind);
            let settings: BTreeSet<Setting> = method.settings.iter().map(|has| has.setting).collect();
            assert_eq!(settings.len(), method.settings.len(), "{kind}: a setting twice");
            let within = matches!(method.enters, Enters::Linear(_) | Enters::InPlace(_));
            assert_eq!(within, method.has(Setting::Targets).is_some() || !method.roles.is_empty(), "{kind}");
            assert!(method.has_layers || !method.per_layer, "{kind}: blocks of its own, and none to choose");
            for has in method.settings {
                let fits = match (has.takes, has.usual) {
                    (Takes::Targets, Usual::AllLinear | Usual::Listed(_)) => true,
                    (Takes::Overrides, Usual::Empty) | (Takes::Flag, Usual::Off) => true,
                    (Takes::Count(least), Usual::Count(count)) => count >= least,
                    (Takes::Bits(bits), Usual::Count(count)) => bits.contains(&count),
                    (Takes::Words(_), Usual::Projection(_)) => true,
                    (Takes::Positive, Usual::Number(x)) => x > 0.0,
                    (Takes::NotNegative, Usual::Number(x)) => x >= 0.0,
                    (Takes::Share, Usual::Number(x)) => x > 0.0 && x <= 1.0,
                    (Takes::Rest, Usual::Number(x)) => (0.0..1.0).contains(&x),
                    _ => false,
                };
                assert!(fits, "{kind}: {has:?}");
            }
        }
    }

    /// A type of folder is read in one way, whichever method has written it.
    #[test]
    fn relatives_share_a_form() {
        let forms: Vec<_> = MethodKind::ALL.into_iter().filter_map(|kind| kind.method().peft).collect();
        for (one, other) in forms.iter().flat_map(|one| forms.iter().map(move |other| (one, other))) {
            let same = std::ptr::fn_addr_eq(one.read, other.read);
            assert!(same || one.peft_type != other.peft_type, "{}", one.peft_type);
        }
    }
}
