//! Self-attention with grouped queries and rotary positions, causal or over all of a text.

use burn::tensor::Tensor;
use stratune_kernels::{HeadNorms, Scores, attention, masked_attention, self_attention};
use stratune_peft::{Additions, ForwardContext, Linear, ModuleId, Parameters, Prefix, Visitor};
use stratune_protocol::Role;

use super::{AttentionKind, BlockPositions, KvCache, Mask, Norm, Positions, cache::States};

/// Self-attention.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Which module it is.
    pub id: ModuleId,
    /// What makes queries, keys and values.
    pub projections: Projections,
    /// heads · head_dim → hidden.
    pub o_proj: Linear,
    /// What queries and keys are normalised by, before they are rotated. Few models have it, so it is elsewhere.
    pub qk_norm: Option<Box<QkNorm>>,
    /// Width of a head.
    pub head_dim: usize,
    /// How many numbers of a head, from its first, are rotated.
    pub rotary_dim: usize,
    /// What it makes of positions.
    pub kind: AttentionKind,
    /// How scores are made of queries and keys.
    pub scores: Scores,
    /// Learned keys and values before the text.
    pub prefix: Option<Prefix>,
}

/// What makes queries, keys and values.
#[derive(Clone, Debug)]
pub enum Projections {
    /// A layer each: hidden → heads · head_dim, and twice hidden → kv_heads · head_dim.
    Apart(Box<[Linear; 3]>),
    /// One for all: hidden → (heads + 2 kv_heads) · head_dim.
    Fused(Box<Linear>, FusedRows),
}

/// Which rows of one matrix make queries, which keys and which values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FusedRows {
    /// Those of all queries, then those of all keys, then those of all values; the last two are so many each.
    Apart(usize),
    /// Head by head: its query's, its key's, its value's.
    ByHead,
}

impl Projections {
    /// Queries, keys and values of `x`, in heads of this width.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, heads · head_dim]`, and twice `[batch, seq, kv_heads · head_dim]`
    fn forward(&self, x: &Tensor<3>, head_dim: usize, context: &ForwardContext) -> [Tensor<3>; 3] {
        let (layer, rows) = match self {
            Self::Apart(layers) => return Linear::forward_each(layers.each_ref(), x, context),
            Self::Fused(layer, rows) => (layer, rows),
        };
        let all = layer.forward(x.clone(), context);
        let [batch, seq, width] = all.dims();
        match rows {
            FusedRows::Apart(kv) => {
                let q = width - 2 * kv;
                [(0, q), (q, *kv), (q + kv, *kv)].map(|(from, width)| all.clone().narrow(2, from, width))
            }
            FusedRows::ByHead => {
                let heads = width / (3 * head_dim);
                let all = all.reshape([batch, seq, heads, 3 * head_dim]);
                [0, 1, 2].map(|part| {
                    all.clone().narrow(3, part * head_dim, head_dim).reshape([batch, seq, heads * head_dim])
                })
            }
        }
    }

    /// The layers with their roles.
    pub fn layers_mut(&mut self) -> Vec<(Role, &mut Linear)> {
        match self {
            Self::Apart(layers) => [Role::Query, Role::Key, Role::Value].into_iter().zip(layers.iter_mut()).collect(),
            Self::Fused(layer, _) => vec![(Role::QueryKeyValue, layer)],
        }
    }
}

/// Norms of queries and keys: of each head, if they are as wide as one, or of all heads at once.
#[derive(Clone, Debug)]
pub struct QkNorm {
    /// Of queries, `[head_dim]` or `[heads · head_dim]`.
    pub q_norm: Norm,
    /// Of keys, `[head_dim]` or `[kv_heads · head_dim]`.
    pub k_norm: Norm,
}

impl QkNorm {
    /// As norms of heads of this width, if they are such and frozen.
    fn of_heads(&self, head_dim: usize) -> Option<HeadNorms> {
        let [q, k] = [&self.q_norm, &self.k_norm];
        let frozen = |norm: &Norm| {
            let is_rms = !norm.centring && norm.bias.is_none();
            is_rms && norm.width() == head_dim && norm.tuned.is_none() && !norm.weight.trainable
        };
        let alike = (q.zero_centered, q.eps) == (k.zero_centered, k.eps);
        (alike && frozen(q) && frozen(k)).then(|| HeadNorms {
            q: q.weight.value.clone(),
            k: k.weight.value.clone(),
            offset: f32::from(u8::from(q.zero_centered)),
            eps: q.eps,
        })
    }
}

