//! Which layers train at each step.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::preset;
use crate::Problem;

/// Which layers train at each step: importance-aware sparse tuning (arXiv 2410.11772). Read, what is left out is as in the
/// mode's [preset](Self::preset).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct IstConfig {
    /// How layers are chosen.
    pub mode: IstMode,
    /// Share of the layers that train at a step.
    pub fraction: f32,
    /// Share of the layers that a candidate damps.
    pub damped_fraction: f32,
    /// Candidates at each importance update.
    pub candidates: usize,
    /// What a damped layer's update is multiplied by, β.
    pub damping: f32,
    /// Step size of the scores, μ.
    pub step_size: f32,
    /// Steps between importance updates, T.
    pub interval: usize,
    /// Rows in an importance batch.
    pub batch_size: usize,
    /// `practical` and `cost_aware` only: training rows that are set apart for importance batches and do not train, at most a
    /// tenth of them. The rows that choose the best checkpoint are others.
    pub importance_rows: usize,
    /// `practical` only: steps a drawn set of layers is kept.
    pub redraw_every: usize,
    /// `scored`, `practical` and `cost_aware`: scores stay within ± this, so that every layer keeps a chance.
    pub score_limit: f32,
    /// `practical` only: at most one layer of the lowest quarter trains at a step, which shortens the backward pass.
    pub floor: bool,
    /// `random`, `practical` and `cost_aware`: a drawn layer's learning rate is divided by the probability that it is drawn, so
    /// that over a run it goes as far as if it trained at every step; and multiplied by this at most, and to 0.005. 1: not at all.
    pub rate_limit: f32,
    /// `cost_aware` only: share of the whole backward pass that a step costs on average, the importance loop included.
    pub depth: f32,
}

impl Default for IstConfig {
    fn default() -> Self {
        Self {
            mode: IstMode::All,
            fraction: 0.25,
            damped_fraction: 0.5,
            candidates: 3,
            damping: 0.25,
            step_size: 10.0,
            interval: 10,
            batch_size: 16,
            importance_rows: 64,
            redraw_every: 1,
            score_limit: 4.0,
            floor: false,
            rate_limit: 8.0,
            depth: 0.5,
        }
    }
}

impl<'de> Deserialize<'de> for IstConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        preset::read(deserializer, "mode", Self::preset, Self::deserialize)
    }
}

impl Serialize for IstConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl IstConfig {
    /// How many of `layers` a share means: rounded down, as released, and at least one.
    pub fn blocks(share: f32, layers: usize) -> usize {
        // A third of nine is three, whatever f32 makes of a third.
        ((f64::from(share) * layers as f64 + 1e-6).floor() as usize).max(1)
    }

    /// How many of so many training rows are set apart for importance batches: a tenth at most, and at least one.
    pub fn rows_apart(&self, rows: usize) -> usize {
        /// One row in so many.
        const SHARE: usize = 10;
        match self.mode.sets_apart() && rows > 1 {
            true => self.importance_rows.min(rows / SHARE).max(1),
            false => 0,
        }
    }

    /// The settings a mode starts from. `faithful` keeps the constants of the released algorithm; `practical` uses a
    /// step size that suits a normalised advantage.
    pub fn preset(mode: IstMode) -> Self {
        let base = Self { mode, ..Self::default() };
        match mode {
            IstMode::Practical => Self { step_size: 1.0, floor: true, ..base },
            IstMode::CostAware => Self { step_size: 1.0, ..base },
            // Three candidates of 8 rows in each 25 steps: of batches of 8, a twenty-fifth of what the steps take.
            IstMode::Scored => Self { step_size: 1.0, interval: 25, batch_size: 8, ..base },
            IstMode::Faithful | IstMode::Random | IstMode::All => base,
        }
    }
}

/// How the layers of a step are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IstMode {
    /// Every layer at every step.
    #[default]
    All,
    /// Every layer at every step, and scores are learned beside it, on training rows, with a normalised advantage: to see which
    /// layers matter. Weights move as under `all`, to the last bit.
    Scored,
    /// Uniformly at random (RST).
    Random,
    /// By learned scores, as released: importance batch from the training rows, raw advantage, a draw at every step.
    Faithful,
    /// By learned scores: importance batch from rows set apart, normalised advantage, bounded scores.
    Practical,
    /// As `practical`, within a budget for the depth of the backward pass.
    CostAware,
}

