//! How a search switches off what a method has at a module, and makes it smaller, without the layers knowing of it.
//!
//! What a method adds at a module is linear in some of its parameters together: B of a LoRA, U and its bias of a bottleneck,
//! a bias. Multiplied by z they add z times as much, and the loss has the slope ⟨∂L/∂θ', θ⟩ in z where θ' = zθ. Of a LoRA
//! each column of B may have a z of its own: an update of a smaller rank is the first ones.

use stratune_protocol::ModelReport;

use crate::method::{Enters, Method};
use crate::setting::Setting;
use crate::{MethodConfig, Placed};

/// How a method is switched.
#[derive(Debug)]
pub struct Switch {
    /// The setting that says how large it is at a module; none of what is there or is not.
    pub size: Option<Setting>,
    /// Its parameters at a module, by the ends of their paths.
    pub parameters: &'static [(&'static str, Scaled)],
}

/// What of a parameter is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaled {
    /// Nothing: what is added is linear in others.
    No,
    /// All of it.
    Whole,
    /// Its columns, one for each unit of the size.
    Columns,
    /// What it has moved from the module's own parameter of this name, which it stands in for.
    From(&'static str),
}

/// Of a product of two matrices.
pub(crate) static LOW_RANK: Switch = Switch {
    size: Some(Setting::Rank),
    parameters: &[("lora_A.weight", Scaled::No), ("lora_B.weight", Scaled::Columns)],
};

/// Of a bottleneck.
pub(crate) static BOTTLENECK: Switch = Switch {
    size: Some(Setting::Width),
    parameters: &[
        ("down.weight", Scaled::No),
        ("down.bias", Scaled::No),
        ("up.weight", Scaled::Columns),
        ("up.bias", Scaled::Whole),
    ],
};

/// A place at which a search decides about a method.
#[derive(Clone, Debug)]
pub struct Switched {
    /// The method there, as large as it can become.
    pub placed: Placed,
    /// How it is switched.
    pub switch: &'static Switch,
    /// Where its parameters are: their paths begin so.
    pub paths: Vec<String>,
}

impl Switched {
    /// Its parameters: path, what of it is multiplied.
    pub fn parameters(&self) -> impl Iterator<Item = (String, Scaled)> + '_ {
        let of = |path| self.switch.parameters.iter().map(move |(end, scaled)| (format!("{path}.{end}"), *scaled));
        self.paths.iter().flat_map(of)
    }
}

impl MethodConfig {
    /// How large it is at a module.
    pub fn size(&self) -> Option<usize> {
        match self.kind.method().switch?.size? {
            Setting::Rank => self.rank,
            Setting::Width => self.width,
            _ => None,
        }
    }

    /// The same of another size, its scale as it is.
    pub fn resized(&self, size: usize) -> Self {
        let mut method = self.clone();
        match self.kind.method().switch.and_then(|switch| switch.size) {
            Some(Setting::Rank) => {
                method.alpha = self.alpha.zip(self.rank).map(|(alpha, rank)| alpha * size as f32 / rank.max(1) as f32);
                method.rank = Some(size);
            }
            Some(Setting::Width) => method.width = Some(size),
            _ => {}
        }
        method
    }

    /// The places at which a search decides about it, from the first block to the last; none if it cannot be switched.
    pub fn switched(&self, model: &ModelReport) -> Vec<Switched> {
        let Method { enters, switch, .. } = self.kind.method();
        let Some(switch) = switch else { return Vec::new() };
        let sized = |placed: Placed| match switch.size {
            Some(Setting::Rank) => Placed { rank: self.rank, alpha: self.alpha, ..placed },
            _ => Placed { width: self.width, ..placed },
        };
        let in_block = |block: usize, paths: Vec<String>| {
            let placed = sized(Placed::in_block(block, self.kind));
            (!paths.is_empty()).then_some(Switched { placed, switch, paths })
        };
        let of_block = |block: usize| model.modules.iter().filter(move |module| module.block == Some(block));
        let blocks = (0..model.layers).filter(|block| self.enters_layer(*block));
        match enters {
            Enters::Block(places, _) => blocks
                .filter_map(|block| {
                    // The table has no row for a block, whose path is what those of its modules begin with.
                    let path = of_block(block).find_map(|module| {
                        crate::form::split(&module.path)
                            .map(|(_, behind)| &module.path[..module.path.len() - behind.len()])
                    })?;
                    in_block(block, places.iter().map(|place| format!("{path}adapters.{}", place.name())).collect())
                })
                .collect(),
            Enters::Norm => blocks
                .filter_map(|block| {
                    let norms = of_block(block).filter(|module| module.role.is_block_norm());
                    in_block(block, norms.map(|norm| norm.path.clone()).collect())
                })
                .collect(),
            Enters::Linear(_) => {
                let of = |path: &String| Switched {
                    placed: sized(Placed::at(path, self.kind)),
                    switch,
                    paths: vec![path.clone()],
                };
                self.sites(model).into_iter().map(|module| of(&module.path)).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use stratune_protocol::testing::model;

    use super::*;
    use crate::{MethodKind, Structure};

    /// Placed everywhere at its size, a method trains what it trains in a run, and its scale is the same at any size.
    #[test]
    fn switched_everywhere_it_is_the_method() {
        let model = model(3, [8, 20, 8, 4]);
        let mut switched = 0;
        for kind in MethodKind::ALL {
            let method = MethodConfig { layers: vec![0, 1, 2], ..MethodConfig::new(kind) };
            let sites = method.switched(&model);
            assert_eq!(sites.is_empty(), kind.method().switch.is_none(), "{kind}");
            if sites.is_empty() {
                continue;
            }
            switched += 1;
            let placed = sites.iter().map(|site| site.placed.clone()).collect();
            let methods = Structure::new(&model, placed).methods(&model).unwrap();
            assert_eq!(methods.trainable(&model), method.trainable(&model), "{kind}");
            assert_eq!(method.size().is_some(), kind.method().switch.unwrap().size.is_some());
            if let (Some(alpha), Some(rank)) = (method.alpha, method.rank) {
                let small = method.resized(2);
                assert_eq!((small.rank, small.alpha), (Some(2), Some(alpha / rank as f32 * 2.0)));
            }
        }
        assert!(switched >= 6, "{switched}");
    }
}
