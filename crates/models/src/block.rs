//! One block of the residual stream.

use burn::tensor::Tensor;
use stratune_kernels::{Matrix, group_weights};
use stratune_peft::{
    AdapterPlacement, Additions, Bottleneck, ForwardContext, Linear, ModuleId, Param, ParamMut, Parameters, Shared,
    Visitor, count_trainable,
};
use stratune_protocol::Role;

use crate::nn::{Attention, CrossAttention, KvCache, Mlp, Norm, Positions, scaled};

/// Attention and feed-forward, each added to its input; norms before them, after them or both.
#[derive(Clone, Debug)]
pub struct Block {
    /// Which block it is.
    pub id: ModuleId,
    /// Of what the attention reads.
    pub attention_norm: Option<Norm>,
    /// The attention.
    pub self_attn: Attention,
    /// Of what the attention gives. Few models have it, so it is elsewhere, as is the other one.
    pub attention_output_norm: Option<Box<Norm>>,
    /// The attention to another text, in a decoder's blocks.
    pub cross_attn: Option<Box<CrossAttention>>,
    /// Of what the feed-forward reads.
    pub mlp_norm: Option<Norm>,
    /// The feed-forward.
    pub mlp: Mlp,
    /// Of what the feed-forward gives.
    pub mlp_output_norm: Option<Box<Norm>>,
    /// Whether the norms of what attention and feed-forward give are of the sums with what these are added to.
    pub norms_of_sums: bool,
    /// Whether the feed-forward reads what the block reads, and not what the attention has been added to.
    pub parallel: bool,
    /// What both are multiplied by before they are added.
    pub residual_multiplier: f64,
    /// Small networks that methods put after or beside these.
    pub adapters: Vec<Bottleneck>,
}

