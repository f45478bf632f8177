//! LoRA: a low-rank update (Hu et al. 2021, arXiv 2106.09685, eq. 3), and the methods that differ from it in a line.
//!
//! `y = x Wᵀ + s · (x Aᵀ) Bᵀ`, on the activation side: `W + s·BA` is never formed while training, so a step costs 4N
//! multiply-adds a token and not 6N, and no gradient as large as W exists.
//!
//! | method | differs in |
//! |---|---|
//! | LoRA | s = α/r, A uniform within ±1/√in (Kaiming with a = √5), B zero |
//! | rsLoRA (2312.03732) | s = α/√r |
//! | LoRA+ (2402.12354) | B's learning rate is `ratio` times A's |
//! | LoRA-FA (2308.03303) | A stays as drawn |
//! | QLoRA (2305.14314) | the base is kept in few bits ([`Weight::pack`](crate::Weight::pack)), evenly spaced where NF4 follows the normal distribution |
//! | LoftQ (2310.08659) | the same, and A and B start at what the few bits have lost |
//! | gated (UniPELT, 2110.07577, §3.2) | s = σ(w·x + b), learned, for each token |
//! | DyLoRA (2210.07558) | while training, a rank b up to r is drawn for each batch: A's first b rows, B's first b columns, s = α/b |
//! | PiSSA (2404.02948) | A and B start at the matrix's r largest directions, B₀A₀, which are taken off: s·(BA − B₀A₀) |
//!
//! PiSSA's authors take B₀A₀ off the base weight. Here the base is never touched: the same sum, an exact identity at the
//! start, at the price of one more low-rank product.

use burn::tensor::Tensor;
use rand::RngExt;
use stratune_kernels::{Factors, PackedDtype, linear};
use stratune_protocol::{MethodConfig, draws};

use crate::delta::{Left, Nature, stays};
use crate::found::Found;
use crate::site::{kaiming, uniform};
use crate::weight::packed;
use crate::{Delta, Gate, Named, Param, Pass, PeftError, Site, svd};

/// The two factors of an update.
#[derive(Clone, Debug)]
pub struct Lora {
    /// A, `[rank, in]`.
    pub a: Param<2>,
    /// B, `[out, rank]`.
    pub b: Param<2>,
    /// PiSSA and LoftQ: A₀ and B₀, where the factors started.
    pub start: Option<(Tensor<2>, Tensor<2>)>,
    /// Whether the base has what the factors start at, so that it is taken off: PiSSA's does, LoftQ's does not.
    pub start_in_base: bool,
    /// Decides for each token how much is added, in place of the scale.
    pub gate: Option<Gate>,
    /// What the product is multiplied by, s.
    pub scale: f32,
    /// DyLoRA: α, and a draw of the rank at each batch.
    pub dynamic: Option<f32>,
    /// Share of the input's entries that training drops.
    pub dropout: f32,
    /// Number of the site within its block: tells its dropout draws from its neighbours'.
    pub site: u64,
}

impl Lora {
    /// A new update that changes nothing yet.
    ///
    /// # Errors
    /// The rank does not fit the layer.
    pub fn new(config: &MethodConfig, site: &Site) -> Result<Self, PeftError> {
        let [outputs, inputs] = site.shape();
        let (rank, alpha) = config.at(&site.id.path);
        check_rank(rank, [outputs, inputs])?;
        let device = site.device();
        let a = uniform(&mut site.draws("lora_A"), [rank, inputs], kaiming(inputs), &device);
        let b = Tensor::zeros([outputs, rank], &device);
        let gated = config.gated == Some(true);
        Ok(Self {
            a: Param::trainable(a),
            b: Param::trainable(b).at_rate(config.ratio.unwrap_or(1.0)),
            start: None,
            start_in_base: false,
            gate: gated.then(|| Gate::new(inputs, &mut site.draws("gate"), &device)),
            scale: alpha / rank as f32,
            dynamic: None,
            dropout: config.dropout.unwrap_or(0.0),
            site: site.index,
        })
    }

    /// rsLoRA's: scaled by α/√r.
    pub(crate) fn scaled_by_the_root(self, config: &MethodConfig, site: &Site) -> Self {
        let (rank, alpha) = config.at(&site.id.path);
        Self { scale: alpha / (rank as f32).sqrt(), ..self }
    }

    /// LoRA-FA's: A stays as drawn.
    pub(crate) fn with_a_as_drawn(self) -> Self {
        Self { a: Param::frozen(self.a.value), ..self }
    }

    /// DyLoRA's: trained at every rank up to its own.
    pub(crate) fn at_every_rank(self, config: &MethodConfig, site: &Site) -> Self {
        let (_, alpha) = config.at(&site.id.path);
        Self { dynamic: Some(alpha), ..self }
    }

    /// PiSSA's: starts at the matrix's largest directions, which are taken off.
    ///
    /// # Errors
    /// The device does not answer.
    pub(crate) async fn at_the_largest_directions(self, site: &Site) -> Result<Self, PeftError> {
        let start = svd::factors(&site.weight, self.a.value.dims()[0], self.scale).await?;
        Ok(Self { start_in_base: true, ..self.starting_at(start) })
    }

    /// LoftQ's start (Li et al. 2023, arXiv 2310.08659, algorithm 1, one turn as in PEFT): s·BA has the largest directions
    /// of W − Q, with Q the few bits of W, which is what the base holds.
    ///
    /// # Errors
    /// The device does not answer.
    pub(crate) async fn at_what_few_bits_lose(self, site: &Site, bits: usize) -> Result<Self, PeftError> {
        let kept = packed(site.weight.clone(), base_bits(bits)).await.map_err(|e| PeftError::Device(Box::new(e)))?;
        let lost = site.weight.clone() - kept.dense();
        let start = svd::factors(&lost, self.a.value.dims()[0], self.scale).await?;
        Ok(self.starting_at(start))
    }

