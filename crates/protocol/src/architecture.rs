//! A model as a table of its modules: what every other part of the project reads instead of knowing families.

use serde::{Deserialize, Serialize};

/// What a module is for, whatever its family calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Tokens to vectors: `[vocab_size, hidden_size]`.
    Embedding,
    /// Positions to vectors, which are added to those of the tokens: `[positions, hidden_size]`.
    PositionEmbedding,
    /// Which text of a pair a token is of, to vectors, which are added too: `[type_vocab_size, hidden_size]`.
    TokenTypeEmbedding,
    /// Patches of images to vectors, which stand behind that of a token: `[hidden_size, channels · side · side]`.
    PatchEmbedding,
    /// The norm of what enters the first block.
    EmbeddingNorm,
    /// The norm of what the attention reads.
    AttentionNorm,
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Queries, keys and values in one matrix.
    QueryKeyValue,
    /// The norm of queries, of each head or of all at once.
    QueryNorm,
    /// The norm of keys, of each head or of all at once.
    KeyNorm,
    /// Heads back to the residual stream.
    Output,
    /// The norm of what the attention gives.
    AttentionOutputNorm,
    /// The norm of what a decoder's attention to an encoder reads.
    CrossNorm,
    /// Queries of that attention, of the decoder's states.
    CrossQuery,
    /// Its keys, of what the encoder says.
    CrossKey,
    /// Its values, of the same.
    CrossValue,
    /// Its heads back to the residual stream.
    CrossOutput,
    /// What a stack of blocks adds to its scores by how far a key is from a query: `[buckets, heads]`.
    RelativeBias,
    /// The norm behind an encoder's last block, where there is a decoder beside it.
    EncoderNorm,
    /// The norm of what the feed-forward reads.
    MlpNorm,
    /// The half of a gated feed-forward that goes through the activation.
    Gate,
    /// Both halves of a gated feed-forward in one matrix: the gate's rows, then the others.
    GateUp,
    /// Into the feed-forward; its first layer where nothing is gated.
    Up,
    /// Out of the feed-forward.
    Down,
    /// The norm of what the feed-forward gives.
    MlpOutputNorm,
    /// The norm before the output layer.
    FinalNorm,
    /// Vectors to logits: `[vocab_size, hidden_size]`; absent where it is the embedding.
    Head,
    /// What the classifier reads, through a layer of its own: `[hidden_size, hidden_size]`.
    Pooler,
    /// The classifier: `[labels, hidden_size]`.
    Classifier,
}

impl Role {
    /// The linear layers of a block, in the order of the forward pass; then those that are several of them in one, and those
    /// of the attention to an encoder. A layer's random numbers are drawn by its place in this list, so a new one comes last.
    pub const LINEAR: [Self; 13] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::QueryKeyValue,
        Self::GateUp,
        Self::CrossQuery,
        Self::CrossKey,
        Self::CrossValue,
        Self::CrossOutput,
    ];

    /// As configurations write it, such as `query`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::PositionEmbedding => "position_embedding",
            Self::TokenTypeEmbedding => "token_type_embedding",
            Self::PatchEmbedding => "patch_embedding",
            Self::EmbeddingNorm => "embedding_norm",
            Self::AttentionNorm => "attention_norm",
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::QueryKeyValue => "query_key_value",
            Self::QueryNorm => "query_norm",
            Self::KeyNorm => "key_norm",
            Self::Output => "output",
            Self::AttentionOutputNorm => "attention_output_norm",
            Self::CrossNorm => "cross_norm",
            Self::CrossQuery => "cross_query",
            Self::CrossKey => "cross_key",
            Self::CrossValue => "cross_value",
            Self::CrossOutput => "cross_output",
            Self::RelativeBias => "relative_bias",
            Self::EncoderNorm => "encoder_norm",
            Self::MlpNorm => "mlp_norm",
            Self::Gate => "gate",
            Self::GateUp => "gate_up",
            Self::Up => "up",
            Self::Down => "down",
            Self::MlpOutputNorm => "mlp_output_norm",
            Self::FinalNorm => "final_norm",
            Self::Head => "head",
            Self::Pooler => "pooler",
            Self::Classifier => "classifier",
        }
    }

    /// Whether it is a linear layer of a block, which methods can enter.
    pub fn is_linear(self) -> bool {
        Self::LINEAR.contains(&self)
    }

    /// Whether it is of the head that classifies, which a checkpoint may lack: it is drawn then.
    pub fn is_of_classifier(self) -> bool {
        matches!(self, Self::Pooler | Self::Classifier)
    }

    /// Whether it is a norm of a block's width: of what its attention or feed-forward reads or gives.
    pub fn is_block_norm(self) -> bool {
        matches!(
            self,
            Self::AttentionNorm | Self::AttentionOutputNorm | Self::CrossNorm | Self::MlpNorm | Self::MlpOutputNorm
        )
    }

    /// Whether it is the norm behind a stack of blocks.
    pub fn is_last_norm(self) -> bool {
        matches!(self, Self::FinalNorm | Self::EncoderNorm)
    }

    /// What it is in a block's attention to its own text, if it is of that to an encoder: who names the one means the other,
    /// too, as the last part of their paths is the same.
    pub fn in_self_attention(self) -> Option<Self> {
        match self {
            Self::CrossQuery => Some(Self::Query),
            Self::CrossKey => Some(Self::Key),
            Self::CrossValue => Some(Self::Value),
            Self::CrossOutput => Some(Self::Output),
            _ => None,
        }
    }

    /// The part of the block that a linear layer belongs to: `attention`, `cross_attention`, which is meant with it, or `mlp`.
    pub fn part(self) -> Option<&'static str> {
        match self {
            Self::Query | Self::Key | Self::Value | Self::QueryKeyValue | Self::Output => Some("attention"),
            Self::CrossQuery | Self::CrossKey | Self::CrossValue | Self::CrossOutput => Some("cross_attention"),
            Self::Gate | Self::GateUp | Self::Up | Self::Down => Some("mlp"),
            _ => None,
        }
    }

    /// The linear layers whose matrices it has in one; none if it is a layer by itself.
    pub fn fused(self) -> &'static [Self] {
        match self {
            Self::QueryKeyValue => &[Self::Query, Self::Key, Self::Value],
            Self::GateUp => &[Self::Gate, Self::Up],
            _ => &[],
        }
    }

    /// The linear layers that read the same input as this one, itself among them, in order.
    pub fn siblings(self) -> &'static [Self] {
        match self {
            Self::Query | Self::Key | Self::Value => &[Self::Query, Self::Key, Self::Value],
            Self::Gate | Self::Up => &[Self::Gate, Self::Up],
            Self::CrossKey | Self::CrossValue => &[Self::CrossKey, Self::CrossValue],
            _ => &[],
        }
    }
}

