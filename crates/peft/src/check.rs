//! What a method is refused for: settings that it does not have, and values out of range.

use stratune_protocol::{Problem, Targets};

use crate::MethodConfig;
use crate::setting::{Setting, Takes};

/// What no rank, width, length or other count exceeds: sums of products of it stay far below 2⁶⁴.
const COUNT_LIMIT: usize = 1 << 24;

impl MethodConfig {
    /// The first setting that is there and that the method does not have.
    pub(crate) fn foreign(&self) -> Option<Problem> {
        let method = self.kind.method();
        let foreign = Setting::ALL.into_iter().find(|s| self.is_given(*s) && method.has(*s).is_none())?;
        let names: Vec<_> = method.settings.iter().map(|has| has.setting.name()).chain(["layers"]).collect();
        Some(
            Problem::input(format!("{} has no setting {}", self.kind, foreign.name()))
                .at(format!("method.{}", foreign.name()))
                .next(format!("leave it out; {} has {}", self.kind, names.join(", "))),
        )
    }

    /// Checks that it has its own settings alone, and each against its range.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match self.foreign() {
            Some(problem) => Err(problem),
            None => self.check_ranges(),
        }
    }

    /// Checks every setting against its range. What is read of an adapter may have more of them than a run can ask for.
    pub(crate) fn check_ranges(&self) -> Result<(), Problem> {
        let bad =
            |field: &str, what: String, next: &str| Err(Problem::input(what).at(format!("method.{field}")).next(next));
        if !self.kind.method().has_layers && !self.layers.is_empty() {
            return bad("layers", format!("{} belongs to no layer", self.kind), "leave the layers out");
        }
        if self.targets.as_ref().is_some_and(Targets::is_empty) {
            return bad("targets", "no layer is named".into(), "name at least one, such as q_proj");
        }
        if let Some(targets) = &self.targets {
            targets.matcher().map(drop)?;
        }
        let ranks = self
            .rank
            .iter()
            .map(|r| (*r, "rank"))
            .chain(self.overrides.values().filter_map(|o| o.rank.map(|r| (r, "overrides"))));
        for (rank, field) in ranks {
            if rank == 0 {
                return bad(field, "rank is 0".into(), "use 1 or more, or drop the target");
            }
            if rank > COUNT_LIMIT {
                return bad(field, format!("rank is {rank}"), "use a smaller one");
            }
        }
        let alphas = self
            .alpha
            .iter()
            .map(|a| (*a, "alpha"))
            .chain(self.overrides.values().filter_map(|o| o.alpha.map(|a| (a, "overrides"))));
        for (alpha, field) in alphas {
            if !(alpha.is_finite() && alpha > 0.0) {
                return bad(field, format!("alpha is {alpha}"), "use a positive number");
            }
        }
        if self.dropout.is_some_and(|d| !(0.0..1.0).contains(&d)) {
            return bad("dropout", format!("dropout is {:?}", self.dropout), "use 0 or more and less than 1");
        }
        for (field, value) in [("ratio", self.ratio), ("scale", self.scale.map(f64::from))] {
            if value.is_some_and(|v| !(v.is_finite() && v > 0.0)) {
                return bad(field, format!("{field} is {}", value.unwrap_or_default()), "use a positive number");
            }
        }
        for (setting, value) in [
            (Setting::Width, self.width),
            (Setting::Length, self.length),
            (Setting::Dimension, self.dimension),
            (Setting::InitialRank, self.initial_rank),
            (Setting::Samples, self.samples),
            (Setting::Interval, self.interval),
            (Setting::Blocks, self.blocks),
            (Setting::Reduction, self.reduction),
        ] {
            let field = setting.name();
            let may_be_0 = self.kind.method().has(setting).is_some_and(|has| has.takes == Takes::Count(0));
            if value == Some(0) && !may_be_0 {
                return bad(field, format!("{field} is 0"), "use 1 or more");
            }
            if value.is_some_and(|value| value > COUNT_LIMIT) {
                return bad(field, format!("{field} is {}", value.unwrap_or(0)), "use a smaller one");
            }
        }
        if let (Some(initial), Some(rank)) = (self.initial_rank, self.rank)
            && initial < rank
        {
            let what = format!("initial_rank {initial} is below the rank {rank} that the budget ends at");
            return bad("initial_rank", what, "use at least the rank");
        }
        if self.bits.is_some_and(|b| b != 4 && b != 8) {
            return bad("bits", format!("bits is {}", self.bits.unwrap_or(0)), "use 4 or 8");
        }
        if self.penalty.is_some_and(|p| !(p.is_finite() && p >= 0.0)) {
            return bad("penalty", format!("penalty is {:?}", self.penalty), "use 0 or more");
        }
        if self.share.is_some_and(|s| !(s > 0.0 && s <= 1.0)) {
            return bad("share", format!("share is {:?}", self.share), "use more than 0 and at most 1");
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::testing::model;

    use super::*;
    use crate::{MethodKind, TargetOverride};

    #[test]
    fn bad_settings_name_their_field() {
        type Spoil = fn(&mut MethodConfig);
        let cases: [(MethodKind, &str, Spoil); 13] = [
            (MethodKind::Lisa, "method.layers", |m| m.layers = vec![1]),
            (MethodKind::Qlora, "method.bits", |m| m.bits = Some(3)),
            (MethodKind::Adalora, "method.initial_rank", |m| m.initial_rank = Some(2)),
            (MethodKind::Fish, "method.samples", |m| m.samples = Some(0)),
            (MethodKind::Lora, "method.rank", |m| m.rank = Some(0)),
            (MethodKind::Lora, "method.alpha", |m| m.alpha = Some(f32::NAN)),
            (MethodKind::Lora, "method.targets", |m| m.targets = Some(Targets::Listed(Vec::new()))),
            (MethodKind::Lora, "method.dropout", |m| m.dropout = Some(1.0)),
            (MethodKind::LoraPlus, "method.ratio", |m| m.ratio = Some(0.0)),
            (MethodKind::Prompt, "method.length", |m| m.length = Some(0)),
            (MethodKind::Pafi, "method.share", |m| m.share = Some(1.5)),
            (MethodKind::Ia3, "method.rank", |m| m.rank = Some(1)),
            (MethodKind::Lora, "method.targets", |m| m.targets = Some(Targets::Pattern("(".into()))),
        ];
        for (kind, field, spoil) in cases {
            let mut config = MethodConfig::new(kind);
            spoil(&mut config);
            assert_eq!(config.check().unwrap_err().at, field);
        }
    }

    #[test]
    fn what_the_model_does_not_have_is_named() {
        let model = model(2, [4, 8, 4, 2]);
        type Spoil = fn(&mut MethodConfig);
        let cases: [(&str, Spoil); 4] = [
            ("method.layers", |m| m.layers = vec![2]),
            ("method.targets", |m| m.targets = Some(Targets::listed(&["c_attn"]))),
            ("method.overrides", |m| {
                m.overrides.insert("lm_head".into(), TargetOverride::default());
            }),
            ("method.overrides", |m| {
                m.targets = Some(Targets::listed(&["k_proj"]));
                m.overrides.insert("q_proj".into(), TargetOverride::default());
            }),
        ];
        for (field, spoil) in cases {
            let mut config = MethodConfig::default();
            config.check_on(&model).unwrap();
            spoil(&mut config);
            assert_eq!(config.check_on(&model).unwrap_err().at, field);
        }
    }
}