    fn starting_at(self, (a, b): (Tensor<2>, Tensor<2>)) -> Self {
        let start = Some((a.clone(), b.clone()));
        Self { a: Param::trainable(a), b: Param { value: b, ..self.b }, start, ..self }
    }

    /// The addition to the layer's output.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, in]`
    /// - output: `[batch, seq, out]`
    pub fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let x = match pass.dropout_mask(self.dropout, self.site, x.dims(), &x.device().inner()) {
            Some(mask) => x * mask,
            None => x,
        };
        let Factors { a, b, scale } = self.scaled(pass);
        if let Some(gate) = &self.gate {
            let open = gate.open(x.clone());
            return linear(linear(x, a).mul_scalar(pass.damping), b) * open;
        }
        let y = linear(linear(x.clone(), a).mul_scalar(scale), b);
        match self.start.as_ref().filter(|_| self.start_in_base) {
            None => y,
            Some((a, b)) => y - linear(linear(x, a.clone()).mul_scalar(self.scale * pass.damping), b.clone()),
        }
    }

    /// The two matrices at this pass, and what their product is multiplied by.
    fn scaled(&self, pass: &Pass) -> Factors {
        let (a, b, scale) = match self.dynamic.zip(pass.dropout) {
            None => (self.a.value.clone(), self.b.value.clone(), self.scale),
            Some((alpha, key)) => {
                // One rank for all layers of a batch, as its paper has it.
                let rank = draws(key.seed, "dylora_rank", [key.batch, 0]).random_range(1..=self.a.value.dims()[0]);
                let (a, b) = self.sliced(rank);
                (a, b, alpha / rank as f32)
            }
        };
        Factors { a, b, scale: scale * pass.damping }
    }

    /// A's first rows and B's first columns.
    pub fn sliced(&self, rank: usize) -> (Tensor<2>, Tensor<2>) {
        (self.a.value.clone().narrow(0, 0, rank), self.b.value.clone().narrow(1, 0, rank))
    }

    /// The dense update, `[out, in]`.
    pub fn update(&self) -> Tensor<2> {
        let product = |a: &Tensor<2>, b: &Tensor<2>| b.clone().matmul(a.clone());
        let whole = product(&self.a.value, &self.b.value);
        let whole = match self.start.as_ref().filter(|_| self.start_in_base) {
            None => whole,
            Some((a, b)) => whole - product(a, b),
        };
        whole.mul_scalar(self.scale)
    }
}

/// What so many bits of a base weight, 4 or 8, are packed as.
pub fn base_bits(bits: usize) -> PackedDtype {
    if bits == 8 { PackedDtype::Int8 } else { PackedDtype::Int4 }
}

/// Refuses a rank that trains nothing or adds parameters and no freedom.
pub(crate) fn check_rank(rank: usize, [outputs, inputs]: [usize; 2]) -> Result<(), PeftError> {
    let smaller = outputs.min(inputs);
    match rank {
        0 => Err(PeftError::RankZero),
        _ if rank > smaller => Err(PeftError::RankAboveMatrix { rank, smaller, outputs, inputs }),
        _ => Ok(()),
    }
}

impl Delta for Lora {
    fn parameters(&mut self) -> Named<'_> {
        let mut all: Named<'_> = vec![("lora_A.weight", (&mut self.a).into()), ("lora_B.weight", (&mut self.b).into())];
        all.extend(self.gate.iter_mut().flat_map(Gate::parameters));
        all
    }

    fn cloned(&self) -> Box<dyn Delta> {
        Box::new(self.clone())
    }

    fn nature(&self) -> Nature {
        Nature { gated: self.gate.is_some(), ..Nature::PLAIN }
    }

    fn output(&self, x: Tensor<3>, y: Tensor<3>, _: &Found<'_>, pass: &Pass) -> Tensor<3> {
        y + self.forward(x, pass)
    }

    fn merge(&self, weight: Tensor<2>, bias: Option<Tensor<1>>, pass: &Pass) -> (Tensor<2>, Option<Tensor<1>>) {
        (weight + pass.damped(self.update()), bias)
    }

    fn penalty_gradients(&self, _: f32) -> Vec<(&'static str, Tensor<2>)> {
        Vec::new()
    }

    fn left(&self) -> Left<'_> {
        stays()
    }

    /// Makes PiSSA's or LoftQ's factors and their start one pair of twice the rank, which any reader of LoRA computes on
    /// the base as its file has it: on the few bits that LoftQ has trained on, the start would be missing.
    fn for_base_as_read(&mut self) {
        if let Some((a, b)) = self.start.take() {
            self.a = Param::trainable(Tensor::cat(vec![self.a.value.clone(), a], 0));
            self.b = Param::trainable(Tensor::cat(vec![self.b.value.clone(), b.neg()], 1));
        }
    }

    /// The two matrices, if what it adds to the input as it is is their product and nothing else.
    fn factors(&self, pass: &Pass) -> Option<Factors> {
        let drops = self.dropout > 0.0 && pass.dropout.is_some();
        let alone = self.gate.is_none() && !(self.start_in_base && self.start.is_some());
        (alone && !drops).then(|| self.scaled(pass))
    }

    fn operands(&mut self) -> Named<'_> {
        vec![("lora_A.weight", (&mut self.a).into()), ("lora_B.weight", (&mut self.b).into())]
    }
}
