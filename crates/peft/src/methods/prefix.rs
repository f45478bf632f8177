//! Prefix tuning and P-tuning v2: learned keys and values before the text (Li and Liang 2021, arXiv 2101.00190; Liu et
//! al. 2021, arXiv 2110.07602).
//!
//! Each block's attention sees `length` more positions. They start at the keys and values that the model itself has for
//! the beginning of a row of the data, which learns far better than noise. With a `width` they are what a small network
//! makes, `P = P₀ + U tanh(E Dᵀ + b)ᵀ`, whose E, D and b the blocks share; when training is over the network is dropped
//! and P alone is left. Without one (P-tuning v2) P itself is the parameter. Gated, a token attends as without the
//! prefix and, as far as the gate is open, the difference that the prefix makes.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};
use serde_json::{Map, Value, json};
use stratune_protocol::{IstMode, ModelReport, Problem, Role, draws, normals};
use stratune_store::{HostTensor, Tensors};

use crate::form::virtual_tokens::{KEYS, TENSOR, only, path};
use crate::form::{Form, Given, Read, with};
use crate::method::{Entered, Enters, Family, FromData, Merges, Method, SavedActivations, as_it_is, block_by_block};
use crate::setting::{GATED, LENGTH, WIDTH};
use crate::site::{kaiming, uniform};
use crate::{
    Additions, ForwardContext, Gate, MethodConfig, MethodKind, Methods, ModuleId, Param, PrefixEncoder, Shared,
    Visitor, gate,
};

/// Prefix tuning / P-tuning v2.
pub(super) static METHOD: Method = Method {
    kind: MethodKind::Prefix,
    name: "prefix",
    title: "Prefix tuning / P-tuning v2",
    sentence: "Learned keys and values before the text in every layer.",
    trains: "the keys and values",
    family: Family::Additive,
    settings: &[
        LENGTH.count(10),
        WIDTH.count(0).least(0).help("of the network that makes the prefix; 0 for none"),
        GATED,
    ],
    enters: Enters::Attention,
    roles: &[],
    merges: Merges::No,
    per_layer: true,
    has_layers: true,
    unique: false,
    needs_gradients: false,
    from_data: FromData::Beginning,
    few_bits: false,
    nested_ranks: false,
    switch: None,
    usual_rate: 10.0,
    saved_activations: SavedActivations::OUTSIDE,
    trainable,
    moving: block_by_block,
    of_its_paper,
    fits,
    share,
    finalized,
    for_original_base: as_it_is,
    peft: Some(&FORM),
};

fn trainable(method: &MethodConfig, model: &ModelReport) -> u64 {
    let number = |value: Option<usize>| value.unwrap_or(0) as u64;
    let (layers, d) = (method.layer_count(model.layers) as u64, model.hidden_size as u64);
    let (kv, width) = (2 * model.key_value_size as u64, number(method.width));
    let gate = gate::numbers(method, model.hidden_size) as u64;
    match width {
        0 => layers * (number(method.length) * kv + gate),
        _ => number(method.length) * d + (d + 1) * width + layers * ((width + 1) * kv + gate),
    }
}

/// Li and Liang 2021: ten positions, made by a network 512 wide.
fn of_its_paper(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    MethodConfig { length: Some(10), width: Some(512), ..usual }
}

fn fits(methods: &Methods, _: IstMode) -> Result<(), Problem> {
    let prefixes = methods.iter().filter(|m| m.kind == METHOD.kind);
    let (all, apart) = (prefixes.clone().count(), prefixes.clone().flat_map(|m| &m.layers));
    let distinct: BTreeSet<_> = apart.clone().collect();
    let everywhere = prefixes.clone().any(|m| m.layers.is_empty() || m.width.unwrap_or(0) > 0);
    if all > 1 && (everywhere || distinct.len() < apart.count()) {
        return Err(Problem::input("two prefixes meet in a layer")
            .at("method.layers")
            .next("give them different layers, and no network"));
    }
    Ok(())
}

/// The part of the network that all blocks have.
fn share(method: &MethodConfig, entered: &Entered<'_>, shared: &mut Shared) -> Result<(), Problem> {
    if let Some(width) = method.width.filter(|width| *width > 0) {
        let length = method.length.unwrap_or(0);
        shared.prefix = Some(PrefixEncoder::new(length, entered.hidden, width, entered.seed, entered.device));
    }
    Ok(())
}

/// Without the network.
fn finalized(method: &MethodConfig) -> MethodConfig {
    MethodConfig { width: Some(0), ..method.clone() }
}

/// A block's keys and values before the text.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// `[length, kv_heads · head_dim]`.
    pub keys: Param<2>,
    /// `[length, kv_heads · head_dim]`.
    pub values: Param<2>,
    /// While a network makes them: U, `[2 · kv_heads · head_dim, width]`, and its bias; keys come first.
    pub up: Option<(Param<2>, Param<1>)>,
    /// Decides for each token how much of the prefix it attends to.
    pub gate: Option<Gate>,
}

impl Prefix {
    /// One that starts at given keys and values; `width` is that of the network, if there is one.
    pub fn new(keys: Tensor<2>, values: Tensor<2>, width: Option<usize>) -> Self {
        let ([_, size], device) = (keys.dims(), keys.device());
        match width {
            None => Self { keys: Param::trainable(keys), values: Param::trainable(values), up: None, gate: None },
            Some(width) => {
                let up = Param::trainable(Tensor::zeros([2 * size, width], &device));
                let bias = Param::trainable(Tensor::zeros([2 * size], &device));
                Self { keys: Param::frozen(keys), values: Param::frozen(values), up: Some((up, bias)), gate: None }
            }
        }
    }

    /// Positions.
    pub fn length(&self) -> usize {
        self.keys.value.dims()[0]
    }

