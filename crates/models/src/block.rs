//! One block of the residual stream.

use burn::tensor::Tensor;
use stratune_kernels::{Matrix, lay_together};
use stratune_peft::{
    Additions, Bottleneck, Linear, ModuleId, Param, ParamMut, Parameters, Pass, Place, Shared, Visitor, count_trainable,
};
use stratune_protocol::Role;

use crate::nn::{Attention, KvCache, Mlp, Positions, RmsNorm};

/// Attention and feed-forward, each after a norm and added to its input.
#[derive(Clone, Debug)]
pub struct Block {
    /// Which block it is.
    pub id: ModuleId,
    /// Before the attention.
    pub input_layernorm: RmsNorm,
    /// The attention.
    pub self_attn: Attention,
    /// Before the feed-forward.
    pub post_attention_layernorm: RmsNorm,
    /// The feed-forward.
    pub mlp: Mlp,
    /// Small networks that methods put after or beside these.
    pub adapters: Vec<Bottleneck>,
}

impl Block {
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, at: &Positions, cache: Option<&mut KvCache>, pass: &Pass) -> Tensor<3> {
        let (x, inner) = self.input_layernorm.beside(x, pass);
        let x = self.added(Place::AfterAttention, x, pass, |onto| self.self_attn.forward(inner, onto, at, cache, pass));
        let (x, inner) = self.post_attention_layernorm.beside(x, pass);
        self.added(Place::AfterMlp, x, pass, |onto| {
            let fed = self.mlp.forward(&inner, onto, pass);
            self.at(Place::BesideMlp).fold(fed, |fed, adapter| fed + adapter.forward(inner.clone(), pass))
        })
    }

    /// `x` and a part of the block, which adds itself to it unless networks come after it.
    fn added(
        &self,
        place: Place,
        x: Tensor<3>,
        pass: &Pass,
        part: impl FnOnce(Option<Tensor<3>>) -> Tensor<3>,
    ) -> Tensor<3> {
        if self.at(place).next().is_none() {
            return part(Some(x));
        }
        let h = part(None);
        x + self.at(place).fold(h, |h, adapter| h.clone() + adapter.forward(h, pass))
    }

    /// Whether anything in it trains, or reads something of `shared` that does.
    pub fn trains(&self, shared: &Shared) -> bool {
        let vector = shared.vector.as_ref().is_some_and(|v| v.trainable);
        let mut block = self.clone();
        let moves = |linear: &mut Linear| linear.deltas.iter().any(|delta| delta.nature().steered);
        let steered = vector && block.linears_mut().any(moves);
        steered || count_trainable(&mut block) > 0
    }

    /// Puts the weights that read the same input where one dispatch can read all of them.
    pub fn lay_together(&mut self) {
        self.self_attn.lay_together();
        self.mlp.lay_together();
        // Where they were is not to be held until those of the next block are there too.
        self.self_attn.q_proj.weight.device().memory_cleanup();
    }

    /// Puts the factors of low-rank updates, and biases, where one dispatch can read those of several layers. The optimiser
    /// leaves those that train so, in a memory of its own: what stays is elsewhere, so as not to keep where they were.
    pub fn lay_factors_and_biases(&mut self) {
        for trains in [true, false] {
            let mut all = Vec::new();
            self.each_factor_and_bias(trains, |value| {
                all.push(value.clone().into());
                value
            });
            let mut laid = lay_together(all).into_iter();
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

    /// Its two norms.
    pub fn norms_mut(&mut self) -> [&mut RmsNorm; 2] {
        [&mut self.input_layernorm, &mut self.post_attention_layernorm]
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
        renamed(&mut self.input_layernorm.id);
        renamed(&mut self.post_attention_layernorm.id);
    }

    fn at(&self, place: Place) -> impl Iterator<Item = &Bottleneck> {
        self.adapters.iter().filter(move |adapter| adapter.place == place)
    }

    /// Its linear layers, in the order of the forward pass.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let Self { self_attn: attention, mlp, .. } = self;
        [
            &mut attention.q_proj,
            &mut attention.k_proj,
            &mut attention.v_proj,
            &mut attention.o_proj,
            &mut mlp.gate_proj,
            &mut mlp.up_proj,
            &mut mlp.down_proj,
        ]
        .into_iter()
    }

    /// The linear layer of this role, if it has one.
    pub fn linear_mut(&mut self, role: Role) -> Option<&mut Linear> {
        let at = Role::LINEAR.iter().position(|linear| *linear == role)?;
        self.linears_mut().nth(at)
    }
}

impl Parameters for Block {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.input_layernorm.each(visitor);
        self.self_attn.each(visitor);
        self.post_attention_layernorm.each(visitor);
        self.mlp.each(visitor);
        for adapter in &mut self.adapters {
            adapter.each(&self.id, visitor);
        }
    }
}