impl IstMode {
    /// Whether scores are learned.
    pub fn learns(self) -> bool {
        matches!(self, Self::Scored | Self::Faithful | Self::Practical | Self::CostAware)
    }

    /// Whether they are learned on rows that are set apart from training.
    pub fn sets_apart(self) -> bool {
        matches!(self, Self::Practical | Self::CostAware)
    }
}

impl std::str::FromStr for IstMode {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Ok(match text {
            "all" | "off" => Self::All,
            "scored" => Self::Scored,
            "random" => Self::Random,
            "faithful" => Self::Faithful,
            "practical" => Self::Practical,
            "cost-aware" | "cost_aware" => Self::CostAware,
            _ => {
                return Err(Problem::input(format!("unknown IST mode '{text}'"))
                    .next("use all, scored, random, faithful, practical or cost-aware"));
            }
        })
    }
}

impl IstConfig {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// Names the first that is out of range.
    pub fn check(&self) -> Result<(), Problem> {
        let bad = |field: &str, what: String, next: &str| Err(Problem::input(what).at(field).next(next));
        if !(self.fraction > 0.0 && self.fraction <= 1.0) {
            return bad("ist.fraction", format!("fraction is {}", self.fraction), "use more than 0 and at most 1");
        }
        if !(self.rate_limit.is_finite() && self.rate_limit >= 1.0) {
            return bad("ist.rate_limit", format!("rate_limit is {}", self.rate_limit), "use 1 or more");
        }
        if !self.mode.learns() {
            return Ok(());
        }
        if !(self.damped_fraction > 0.0 && self.damped_fraction < 1.0) {
            return bad(
                "ist.damped_fraction",
                format!("damped_fraction is {}", self.damped_fraction),
                "use more than 0 and less than 1",
            );
        }
        if self.candidates < 2 {
            return bad(
                "ist.candidates",
                format!("candidates is {}", self.candidates),
                "use 2 or more: one has nothing to be compared with",
            );
        }
        if !(0.0..=1.0).contains(&self.damping) {
            return bad("ist.damping", format!("damping is {}", self.damping), "use 0 to 1");
        }
        if !(self.step_size.is_finite() && self.step_size >= 0.0) {
            return bad("ist.step_size", format!("step_size is {}", self.step_size), "use 0 or more");
        }
        if self.interval == 0 || self.batch_size == 0 || self.redraw_every == 0 {
            return bad("ist", "interval, batch_size and redraw_every must be 1 or more".into(), "use 1 or more");
        }
        if !(self.score_limit.is_finite() && self.score_limit > 0.0) {
            return bad("ist.score_limit", format!("score_limit is {}", self.score_limit), "use a positive number");
        }
        if self.mode == IstMode::CostAware && !(self.depth > 0.0 && self.depth <= 1.0) {
            return bad("ist.depth", format!("depth is {}", self.depth), "use more than 0 and at most 1");
        }
        if self.mode.sets_apart() && self.importance_rows == 0 {
            return bad("ist.importance_rows", "importance_rows is 0".into(), "use 1 or more, or the mode faithful");
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_leaves_out_is_as_its_mode_has_it() {
        use IstMode::{All, CostAware, Faithful, Practical, Random, Scored};
        for mode in [All, Scored, Random, Faithful, Practical, CostAware] {
            let read: IstConfig = serde_json::from_value(serde_json::json!({ "mode": mode, "interval": 7 })).unwrap();
            assert_eq!(read, IstConfig { interval: 7, ..IstConfig::preset(mode) });
            let whole = serde_json::to_value(&read).unwrap();
            assert_eq!(serde_json::from_value::<IstConfig>(whole).unwrap(), read);
        }
        assert_eq!(serde_json::from_str::<IstConfig>("{}").unwrap(), IstConfig::default());
        for (text, named) in
            [(r#"{"depht": 1}"#, "depht"), (r#"{"interval": 7.5}"#, "interval"), (r#"{"depth": null}"#, "depth")]
        {
            assert!(serde_json::from_str::<IstConfig>(text).unwrap_err().to_string().contains(named), "{text}");
        }
    }
}
