//! The hooks of methods: a file each.

mod adalora;
mod diff_pruning;
mod fish;
mod galore;
mod lt_sft;
mod prefix;
mod rows;
mod sparse_adapter;

pub use adalora::AdaLora;
pub use diff_pruning::{Pruned, prune};

use stratune_protocol::MethodConfig;

use crate::Hook;

/// Makes the hook of a method, if the method is its own.
type Make = fn(&MethodConfig) -> Option<Box<dyn Hook>>;

/// Every method that acts while a run goes on. Those that choose blocks are beside the loop: see `stratune-ist`.
const ALL: [Make; 7] =
    [sparse_adapter::hook, fish::hook, lt_sft::hook, prefix::hook, adalora::hook, galore::hook, diff_pruning::hook];

/// The hooks of a run's methods, in their order.
pub fn hooks_of(methods: &[MethodConfig]) -> Vec<Box<dyn Hook>> {
    methods.iter().flat_map(|method| ALL.iter().filter_map(move |make| make(method))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stratune_protocol::MethodKind;

    use super::*;

    #[test]
    fn each_hook_is_of_one_method_and_has_a_name_of_its_own() {
        let all: Vec<MethodConfig> = MethodKind::ALL.into_iter().map(MethodConfig::new).collect();
        let hooks = hooks_of(&all);
        assert_eq!(hooks.len(), ALL.len());
        assert_eq!(hooks.iter().map(|hook| hook.name()).collect::<BTreeSet<_>>().len(), ALL.len());
    }
}
