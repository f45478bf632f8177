//! The settings that papers and their authors' code have, where these differ from the usual ones here.
//!
//! The usual settings suit small models and short runs on one machine; these are what a result of the literature is compared
//! with. Where a paper has several, it is what its main experiments have.

use crate::{MethodConfig, MethodKind, ModelReport, Role, Targets};

impl MethodConfig {
    /// A method with the settings of its paper, for a model.
    pub fn of_its_paper(kind: MethodKind, model: &ModelReport) -> Self {
        let usual = Self::new(kind);
        let roles = |roles: &[Role]| Some(Targets::listed(&roles.iter().map(|role| role.name()).collect::<Vec<_>>()));
        let queries_and_values = roles(&[Role::Query, Role::Value]);
        match kind {
            // Hu et al. 2021, §4.2 and 7.1: the matrices of queries and values. LoRA+ and rsLoRA are of the same setting.
            MethodKind::Lora | MethodKind::Rslora | MethodKind::LoraPlus | MethodKind::Dylora => {
                Self { targets: queries_and_values, ..usual }
            }
            // Dettmers et al. 2023: all matrices, rank 64, alpha 16, dropout 0.1 (7 B and 13 B).
            MethodKind::Qlora => Self { rank: Some(64), alpha: Some(16.0), dropout: Some(0.1), ..usual },
            // Liu et al. 2024: rank 32, alpha 64, dropout 0.05 on five of the seven.
            MethodKind::Dora => Self {
                rank: Some(32),
                alpha: Some(64.0),
                dropout: Some(0.05),
                targets: roles(&[Role::Query, Role::Key, Role::Value, Role::Up, Role::Down]),
                ..usual
            },
            // Kopiczko et al. 2023: rank 256, the matrices of queries and values.
            MethodKind::Vera => Self { rank: Some(256), targets: queries_and_values, ..usual },
            // Houlsby et al. 2019: up to 256, 64 where one size is used for all tasks.
            MethodKind::Houlsby => Self { width: Some(64), ..usual },
            // Pfeiffer et al. 2021: a sixteenth of the model's width.
            MethodKind::Pfeiffer => Self { width: Some((model.hidden_size / 16).max(1)), ..usual },
            // He et al. 2022: 512, scaled by 4.
            MethodKind::Parallel => Self { width: Some(512), scale: Some(4.0), ..usual },
            // Karimi Mahabadi et al. 2021: a thirty-second of the model's width, in four terms.
            MethodKind::Compacter => Self { width: Some((model.hidden_size / 32 / 4 * 4).max(4)), ..usual },
            // Li and Liang 2021: ten positions, made by a network 512 wide.
            MethodKind::Prefix => Self { length: Some(10), width: Some(512), ..usual },
            // Lester et al. 2021: a hundred positions.
            MethodKind::Prompt => Self { length: Some(100), ..usual },
            // Sung et al. 2021, authors' code: 1,024 rows.
            MethodKind::Fish => Self { samples: Some(1024), ..usual },
            // Ansell et al. 2022: the first phase is as long as the second.
            MethodKind::LtSft => Self { samples: Some(0), ..usual },
            // Guo et al. 2021, authors' code: a penalty of 1.25e-7 a switch.
            MethodKind::DiffPruning => Self { penalty: Some(1.25e-7), ..usual },
            // Zhao et al. 2024, authors' code: 128 directions.
            MethodKind::Galore => Self { rank: Some(128), ..usual },
            // The usual settings here are theirs, or they have none that is the same for all models.
            MethodKind::LoraFa
            | MethodKind::Pissa
            | MethodKind::Loftq
            | MethodKind::Adalora
            | MethodKind::Lokr
            | MethodKind::Did
            | MethodKind::Said
            | MethodKind::Hiwi
            | MethodKind::SparseAdapter
            | MethodKind::Ia3
            | MethodKind::Ssf
            | MethodKind::Ladder
            | MethodKind::Bitfit
            | MethodKind::LayerNorm
            | MethodKind::Pafi
            | MethodKind::RandomMask
            | MethodKind::Shira
            | MethodKind::ChildTuning
            | MethodKind::Lisa
            | MethodKind::Full => usual,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_papers_are_settings_of_the_method() {
        let model = ModelReport { hidden_size: 768, ..ModelReport::default() };
        let mut differ = 0;
        for kind in MethodKind::ALL {
            let of_paper = MethodConfig::of_its_paper(kind, &model);
            of_paper.check().unwrap();
            differ += usize::from(of_paper != MethodConfig::new(kind));
        }
        assert!(differ >= 15, "{differ}");
        let width = |kind| MethodConfig::of_its_paper(kind, &model).width;
        assert_eq!((width(MethodKind::Pfeiffer), width(MethodKind::Compacter)), (Some(48), Some(24)));
    }
}
