//! Putting methods into a model, and taking them out again.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use stratune_peft::{
    AdapterPlacement, Bottleneck, Embedding, Entered, Enters, Gate, Gradients, Linear, MethodConfig, MethodKind,
    Methods, Param, PeftError, Prefix, Site, Written, base_bits,
};
use stratune_protocol::{Module, Problem, Role, draws};

use crate::ladder::train;
use crate::nn::{KvCache, Norm, scaled};
use crate::{Block, ForwardOptions, Ladder, Model, ModelConfig, SourceTexts};

impl Model {
    /// Puts methods into the model, each on top of the ones before, drawn from `seed`. They change nothing yet, but for
    /// prefix and prompt tuning, which add positions.
    ///
    /// # Errors
    /// A method does not fit the model; names the layer.
    pub async fn attach(&mut self, methods: &[MethodConfig], seed: u64) -> Result<(), Problem> {
        let report = self.config.report("", 0);
        let mut owners = ParamOwners::new();
        for method in methods {
            method.check_on(&report)?;
            let sites = method.sites(&report);
            let shapes = sites.iter().map(|module| module.sides());
            let entered = Entered {
                sites: sites.len(),
                extent: shapes.fold([0, 0], |[o, i], [out, inputs]| [o.max(out), i.max(inputs)]),
                hidden: self.config.hidden_size,
                seed,
                device: &self.device(),
            };
            (method.kind.method().share)(method, &entered, &mut self.shared)?;
            match method.kind.method().enters {
                Enters::Linear(_) => self.attach_linear(method, &sites, seed, &mut owners).await?,
                Enters::InPlace(rule) => {
                    for module in sites {
                        let Some(linear) = self.linear_mut(module) else { continue };
                        let rule = rule(method, linear.shape()).map_err(|e| e.at(&module.path))?;
                        let weight = linear.weight.floats_mut();
                        (weight.trainable, weight.rule) = (true, rule);
                    }
                }
                Enters::Block(places, written) => {
                    self.attach_bottlenecks(method, (places, written), seed, &mut owners)?;
                }
                Enters::Attention => self.attach_prefix(method, seed),
                Enters::Norm => self.attach_norms(method, &mut owners)?,
                Enters::Input => self.attach_prompt(method, seed),
                Enters::Side => {
                    let reduction = method.reduction.unwrap_or(1);
                    self.ladder = Some(Ladder::new(&self.config, reduction, seed, &self.device())?);
                }
                Enters::Whole => self.train_all().map_err(|problem| problem.at(format!("method {}", method.kind)))?,
            }
        }
        self.layers.iter_mut().for_each(Block::group_factors_and_biases);
        Ok(())
    }

    /// The linear layer of a module of the table.
    fn linear_mut(&mut self, module: &Module) -> Option<&mut Linear> {
        self.layers.get_mut(module.block?)?.linear_mut(module.role)
    }

    async fn attach_linear(
        &mut self,
        method: &MethodConfig,
        sites: &[&Module],
        seed: u64,
        owners: &mut ParamOwners,
    ) -> Result<(), Problem> {
        for module in sites {
            let path = &module.path;
            let Some(linear) = self.linear_mut(module) else { continue };
            let fits = |e: PeftError| e.at(path);
            let index = Role::LINEAR.iter().position(|role| *role == module.role).unwrap_or(0) as u64;
            let (id, weight) = (linear.id.clone(), linear.weight.dense());
            let bias = linear.bias.as_ref().map(|bias| bias.value.clone());
            let site = Site { id, role: module.role, index, weight, bias, sites: sites.len(), seed };
            let Some(mut delta) = method.delta_at(&site).await.map_err(fits)? else { continue };
            claim(owners, method.kind, path, delta.names())?;
            linear.deltas.push(delta);
        }
        if let Some(bits) = method.bits.filter(|_| method.kind.method().few_bits) {
            // All matrices of the blocks, whichever of them train.
            for block in &mut self.layers {
                for linear in block.linears_mut() {
                    linear.weight.quantize(base_bits(bits)).await?;
                }
                block.group_weights();
            }
        }
        Ok(())
    }