impl Attention {
    /// The output, added to `residual`, if that is given.
    ///
    /// # Shapes
    /// - `x`, `residual`, output: `[batch, seq, hidden]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        residual: Option<Tensor<3>>,
        at: &Positions,
        cache: Option<&mut KvCache>,
        context: &ForwardContext,
    ) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        // Positions that the text follows: those of the cache, which has the prefix among them, or the prefix. Where rows
        // follow different numbers of them, `at` knows each row's, and the prefix is the same for all.
        let prefix = self.prefix.as_ref();
        let cached = cache.as_ref().map_or(0, |c| c.len());
        let by_row = cache.as_ref().is_some_and(|c| c.is_by_row());
        let offset = if cached > 0 && !by_row { cached } else { prefix.map_or(0, Prefix::length) };
        let block_positions = at.after(offset, &self.kind);
        if prefix.is_none()
            && cache.is_none()
            && let Some(mixed) = self.of_the_text_alone(&x, block_positions, context)
        {
            return self.o_proj.forward_residual(mixed, residual, context);
        }
        let [q, k, v] = self.projections.forward(&x, self.head_dim, context);
        let [q, k] = match &self.qk_norm {
            None => [q, k],
            Some(norm) => [(q, &norm.q_norm), (k, &norm.k_norm)].map(|(t, norm)| normed(t, norm, context)),
        };
        let [q, k, v] = [q, k, v].map(|t| self.split(t));
        let [q, k, v] = self.rotated([q, k, v], block_positions);
        let (k, v) = match prefix.filter(|_| cached == 0) {
            None => (k, v),
            Some(prefix) => {
                let (keys, values) = prefix.states(&context.shared);
                let before = |t: Tensor<2>| {
                    let [length, width] = t.dims();
                    self.split(t.unsqueeze::<3>().expand([batch, length, width]))
                };
                (Tensor::cat(vec![before(keys), k], 2), Tensor::cat(vec![before(values), v], 2))
            }
        };
        let attended = |x, q, (k, v)| self.attended(x, q, (k, v), (at, block_positions), context);
        let mixed = match cache {
            None => attended(x, q, (k, v)),
            Some(cache) if by_row => {
                let of_row = |(row, states)| attended(x.clone().narrow(0, row, 1), q.clone().narrow(0, row, 1), states);
                Tensor::cat(cache.extend_rows(&k, &v).into_iter().enumerate().map(of_row).collect(), 0)
            }
            Some(cache) => attended(x, q, cache.extend(k, v)),
        };
        let width = mixed.dims()[1] * self.head_dim;
        self.o_proj.forward_residual(mixed.swap_dims(1, 2).reshape([batch, seq, width]), residual, context)
    }

    /// What queries make of all keys and values, those of the prefix among them.
    fn attended(
        &self,
        x: Tensor<3>,
        q: Tensor<4>,
        (k, v): States,
        (at, block_positions): (&Positions, &BlockPositions),
        context: &ForwardContext,
    ) -> Tensor<4> {
        let mixed = self.mixed(q.clone(), k.clone(), v.clone(), block_positions);
        match self.prefix.as_ref().filter(|prefix| context.damping != 1.0 || prefix.gate.is_some()) {
            None => mixed,
            Some(prefix) => {
                let (text, seq) = (k.dims()[2] - prefix.length(), q.dims()[2]);
                let of_text = |t: Tensor<4>| t.narrow(2, prefix.length(), text);
                let without = match &block_positions.mask {
                    Mask::Added(mask) => {
                        let mask = mask.clone().narrow(3, prefix.length(), text);
                        masked_attention(q, of_text(k), of_text(v), mask, self.scores.scale)
                    }
                    // A query that is alone sees all that it is given.
                    Mask::Text(_) => {
                        let positions = if seq == 1 { block_positions } else { at.after(text - seq, &self.kind) };
                        self.mixed(q, of_text(k), of_text(v), positions)
                    }
                };
                prefix.blend(x, without, mixed, context)
            }
        }
    }

    /// What the heads give over nothing but `x`, if no method does more than update the layers
    /// that read it, or give them biases.
    fn of_the_text_alone(
        &self,
        x: &Tensor<3>,
        block_positions: &BlockPositions,
        context: &ForwardContext,
    ) -> Option<Tensor<3>> {
        let (Projections::Apart(layers), Mask::Text(mask)) = (&self.projections, &block_positions.mask) else {
            return None;
        };
        if self.rotary_dim < self.head_dim {
            return None;
        }
        let norms = match &self.qk_norm {
            None => None,
            Some(norm) => Some(norm.of_heads(self.head_dim)?),
        };
        let layers = Linear::plain(layers.each_ref(), context)?;
        Some(self_attention(x.clone(), &layers, self.head_dim, &block_positions.cos_sin, mask, self.scores, norms))
    }

    /// Queries and keys rotated, what of their heads is not behind what is.
    fn rotated(&self, [q, k, v]: [Tensor<4>; 3], block_positions: &BlockPositions) -> [Tensor<4>; 3] {
        let rest = self.head_dim - self.rotary_dim;
        if rest == 0 {
            return block_positions.cos_sin.apply_rotary(q, k, v);
        }
        let [first, last] = [(0, self.rotary_dim), (self.rotary_dim, rest)]
            .map(|(from, width)| [&q, &k].map(|t| t.clone().narrow(3, from, width)));
        let ([rotated_q, rotated_k], [rest_q, rest_k]) = (first, last);
        // The values go by: those that are rotated with queries and keys are of another width.
        let [rotated_q, rotated_k, _] = block_positions.cos_sin.apply_rotary(rotated_q, rotated_k.clone(), rotated_k);
        [Tensor::cat(vec![rotated_q, rest_q], 3), Tensor::cat(vec![rotated_k, rest_k], 3), v]
    }

    /// What each query makes of the values that it sees.
    fn mixed(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, block_positions: &BlockPositions) -> Tensor<4> {
        let (seq, keys) = (q.dims()[2], k.dims()[2]);
        let mask = match &block_positions.mask {
            Mask::Text(mask) => mask,
            Mask::Added(mask) => return masked_attention(q, k, v, mask.clone(), self.scores.scale),
        };
        // A query that is alone sees all the keys there are: it is given those of its window.
        let seen = match self.kind.window {
            Some(window) if seq == 1 => keys.min(window),
            _ => keys,
        };
        let [k, v] = [k, v].map(|t| if seen == keys { t } else { t.narrow(2, keys - seen, seen) });
        attention(q, k, v, mask, self.scores)
    }

    /// Puts the weights that read the same input where one dispatch can read all of them.
    pub fn group_weights(&mut self) {
        if let Projections::Apart(layers) = &mut self.projections {
            Linear::group_weights(layers.each_mut());
        }
    }

    /// `[batch, seq, heads · head_dim]` to `[batch, heads, seq, head_dim]`.
    fn split(&self, t: Tensor<3>) -> Tensor<4> {
        let [batch, seq, width] = t.dims();
        t.reshape([batch, seq, width / self.head_dim, self.head_dim]).swap_dims(1, 2)
    }
}

/// Each part of a row that is as wide as the norm, normalised.
fn normed(t: Tensor<3>, norm: &Norm, context: &ForwardContext) -> Tensor<3> {
    let [batch, seq, width] = t.dims();
    let parts = t.reshape([batch, seq * width / norm.width(), norm.width()]);
    norm.forward(parts, context).reshape([batch, seq, width])
}

impl Parameters for Attention {
    fn each(&mut self, visitor: &mut impl Visitor) {
        self.projections.layers_mut().into_iter().for_each(|(_, layer)| layer.each(visitor));
        self.o_proj.each(visitor);
        if let Some(norm) = &mut self.qk_norm {
            norm.q_norm.each(visitor);
            norm.k_norm.each(visitor);
        }
        if let Some(prefix) = &mut self.prefix {
            prefix.each(&self.id, visitor);
        }
    }
}