    /// Keys and values, `[length, kv_heads · head_dim]` each.
    pub fn states(&self, shared: &Shared) -> (Tensor<2>, Tensor<2>) {
        let (keys, values) = (self.keys.value.clone(), self.values.value.clone());
        let (Some((up, bias)), Some(encoder)) = (&self.up, &shared.prefix) else { return (keys, values) };
        let made = encoder.encode().matmul(up.value.clone().transpose()) + bias.value.clone().unsqueeze();
        let size = keys.dims()[1];
        (keys + made.clone().narrow(1, 0, size), values + made.narrow(1, size, size))
    }

    /// Attention's output, from those `without` the prefix and `with` it; `x` goes into the attention.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - `without`, `with`, output: `[batch, heads, seq, head_dim]`
    pub fn blend(&self, x: Tensor<3>, without: Tensor<4>, with: Tensor<4>, context: &ForwardContext) -> Tensor<4> {
        match &self.gate {
            None => context.damp(without, with),
            Some(gate) => {
                let open = gate.open(x).mul_scalar(context.damping).unsqueeze_dim(1);
                without.clone() + (with - without) * open
            }
        }
    }

    /// Keeps what the network makes and throws the network away.
    pub fn finalize(&mut self, shared: &Shared) {
        let (keys, values) = self.states(shared);
        let gate = self.gate.take();
        *self = Self { keys: Param::trainable(keys), values: Param::trainable(values), up: None, gate };
    }
}

impl PrefixEncoder {
    /// The shared part of the network: E normal, D Kaiming-uniform, b zero.
    pub fn new(length: usize, hidden: usize, width: usize, seed: u64, device: &Device) -> Self {
        let mut rng = draws(seed, "prefix_encoder", [0, 0]);
        let embedding = normals(&mut rng, length * hidden, 1.0);
        Self {
            embedding: Param::trainable(Tensor::from_data(
                burn::tensor::TensorData::new(embedding, [length, hidden]),
                device,
            )),
            down: Param::trainable(uniform(&mut rng, [width, hidden], kaiming(hidden), device)),
            bias: Param::trainable(Tensor::zeros([width], device)),
        }
    }
}

impl Additions for Prefix {
    fn each(&mut self, of: &ModuleId, visitor: &mut impl Visitor) {
        visitor.visit(&of.param("prefix.keys"), &mut self.keys);
        visitor.visit(&of.param("prefix.values"), &mut self.values);
        if let Some((up, bias)) = &mut self.up {
            visitor.visit(&of.param("prefix.up.weight"), up);
            visitor.visit(&of.param("prefix.up.bias"), bias);
        }
        if let Some(gate) = &mut self.gate {
            gate.each(&of.within("prefix"), visitor);
        }
    }
}

/// `[length, 2 · layers · kv_size]`: for each layer its keys, then its values. Keys are as they stand in a cache: no rotary
/// position is applied to them, and the text begins at position `length`.
static FORM: Form = Form {
    peft_type: "PREFIX_TUNING",
    read,
    // It has no list of layers, and of two stacks it puts prefixes before one alone.
    write: |model, method, tensors| {
        (method.layers.is_empty() && !model.has(Role::CrossQuery))
            .then(|| Some((fields(model, method), write(model, tensors)?)))
            .flatten()
    },
    integers: &[],
};

fn read(given: Given<'_>) -> Read {
    given.known(&KEYS)?;
    let Given { fields, tensors, .. } = given;
    let (tensor, [length, width]) = only(&fields, tensors)?;
    let size = fields.get("token_dim").and_then(Value::as_u64).unwrap_or(0) as usize;
    if size == 0 || !width.is_multiple_of(2 * size) {
        let what = format!("{TENSOR} has {width} columns, which is no multiple of 2 × token_dim {size}");
        return Err(Problem::input(what).next("export the adapter again"));
    }
    let columns = |from: usize| HostTensor {
        shape: vec![length, size],
        data: tensor.data.chunks(width).flat_map(|row| &row[from..from + size]).copied().collect(),
    };
    let mut kept = Tensors::new();
    for layer in 0..width / (2 * size) {
        kept.insert(path(layer, "keys"), columns(2 * layer * size));
        kept.insert(path(layer, "values"), columns((2 * layer + 1) * size));
    }
    let method = MethodConfig { length: Some(length), ..MethodConfig::new(MethodKind::Prefix) };
    Ok((method.into(), kept))
}

/// None if a layer lacks its prefix.
fn write(model: &ModelReport, tensors: &Tensors) -> Option<Tensors> {
    let outputs = model.modules.iter().filter(|module| module.role == Role::Output);
    let parts = outputs.flat_map(|o| ["keys", "values"].map(|part| format!("{}.prefix.{part}", o.parent())));
    let parts: Vec<&HostTensor> = parts.map(|path| tensors.get(&path)).collect::<Option<_>>()?;
    let [length, size] = [parts.first()?.shape[0], parts.first()?.shape[1]];
    let row = |r: usize| parts.iter().flat_map(move |part| &part.data[r * size..(r + 1) * size]).copied();
    let data = (0..length).flat_map(row).collect();
    let tensor = HostTensor { shape: vec![length, parts.len() * size], data };
    Some([(TENSOR.to_string(), tensor)].into())
}

fn fields(model: &ModelReport, method: &MethodConfig) -> Map<String, Value> {
    with(
        Map::new(),
        json!({
            "encoder_hidden_size": model.key_value_size,
            "num_attention_heads": model.key_value_size / model.head_dim.max(1),
            "num_layers": model.layers,
            "num_transformer_submodules": 1,
            "num_virtual_tokens": method.length,
            "prefix_projection": false,
            "token_dim": model.key_value_size,
        }),
    )
}