    fn attach_bottlenecks(
        &mut self,
        method: &MethodConfig,
        (places, written): (&[AdapterPlacement], Written),
        seed: u64,
        owners: &mut ParamOwners,
    ) -> Result<(), Problem> {
        let (device, hidden) = (self.device(), self.config.hidden_size);
        for (i, block) in self.layers.iter_mut().enumerate().filter(|(i, _)| method.enters_layer(*i)) {
            for &place in places {
                claim(owners, method.kind, &block.id.path, [format!(".adapters.{}", place.name())])?;
                let adapter = Bottleneck::new(method, (place, written), hidden, (seed, i), &device);
                block.adapters.push(adapter.map_err(|e| e.at(&block.id.path))?);
            }
        }
        Ok(())
    }

    fn attach_norms(&mut self, method: &MethodConfig, owners: &mut ParamOwners) -> Result<(), Problem> {
        for (_, block) in self.layers.iter_mut().enumerate().filter(|(i, _)| method.enters_layer(*i)) {
            for norm in block.norms_mut() {
                claim(owners, method.kind, &norm.id.path, [".ln_tuning_layers".to_string()])?;
                norm.tune();
            }
        }
        // The last norm belongs to no block: it trains where every block does.
        if method.layers.is_empty() {
            self.last_norms_mut().for_each(Norm::tune);
        }
        Ok(())
    }