/// A module of a model that has parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its path in the module tree, as PEFT and checkpoints name it: `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// The block it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// What it is for.
    pub role: Role,
    /// Of its weight: `[out, in]`, of a norm `[width]`.
    pub shape: Vec<usize>,
    /// Whether it has a bias.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bias: bool,
    /// Whether files have its weight as `[in, out]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transposed: bool,
}

impl Module {
    /// The last part of its path, such as `q_proj`.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// The path of the module that it is in, such as `model.layers.0.self_attn`.
    pub fn parent(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }

    /// Outputs and inputs of a linear layer; `[1, width]` of a norm.
    pub fn sides(&self) -> [usize; 2] {
        match self.shape[..] {
            [out, inputs] => [out, inputs],
            _ => [1, self.shape.iter().product()],
        }
    }

    /// Numbers in its weight.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether `key` names it as PEFT's lists do: its path, or the end of its path behind a dot.
    pub fn is_named(&self, key: &str) -> bool {
        ends_with(&self.path, key)
    }

    /// Its tensors by their names in a checkpoint, with the shapes that they have here.
    pub fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        let bias = self.bias.then(|| (format!("{}.bias", self.path), vec![self.shape[0]]));
        std::iter::once((format!("{}.weight", self.path), self.shape.clone())).chain(bias)
    }
}

/// Whether a path is `end`, or ends so behind a dot.
pub fn ends_with(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Tables for tests.
pub mod testing {
    use super::*;
    use crate::ModelReport;

    /// A model of so many blocks with these widths: hidden, intermediate, queries, keys.
    pub fn model(layers: usize, [d, m, q, kv]: [usize; 4]) -> ModelReport {
        let of_block = |i: usize| {
            [
                ("input_layernorm", Role::AttentionNorm, vec![d]),
                ("self_attn.q_proj", Role::Query, vec![q, d]),
                ("self_attn.k_proj", Role::Key, vec![kv, d]),
                ("self_attn.v_proj", Role::Value, vec![kv, d]),
                ("self_attn.o_proj", Role::Output, vec![d, q]),
                ("post_attention_layernorm", Role::MlpNorm, vec![d]),
                ("mlp.gate_proj", Role::Gate, vec![m, d]),
                ("mlp.up_proj", Role::Up, vec![m, d]),
                ("mlp.down_proj", Role::Down, vec![d, m]),
            ]
            .map(|(name, role, shape)| Module {
                path: format!("model.layers.{i}.{name}"),
                block: Some(i),
                role,
                shape,
                bias: false,
                transposed: false,
            })
        };
        let norm = Module {
            path: "model.norm".into(),
            block: None,
            role: Role::FinalNorm,
            shape: vec![d],
            bias: false,
            transposed: false,
        };
        ModelReport {
            layers,
            hidden_size: d,
            intermediate_size: m,
            query_size: q,
            key_value_size: kv,
            activation: "silu".into(),
            modules: (0..layers).flat_map(of_block).chain([norm]).collect(),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ends_of_paths() {
        let module = Module {
            path: "model.layers.11.self_attn.q_proj".into(),
            block: Some(11),
            role: Role::Query,
            shape: vec![8, 4],
            bias: true,
            transposed: false,
        };
        for (key, named) in [
            ("q_proj", true),
            ("self_attn.q_proj", true),
            ("model.layers.11.self_attn.q_proj", true),
            ("1.self_attn.q_proj", false),
            ("_proj", false),
            ("", false),
        ] {
            assert_eq!(module.is_named(key), named, "{key}");
        }
        let tensors: Vec<_> = module.tensors().map(|(name, shape)| format!("{name} {shape:?}")).collect();
        let path = &module.path;
        assert_eq!(tensors, [format!("{path}.weight [8, 4]"), format!("{path}.bias [8]")]);
    }

    #[test]
    fn roles_have_the_names_that_files_have() {
        for role in Role::LINEAR {
            assert_eq!(serde_json::to_value(role).ok(), Some(role.name().into()));
            assert!(role.part().is_some());
            assert!(role.siblings().is_empty() || role.siblings().contains(&role));
            assert!(role.fused().iter().all(|one| one.part() == role.part()));
        }
    }
}