impl Block {
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        at: &Positions,
        cache: Option<&mut KvCache>,
        context: &ForwardContext,
    ) -> Tensor<3> {
        let (x, inner) = beside(self.attention_norm.as_ref(), x, context);
        let (x, same) = match self.parallel {
            false => (x, None),
            true => {
                let (x, fed) = beside(self.mlp_norm.as_ref(), x, context);
                (x, Some(fed))
            }
        };
        let x = self.added(
            AdapterPlacement::AfterAttention,
            self.attention_output_norm.as_deref(),
            x,
            context,
            |residual| self.self_attn.forward(inner, residual, at, cache, context),
        );
        let x = match self.cross_attn.as_ref().zip(at.encoded.as_ref()) {
            None => x,
            Some((cross_attn, encoded)) => cross_attn.forward(x, encoded, context),
        };
        let (x, inner) = match same {
            Some(inner) => (x, inner),
            None => beside(self.mlp_norm.as_ref(), x, context),
        };
        self.added(AdapterPlacement::AfterMlp, self.mlp_output_norm.as_deref(), x, context, |residual| {
            let fed = self.mlp.forward(&inner, residual, context);
            self.at(AdapterPlacement::BesideMlp).fold(fed, |fed, adapter| fed + adapter.forward(inner.clone(), context))
        })
    }

    /// `x` and a part of the block, which adds itself to it unless something comes after it: networks, which adapt what the
    /// part itself gives, then a norm, then a multiplication; the norm comes last where it is one of sums.
    fn added(
        &self,
        place: AdapterPlacement,
        norm: Option<&Norm>,
        x: Tensor<3>,
        context: &ForwardContext,
        part: impl FnOnce(Option<Tensor<3>>) -> Tensor<3>,
    ) -> Tensor<3> {
        let [norm, of_sum] = if self.norms_of_sums { [None, norm] } else { [norm, None] };
        let normed = |norm: Option<&Norm>, h| match norm {
            None => h,
            Some(norm) => norm.forward(h, context),
        };
        if self.at(place).next().is_none() && norm.is_none() && self.residual_multiplier == 1.0 {
            return normed(of_sum, part(Some(x)));
        }
        let h = self.at(place).fold(part(None), |h, adapter| h.clone() + adapter.forward(h, context));
        normed(of_sum, x + scaled(normed(norm, h), self.residual_multiplier))
    }

    /// Whether anything in it trains, or reads something of `shared` that does.
    pub fn trains(&self, shared: &Shared) -> bool {
        let vector = shared.vector.as_ref().is_some_and(|v| v.trainable);
        let mut block = self.clone();
        let moves = |linear: &mut Linear| linear.deltas.iter().any(|delta| delta.properties().steered);
        let steered = vector && block.linears_mut().any(moves);
        steered || count_trainable(&mut block) > 0
    }

    /// Puts the weights that read the same input where one dispatch can read all of them.
    pub fn group_weights(&mut self) {
        self.self_attn.group_weights();
        self.mlp.group_weights();
        // Where they were is not to be held until those of the next block are there too.
        self.self_attn.o_proj.weight.device().memory_cleanup();
    }

    /// Puts the factors of low-rank updates, and biases, where one dispatch can read those of several layers. The optimiser
    /// leaves those that train so, in a buffer of its own: what stays is elsewhere, so as not to keep where they were.
    pub fn group_factors_and_biases(&mut self) {
        for trains in [true, false] {
            let mut all = Vec::new();
            self.each_factor_and_bias(trains, |value| {
                all.push(value.clone().into());
                value
            });
            let mut laid = group_weights(all).into_iter();
            self.each_factor_and_bias(trains, |value| match laid.next() {
                Some(Matrix::Floats(value)) => value,
                _ => value,
            });
        }
    }

    /// Each that trains, or each that does not, is replaced by what is made of it; a bias is a matrix of one row.
    fn each_factor_and_bias(&mut self, trains: bool, mut make: impl FnMut(Tensor<2>) -> Tensor<2>) {
        let of_bias = |bias: &mut Param<1>, make: &mut dyn FnMut(Tensor<2>) -> Tensor<2>| {
            if bias.trainable == trains {
                bias.value = make(bias.value.clone().unsqueeze()).squeeze_dim(0);
            }
        };
        for linear in self.linears_mut() {
            for (_, param) in linear.deltas.iter_mut().flat_map(|delta| delta.operands()) {
                match param {
                    ParamMut::Matrix(factor) if factor.trainable == trains => factor.value = make(factor.value.clone()),
                    ParamMut::Matrix(_) => {}
                    ParamMut::Vector(bias) => of_bias(bias, &mut make),
                }
            }
            if let Some(bias) = &mut linear.bias {
                of_bias(bias, &mut make);
            }
        }
    }

    /// The norms of what its attention and feed-forward read and give.
    pub fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        let attention = [self.attention_norm.as_mut(), self.attention_output_norm.as_deref_mut()];
        let cross = self.cross_attn.as_deref_mut().map(|cross| &mut cross.norm);
        let mlp = [self.mlp_norm.as_mut(), self.mlp_output_norm.as_deref_mut()];
        attention.into_iter().chain([cross]).chain(mlp).flatten()
    }

    /// Gives everything in it the place that `id` names: its paths begin so.
    pub(crate) fn move_to(&mut self, id: &ModuleId) {
        let old = std::mem::replace(&mut self.id, id.clone());
        let renamed = |of: &mut ModuleId| {
            if let Some(end) = of.path.strip_prefix(&*old.path) {
                *of = ModuleId::new(id.block, &format!("{}{end}", id.path));
            }
        };
        self.linears_mut().for_each(|linear| renamed(&mut linear.id));
        let attention = &mut self.self_attn;
        renamed(&mut attention.id);
        if let Some(norm) = &mut attention.qk_norm {
            renamed(&mut norm.q_norm.id);
            renamed(&mut norm.k_norm.id);
        }
        self.norms_mut().for_each(|norm| renamed(&mut norm.id));
    }

    fn at(&self, place: AdapterPlacement) -> impl Iterator<Item = &Bottleneck> {
        self.adapters.iter().filter(move |adapter| adapter.place == place)
    }

    /// Its linear layers, in the order of the forward pass.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.linears_with_roles().map(|(_, linear)| linear)
    }

    /// The linear layer of this role, if it has one.
    pub fn linear_mut(&mut self, role: Role) -> Option<&mut Linear> {
        self.linears_with_roles().find(|(of, _)| *of == role).map(|(_, linear)| linear)
    }

    fn linears_with_roles(&mut self) -> impl Iterator<Item = (Role, &mut Linear)> {
        let Self { self_attn: attention, cross_attn, mlp, .. } = self;
        let up = if mlp.fused { Role::GateUp } else { Role::Up };
        let others = [
            (Role::Output, Some(&mut attention.o_proj)),
            (Role::Gate, mlp.gate_proj.as_mut()),
            (up, Some(&mut mlp.up_proj)),
            (Role::Down, Some(&mut mlp.down_proj)),
        ];
        let others = others.into_iter().filter_map(|(role, linear)| Some((role, linear?)));
        let cross = cross_attn.as_deref_mut().map(CrossAttention::layers_mut).into_iter().flatten();
        attention.projections.layers_mut().into_iter().chain(others).chain(cross)
    }
}

/// `x` as it is, and what a part of the block reads of it.
fn beside(norm: Option<&Norm>, x: Tensor<3>, context: &ForwardContext) -> (Tensor<3>, Tensor<3>) {
    match norm {
        None => (x.clone(), x),
        Some(norm) => norm.forward_residual(x, context),
    }
}

impl Parameters for Block {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.attention_norm.each(visitor);
        self.self_attn.each(visitor);
        self.attention_output_norm.each(visitor);
        self.cross_attn.each(visitor);
        self.mlp_norm.each(visitor);
        self.mlp.each(visitor);
        self.mlp_output_norm.each(visitor);
        for adapter in &mut self.adapters {
            adapter.each(&self.id, visitor);
        }
    }
}