    /// The norms behind the last blocks of its stacks.
    pub(crate) fn last_norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        self.norm.iter_mut().chain(self.stacks.iter_mut().map(|stacks| &mut stacks.encoder_norm))
    }

    /// The prefix starts at the keys and values that the model itself has for some of its tokens, until there are rows to
    /// take them from.
    fn attach_prefix(&mut self, method: &MethodConfig, seed: u64) {
        let (length, device) = (method.length.unwrap_or(0), self.device());
        let states = self.keys_and_values(&self.random_tokens(length, seed));
        let width = method.width.filter(|w| *w > 0);
        for ((i, block), states) in self.layers.iter_mut().enumerate().zip(states) {
            if let Some([keys, values]) = states.filter(|_| method.enters_layer(i)) {
                let mut prefix = Prefix::new(keys, values, width);
                if method.gated == Some(true) {
                    let mut rng = draws(seed, "gate", [i as u64, 128]);
                    prefix.gate = Some(Gate::new(self.config.hidden_size, &mut rng, &device));
                }
                block.self_attn.prefix = Some(prefix);
            }
        }
    }

    /// Starts the prefixes of a method at the keys and values that the model without any has for these tokens, one a
    /// position.
    pub fn init_prefixes_from(&mut self, method: &MethodConfig, tokens: &[u32]) {
        let mut bare = self.clone();
        bare.prompt = None;
        bare.layers.iter_mut().for_each(|block| block.self_attn.prefix = None);
        let states = bare.keys_and_values(tokens);
        for ((i, block), states) in self.layers.iter_mut().enumerate().zip(states) {
            let prefix = block.self_attn.prefix.as_mut().filter(|_| method.enters_layer(i));
            if let Some((prefix, [keys, values])) = prefix.zip(states) {
                (prefix.keys.value, prefix.values.value) = (keys, values);
            }
        }
    }

    /// What each block's attention has for a text's tokens, `[tokens, kv_heads · head_dim]` each.
    fn keys_and_values(&self, tokens: &[u32]) -> Vec<Option<[Tensor<2>; 2]>> {
        let ids: Vec<i32> = tokens.iter().map(|id| *id as i32).collect();
        let ids = Tensor::from_data(TensorData::new(ids, [1, tokens.len()]), &self.device());
        let mut caches = vec![KvCache::default(); self.config.encoder_layers()];
        let source = SourceTexts::new(tokens, &[tokens.len()], &self.device());
        let options = ForwardOptions { context: &|i| self.inference_context(i), alter: None };
        let model = self.with_reads(self.encode(&source, Some(&mut caches), options));
        let mut own = model.caches();
        model.hidden_states(ids, Some(&mut own));
        caches.append(&mut own);
        let flat = |t: Tensor<4>| {
            let [_, heads, seq, head_dim] = t.dims();
            t.narrow(2, seq - tokens.len(), tokens.len()).swap_dims(1, 2).reshape([tokens.len(), heads * head_dim])
        };
        let of = |cache: KvCache| cache.into_states().map(|(keys, values)| [flat(keys), flat(values)]);
        caches.into_iter().map(of).collect()
    }

    /// The prompt starts at the embeddings of some tokens.
    fn attach_prompt(&mut self, method: &MethodConfig, seed: u64) {
        let tokens = self.random_tokens(method.length.unwrap_or(0), seed);
        let ids: Vec<i32> = tokens.iter().map(|id| *id as i32).collect();
        let ids = Tensor::from_data(TensorData::new(ids, [1, tokens.len()]), &self.device());
        let embedded = self.embed(ids).squeeze_dim(0);
        self.prompt = Some(Param::trainable(scaled(embedded, self.config.prompt_multiplier().recip())));
    }

    fn random_tokens(&self, length: usize, seed: u64) -> Vec<u32> {
        let mut rng = draws(seed, "virtual_tokens", [0, 0]);
        (0..length).map(|_| rng.random_range(0..self.config.vocab_size as i32) as u32).collect()
    }

    /// Keeps of the methods what is needed to compute the same, and says what that is: HiWi leaves biases, a prefix's network
    /// the prefix, diff pruning its largest differences; what data have chosen is written down.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn finalize(&mut self, methods: &Methods) -> Result<Methods, Problem> {
        let shared = self.shared.clone();
        for block in &mut self.layers {
            for delta in block.linears_mut().flat_map(|linear| &mut linear.deltas) {
                delta.finalize().await?;
            }
            if let Some(prefix) = &mut block.self_attn.prefix {
                prefix.finalize(&shared);
            }
        }
        self.shared.prefix = None;
        Ok(Methods(methods.iter().map(|m| (m.kind.method().finalized)(m)).collect()))
    }

    /// The same, as it goes into a folder: what computes it on the base as its file has it. PiSSA and LoftQ are a LoRA of
    /// twice the rank there; on the few bits that LoftQ has trained on that would be another model.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn finalize_for_base_as_read(&mut self, methods: &Methods) -> Result<Methods, Problem> {
        let finalized = self.finalize(methods).await?;
        for linear in self.layers.iter_mut().flat_map(Block::linears_mut) {
            linear.deltas.iter_mut().for_each(|delta| delta.for_original_base());
        }
        Ok(Methods(finalized.iter().map(|m| (m.kind.method().for_original_base)(m)).collect()))
    }

    /// Moves every addition that can be into the base weights, and makes the matrices of the blocks floats.
    ///
    /// # Errors
    /// One cannot; the model stays as it was.
    pub fn merge(&mut self) -> Result<(), Problem> {
        self.config = self.merged_config()?.into();
        let shared = std::mem::take(&mut self.shared);
        for block in &mut self.layers {
            block.linears_mut().for_each(|linear| linear.merge(&shared));
            block.norms_mut().for_each(Norm::merge);
        }
        self.last_norms_mut().for_each(Norm::merge);
        self.add_zero_biases();
        self.dequantize_blocks();
        Ok(())
    }

    /// What the model is with every addition in its weights.
    ///
    /// # Errors
    /// One cannot be merged.
    pub(crate) fn merged_config(&mut self) -> Result<ModelConfig, Problem> {
        let refuse = |what: &str| {
            Err(Problem::input(format!("{what} cannot be merged into the weights"))
                .next("keep the adapter beside the model: --adapter takes it"))
        };
        if self.prompt.is_some() {
            return refuse("a prompt");
        }
        if self.layers.iter().any(|b| b.self_attn.prefix.is_some()) {
            return refuse("a prefix");
        }
        if self.layers.iter().any(|b| !b.adapters.is_empty()) {
            return refuse("an adapter in a block");
        }
        if self.ladder.is_some() {
            return refuse("a ladder");
        }
        let gated =
            |b: &mut Block| b.linears_mut().any(|linear| linear.deltas.iter().any(|delta| delta.properties().gated));
        if self.layers.iter_mut().any(gated) {
            return refuse("an update behind a gate");
        }
        let roles = self.biased_roles();
        self.config.with_biases(&roles)
    }

    /// Dequantizes every matrix. An embedding in pieces stays as it is: as floats its pieces
    /// would be too large.
    pub fn dequantize(&mut self) {
        for embedding in self.embeddings_mut().filter_map(Embedding::single_piece_mut) {
            embedding.floats_mut();
        }
        self.dequantize_blocks();
    }

    fn dequantize_blocks(&mut self) {
        for block in &mut self.layers {
            for linear in block.linears_mut() {
                linear.weight.floats_mut();
            }
        }
    }

    /// What linear layers have a bias, or get one when what methods add is merged.
    fn biased_roles(&mut self) -> Vec<Role> {
        let biased =
            |linear: &Linear| linear.bias.is_some() || linear.deltas.iter().any(|delta| delta.properties().makes_bias);
        let mut of = |role: Role| self.layers.iter_mut().any(|block| block.linear_mut(role).is_some_and(|l| biased(l)));
        Role::LINEAR.into_iter().filter(|role| of(*role)).collect()
    }

    /// `config.json` knows biases for all blocks, and perhaps for a whole attention or feed-forward: where the table has a
    /// bias that the layer has not, it gets zeros.
    fn add_zero_biases(&mut self) {
        let device = self.device();
        let biased: Vec<Module> = self.config.modules.iter().filter(|module| module.bias).cloned().collect();
        for module in biased {
            if let Some(linear) = self.linear_mut(&module) {
                linear.bias.get_or_insert_with(|| Param::frozen(Tensor::zeros([module.shape[0]], &device)));
            }
        }
    }

    /// Trains all of the model's own parameters: what pretraining does.
    ///
    /// # Errors
    /// The embedding or the output layer is in pieces.
    pub fn train_all(&mut self) -> Result<(), Problem> {
        if let Some(embedding) = self.embeddings().find(|embedding| embedding.pieces().count() > 1) {
            let path = embedding.id.param("weight").path;
            let pieces = embedding.pieces().count();
            let what = format!(
                "{path} would train, and this device has it in {pieces} pieces, as no buffer takes it or no launch reaches it"
            );
            return Err(Problem::input(what).next("use a method that trains the blocks alone, or the CPU"));
        }
        self.dequantize();
        let own = self.config.base_paths();
        train(self, |path| own.contains(path));
        Ok(())
    }

    /// Adds to the gradients what the methods' penalties in the loss do, in the blocks that train.
    pub fn add_penalties(&mut self, active: &[bool], into: &mut Gradients) {
        let mut found = Vec::new();
        for (_, block) in self.layers.iter_mut().enumerate().filter(|(i, _)| active[*i]) {
            for linear in block.linears_mut() {
                found.extend(linear.deltas.iter().map(|delta| (linear.id.path.clone(), delta.clone())));
            }
        }
        for (path, delta) in &found {
            let alike = found.iter().filter(|(_, other)| other.is_like(&**delta)).count();
            for (end, gradient) in delta.penalty_gradients(1.0 / alike as f32) {
                let count = gradient.shape().num_elements();
                if let Some(there) = into.get_mut(&format!("{path}.{end}")) {
                    *there = there.clone() + gradient.reshape([count]);
                }
            }
        }
    }
}

/// Which method has a parameter, by its path.
type ParamOwners = BTreeMap<String, MethodKind>;

/// Gives the parameters of these names at `path` to a method.
fn claim(
    owners: &mut ParamOwners,
    method: MethodKind,
    path: &str,
    names: impl IntoIterator<Item = String>,
) -> Result<(), Problem> {
    for name in names {
        if let Some(by) = owners.insert(format!("{path}{name}"), method) {
            return Err(PeftError::Occupied { method, by }.at(path));
        }
    }
    Ok(())
}
