//! Putting methods into a model, and taking them out again.

use std::collections::BTreeMap;
use std::mem::discriminant;

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use stratune_peft::{
    Bottleneck, Delta, Gate, Gradients, Linear, Param, PeftError, Place, Prefix, PrefixEncoder, Rule, Site, Table,
    VeraMatrices, base_bits, for_base_as_read, settled,
};
use stratune_protocol::{Enters, MethodConfig, MethodKind, Methods, Module, Problem, Role, draws};

use crate::ladder::train;
use crate::nn::{KvCache, RmsNorm, scaled};
use crate::{Block, Ladder, Model};

impl Model {
    /// Puts methods into the model, each on top of the ones before, drawn from `seed`. They change nothing yet, but for
    /// prefix and prompt tuning, which add positions.
    ///
    /// # Errors
    /// A method does not fit the model; names the layer.
    pub async fn attach(&mut self, methods: &[MethodConfig], seed: u64) -> Result<(), Problem> {
        let report = self.config.report("", 0);
        let mut owners = Owners::new();
        for method in methods {
            method.check_on(&report)?;
            match method.kind.enters() {
                Enters::Linear => self.attach_linear(method, &method.sites(&report), seed, &mut owners).await?,
                Enters::Block => self.attach_bottlenecks(method, seed, &mut owners)?,
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
        self.layers.iter_mut().for_each(Block::lay_factors_and_biases);
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
        owners: &mut Owners,
    ) -> Result<(), Problem> {
        let shapes = sites.iter().map(|module| module.sides());
        let extent = shapes.fold([0, 0], |[o, i], [out, inputs]| [o.max(out), i.max(inputs)]);
        let mut dimension = method.dimension.unwrap_or(0);
        if method.kind == MethodKind::Said {
            let what =
                || format!("dimension {dimension} does not reach beyond one λ for each of {} matrices", sites.len());
            dimension = dimension.checked_sub(sites.len()).filter(|d| *d > 0).ok_or_else(|| {
                Problem::input(what()).at("method.dimension").next("use a larger dimension, or fewer targets")
            })?;
        }
        for module in sites {
            let path = &module.path;
            let Some(linear) = self.linear_mut(module) else { continue };
            let fits = |e: PeftError| e.at(path);
            if let Some(rule) = Rule::of(method, linear.shape()).map_err(fits)? {
                let weight = linear.weight.floats_mut();
                (weight.trainable, weight.rule) = (true, rule);
                continue;
            }
            let index = Role::LINEAR.iter().position(|role| *role == module.role).unwrap_or(0) as u64;
            let (id, weight) = (linear.id.clone(), linear.weight.dense());
            let bias = linear.bias.as_ref().map(|bias| bias.value.clone());
            let site = Site { id, role: module.role, index, weight, bias, extent, seed };
            let Some(mut delta) = Delta::new(method, &site, dimension).await.map_err(fits)? else { continue };
            take(owners, method.kind, path, delta.names())?;
            linear.deltas.push(delta);
        }
        if let Some(bits) = method.bits.filter(|_| method.kind.quantises()) {
            // All matrices of the blocks, whichever of them train.
            for block in &mut self.layers {
                for linear in block.linears_mut() {
                    linear.weight.pack(base_bits(bits)).await?;
                }
                block.lay_together();
            }
        }
        if method.kind == MethodKind::Vera {
            // Of several lists of layers, each with a rank of its own, all read the same matrices.
            let there = self.shared.vera.as_ref().map_or([0; 3], |v| {
                let ([rank, inputs], [outputs, _]) = (v.a.value.dims(), v.b.value.dims());
                [rank, outputs, inputs]
            });
            let rank = method.rank.unwrap_or(0).max(there[0]);
            let extent = [extent[0].max(there[1]), extent[1].max(there[2])];
            self.shared.vera = Some(VeraMatrices::new(rank, extent, seed, &self.device()));
        }
        if matches!(method.kind, MethodKind::Did | MethodKind::Said) {
            self.shared.vector = Some(Param::trainable(Tensor::zeros([dimension], &self.device())));
        }
        Ok(())
    }

    fn attach_bottlenecks(&mut self, method: &MethodConfig, seed: u64, owners: &mut Owners) -> Result<(), Problem> {
        let (device, hidden) = (self.device(), self.config.hidden_size);
        for (i, block) in self.layers.iter_mut().enumerate().filter(|(i, _)| method.enters_layer(*i)) {
            for &place in Place::of(method.kind) {
                take(owners, method.kind, &block.id.path, [format!(".adapters.{}", place.name())])?;
                let adapter = Bottleneck::new(method, place, hidden, (seed, i), &device);
                block.adapters.push(adapter.map_err(|e| e.at(&block.id.path))?);
            }
        }
        if method.kind == MethodKind::Compacter {
            self.shared.add_compacter(seed, &device);
        }
        Ok(())
    }

    fn attach_norms(&mut self, method: &MethodConfig, owners: &mut Owners) -> Result<(), Problem> {
        for (_, block) in self.layers.iter_mut().enumerate().filter(|(i, _)| method.enters_layer(*i)) {
            for norm in block.norms_mut() {
                take(owners, method.kind, &norm.id.path, [".ln_tuning_layers".to_string()])?;
                norm.tuned = Some(Param::trainable(norm.weight.value.clone()));
            }
        }
        // The last norm belongs to no block: it trains where every block does.
        if method.layers.is_empty() {
            self.norm.tuned = Some(Param::trainable(self.norm.weight.value.clone()));
        }
        Ok(())
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
        if let Some(width) = width {
            self.shared.prefix = Some(PrefixEncoder::new(length, self.config.hidden_size, width, seed, &device));
        }
    }

    /// Starts the prefixes of a method at the keys and values that the model without any has for these tokens, one a
    /// position.
    pub fn start_prefixes_at(&mut self, method: &MethodConfig, tokens: &[u32]) {
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
        let mut caches = self.caches();
        self.hidden(ids, Some(&mut caches));
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
    pub async fn settle(&mut self, methods: &Methods) -> Result<Methods, Problem> {
        let shared = self.shared.clone();
        for block in &mut self.layers {
            for delta in block.linears_mut().flat_map(|linear| &mut linear.deltas) {
                delta.settle().await?;
            }
            if let Some(prefix) = &mut block.self_attn.prefix {
                prefix.eject(&shared);
            }
        }
        self.shared.prefix = None;
        Ok(Methods(methods.iter().map(settled).collect()))
    }

    /// The same, as it goes into a folder: what computes it on the base as its file has it. PiSSA and LoftQ are a LoRA of
    /// twice the rank there; on the few bits that LoftQ has trained on that would be another model.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn settle_for_base_as_read(&mut self, methods: &Methods) -> Result<Methods, Problem> {
        let settled = self.settle(methods).await?;
        for linear in self.layers.iter_mut().flat_map(Block::linears_mut) {
            linear.deltas.iter_mut().for_each(Delta::for_base_as_read);
        }
        Ok(Methods(settled.iter().map(for_base_as_read).collect()))
    }

    /// Moves every addition that can be into the base weights, and makes the matrices of the blocks floats.
    ///
    /// # Errors
    /// One cannot; the model stays as it was.
    pub fn merge(&mut self) -> Result<(), Problem> {
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
        let gated = |b: &mut Block| b.linears_mut().any(|linear| linear.deltas.iter().any(Delta::is_gated));
        if self.layers.iter_mut().any(gated) {
            return refuse("an update behind a gate");
        }
        let roles = self.biased_roles();
        self.config = self.config.with_biases(&roles)?.into();
        let shared = std::mem::take(&mut self.shared);
        for block in &mut self.layers {
            block.linears_mut().for_each(|linear| linear.merge(&shared));
            block.norms_mut().for_each(RmsNorm::merge);
        }
        self.norm.merge();
        self.add_zero_biases();
        self.unpack_blocks();
        Ok(())
    }

    /// Makes every matrix floats, with the numbers it is packed as. A table in pieces stays as it is: as floats its pieces
    /// would be too large.
    pub fn unpack(&mut self) {
        for table in self.tables_mut().filter_map(Table::whole_mut) {
            table.floats_mut();
        }
        self.unpack_blocks();
    }

    fn unpack_blocks(&mut self) {
        for block in &mut self.layers {
            for linear in block.linears_mut() {
                linear.weight.floats_mut();
            }
        }
    }

    /// What linear layers have a bias, or get one when what methods add is merged.
    fn biased_roles(&mut self) -> Vec<Role> {
        let biased = |linear: &Linear| linear.bias.is_some() || linear.deltas.iter().any(Delta::makes_bias);
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
        if let Some(table) = self.tables().find(|table| table.pieces().count() > 1) {
            let path = table.id.param("weight").path;
            let pieces = table.pieces().count();
            let what = format!(
                "{path} would train, and this device has it in {pieces} pieces, as no buffer takes it or no launch reaches it"
            );
            return Err(Problem::input(what).next("use a method that trains the blocks alone, or the CPU"));
        }
        self.unpack();
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
            let alike = found.iter().filter(|(_, other)| discriminant(other) == discriminant(delta)).count();
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
type Owners = BTreeMap<String, MethodKind>;

/// Gives the parameters of these names at `path` to a method.
fn take(
    owners: &mut Owners,
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
