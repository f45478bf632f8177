//! Settings to start from.

use stratune_protocol::RunConfig;

/// A setting to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// To see whether it works at all.
    Quick,
    /// What most people want.
    Balanced,
    /// When it may take its time.
    Thorough,
    /// What the starter model needs: small models take large steps, and many.
    Starter,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Quick, Self::Balanced, Self::Thorough, Self::Starter];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "Quick",
            Self::Balanced => "Balanced",
            Self::Thorough => "Thorough",
            Self::Starter => "Starter",
        }
    }

    /// What it is for.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Quick => "rank 4, one pass: see whether it works",
            Self::Balanced => "rank 8, three passes: what most people want",
            Self::Thorough => "rank 16, six passes: when it may take its time",
            Self::Starter => "rank 16, twenty passes at a large learning rate: what the small starter model needs",
        }
    }

    /// Rank, epochs, learning rate. Fewer steps want larger ones.
    fn values(self) -> (usize, f32, f64) {
        match self {
            Self::Quick => (4, 1.0, 2e-3),
            Self::Balanced => (8, 3.0, 1e-3),
            Self::Thorough => (16, 6.0, 5e-4),
            Self::Starter => (16, 20.0, 5e-3),
        }
    }

    /// Changes `config` to this setting; everything else stays.
    pub fn put(self, config: &mut RunConfig) {
        let (rank, epochs, learning_rate) = self.values();
        config.method.set(Some(rank), |m| &mut m.rank);
        config.method.set(Some(2.0 * rank as f32), |m| &mut m.alpha);
        config.train.steps = 0;
        config.train.epochs = epochs;
        config.train.learning_rate = learning_rate;
    }

    /// Whether `config` is at this setting.
    pub fn is(self, config: &RunConfig) -> bool {
        let mut there = config.clone();
        self.put(&mut there);
        there == *config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_knows_itself_and_is_valid() {
        for preset in Preset::ALL {
            let mut config = RunConfig::default();
            config.train.seed = 7;
            preset.put(&mut config);
            assert_eq!(config.validate(), Ok(()));
            assert_eq!(config.train.seed, 7);
            assert_eq!(Preset::ALL.map(|p| p.is(&config)), Preset::ALL.map(|p| p == preset));
        }
        assert!(Preset::Balanced.is(&RunConfig::default()));
    }
}
