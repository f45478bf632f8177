//! Prefix tuning starts at the keys and values of real tokens (Li and Liang 2021, arXiv 2101.00190, §7.4).

use futures::future::LocalBoxFuture;
use stratune_data::Sequence;
use stratune_peft::{MethodConfig, MethodKind};
use stratune_protocol::Problem;

use super::rows::rows_to_look_at;

use crate::{Hook, HookState, Run, Saved};

pub(super) fn hook(method: &MethodConfig) -> Option<Box<dyn Hook>> {
    (method.kind == MethodKind::Prefix).then(|| Box::new(Prefix(method.clone())) as Box<dyn Hook>)
}

struct Prefix(MethodConfig);

impl Hook for Prefix {
    fn name(&self) -> &'static str {
        "prefix"
    }

    fn before_training<'a>(&'a mut self, run: &'a mut Run<'_>) -> LocalBoxFuture<'a, Result<(), Problem>> {
        Box::pin(async {
            let rows = rows_to_look_at(run, &self.0);
            run.model.init_prefixes_from(&self.0, &beginning(&rows, self.0.length.unwrap_or(0)));
            run.notice(format!("{} starts at the beginning of a row", self.0.kind.title()));
            Ok(())
        })
    }

    fn save(&self) -> LocalBoxFuture<'_, Result<HookState, Problem>> {
        // The prefix is the model's.
        Box::pin(async { Ok(HookState::default()) })
    }

    fn load(&mut self, _: &Saved<'_>) -> Result<(), Problem> {
        Ok(())
    }
}

/// The first tokens of a row that is long enough, or if none is of one row behind the other.
fn beginning(rows: &[&Sequence], length: usize) -> Vec<u32> {
    let long = rows.iter().find(|row| row.tokens.len() >= length).map(|row| row.tokens.clone());
    let mut tokens =
        long.unwrap_or_else(|| rows.iter().flat_map(|row| row.tokens.clone()).cycle().take(length).collect());
    tokens.truncate(length);
    tokens
}
