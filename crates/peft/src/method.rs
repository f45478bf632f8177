//! What a method is: all that the rest has to know of one, given in its file.

use burn::tensor::Device;
use futures::future::LocalBoxFuture;
use stratune_protocol::{IstMode, ModelReport, Problem, Role};

use crate::bottleneck::{AdapterPlacement, Written};
use crate::form::Form;
use crate::setting::{Has, Setting};
use crate::switch::Switch;
use crate::{Delta, MethodConfig, MethodKind, Methods, PeftError, Shared, Site, UpdateRule};

/// All that has to be known of a method. A field that a new one forgets is a compiler's error.
#[derive(Debug)]
pub struct Method {
    /// Which it is.
    pub kind: MethodKind,
    /// As configurations write it.
    pub name: &'static str,
    /// As people write it.
    pub title: &'static str,
    /// One sentence for who chooses.
    pub sentence: &'static str,
    /// What of it trains.
    pub trains: &'static str,
    /// Its branch.
    pub family: Family,
    /// The settings it has, besides `layers`.
    pub settings: &'static [Has],
    /// Where it enters, and what it puts there.
    pub enters: Enters,
    /// The linear layers that it enters where it has no targets to be told.
    pub roles: &'static [Role],
    /// What is left of it when the model serves.
    pub merges: Merges,
    /// Whether every block has trainable numbers of its own: what IST chooses among. LISA has, and draws them itself.
    pub per_layer: bool,
    /// Whether it may enter some layers and not others.
    pub has_layers: bool,
    /// Whether there is at most one of it in a model.
    pub unique: bool,
    /// Whether it works on gradients, which MeZO does not have.
    pub needs_gradients: bool,
    /// What rows of the data decide before training begins.
    pub from_data: FromData,
    /// Whether its base is kept in few bits.
    pub few_bits: bool,
    /// Whether each rank up to its own is trained, so that any of them can be cut out afterwards.
    pub nested_ranks: bool,
    /// How a search switches it off at a module and makes it smaller, if it can.
    pub switch: Option<&'static Switch>,
    /// The learning rate that suits it, over LoRA's: methods of few numbers take larger steps, full tuning smaller
    /// ones.
    pub usual_rate: f64,
    /// What it keeps of the forward pass for the way back.
    pub saved_activations: SavedActivations,
    /// Numbers that train in a model.
    pub trainable: fn(&MethodConfig, &ModelReport) -> u64,
    /// What the optimiser holds of them at once.
    pub moving: fn(&MethodConfig, &ModelReport) -> Moving,
    /// Its usual settings changed to those of its paper.
    pub of_its_paper: fn(MethodConfig, &ModelReport) -> MethodConfig,
    /// Refuses what it cannot be listed beside, or not under this mode of IST.
    pub fits: fn(&Methods, IstMode) -> Result<(), Problem>,
    /// Makes what its layers share.
    pub share: fn(&MethodConfig, &Entered<'_>, &mut Shared) -> Result<(), Problem>,
    /// What computes the same on this base, without what only training needs.
    pub finalized: fn(&MethodConfig) -> MethodConfig,
    /// What computes that on the base as its file has it.
    pub for_original_base: fn(&MethodConfig) -> MethodConfig,
    /// Its form in Hugging Face PEFT, if PEFT has it.
    pub peft: Option<&'static Form>,
}

impl Method {
    /// A setting as it has it; none if it has it not.
    pub fn has(&self, setting: Setting) -> Option<&Has> {
        self.settings.iter().find(|has| has.setting == setting)
    }

    /// Whether it trains the model's own tensors in place: IST cannot damp what is not apart from the base.
    pub fn in_place(&self) -> bool {
        matches!(self.enters, Enters::InPlace(_) | Enters::Whole)
    }
}

impl FromData {
    /// Whether it decides what trains.
    pub fn chooses(self) -> bool {
        matches!(self, Self::Fisher | Self::Moves | Self::Saliency)
    }
}

/// The branches of the survey (Han et al. 2024, arXiv 2403.14608).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The update of a weight is written with fewer numbers.
    Reparameterised,
    /// New weights or activations.
    Additive,
    /// Some of the model's own weights.
    Selective,
}

impl Family {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reparameterised => "reparameterised",
            Self::Additive => "additive",
            Self::Selective => "selective",
        }
    }
}

/// An addition in the making.
pub type Built<'a> = LocalBoxFuture<'a, Result<Box<dyn Delta>, PeftError>>;

/// Where a method enters the model, and what it puts there.
#[derive(Clone, Copy, Debug)]
pub enum Enters {
    /// The linear layers of the blocks: it adds to them what this makes, drawn from the site's seed.
    Linear(for<'a> fn(&'a MethodConfig, &'a Site) -> Built<'a>),
    /// The same, whose `[out, in]` matrices it trains in place by this rule.
    InPlace(fn(&MethodConfig, [usize; 2]) -> Result<UpdateRule, PeftError>),
    /// A block: bottlenecks at these places, their matrices written so.
    Block(&'static [AdapterPlacement], Written),
    /// The keys and values of the attention.
    Attention,
    /// The norms of the blocks.
    Norm,
    /// The model's input.
    Input,
    /// Beside the model, reading its blocks.
    Side,
    /// All of the model, in place.
    Whole,
}

impl Enters {
    /// In a few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear(_) | Self::InPlace(_) => "linear layers",
            Self::Block(..) => "around attention and feed-forward",
            Self::Attention => "keys and values",
            Self::Norm => "norms",
            Self::Input => "before the embedded text",
            Self::Side => "beside the blocks",
            Self::Whole => "everywhere",
        }
    }
}

/// What is left of a method when the model serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merges {
    /// Into the weights: nothing.
    Weights,
    /// Into weights and biases: additions of a vector at each layer it entered.
    Biases,
    /// Not at all: it runs beside the model.
    No,
}

impl Merges {
    /// In a few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "yes",
            Self::Biases => "yes, as biases",
            Self::No => "no",
        }
    }
}

/// What rows of the data decide before training begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromData {
    /// Nothing.
    Nothing,
    /// Which weights train: those of the largest squared gradients.
    Fisher,
    /// Which weights train: those that move most when all do.
    Moves,
    /// Which weights of its networks train: those that promise most for the loss.
    Saliency,
    /// Where its numbers start: at what the model makes of the beginning of a row.
    Beginning,
}

/// What a method keeps of the forward pass for the way back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedActivations {
    /// Whether its gradients need what the matrices are multiplied by.
    pub inputs: bool,
    /// What it does within the linear layers.
    pub within: Within,
    /// Whether it makes as many numbers of each position as its rank is, twice.
    pub ranks: bool,
    /// Matrices as large as the layer's own: its sum with the update, the update where it is put together of few
    /// numbers, what λ is multiplied by, magnitudes and switches.
    pub dense: f64,
}

/// What a method does within the linear layers, as far as the feed-forward has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Nothing, or it adds a bias.
    Nothing,
    /// It adds a low-rank update and nothing else, unless it drops or gates.
    LowRank,
    /// Something else.
    Other,
}

impl SavedActivations {
    /// Of what is outside of the linear layers.
    pub const OUTSIDE: Self = Self { inputs: false, within: Within::Nothing, ranks: false, dense: 0.0 };
    /// Of what adds a bias.
    pub const BIAS: Self = Self::OUTSIDE;
    /// Of a plain low-rank update.
    pub const LOW_RANK: Self = Self { inputs: true, within: Within::LowRank, ranks: true, dense: 0.0 };
    /// Of what needs the layers' inputs.
    pub const INPUTS: Self = Self { inputs: true, within: Within::Other, ranks: true, dense: 0.0 };

    /// The same with so many matrices as large as the layer's own.
    pub const fn dense(self, dense: f64) -> Self {
        Self { dense, ..self }
    }
}

/// How many numbers the optimiser holds at once of what a method trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moving {
    /// Gradients of a batch.
    pub gradients: f64,
    /// Moments of AdamW.
    pub moments: f64,
    /// With MeZO: the parameters of one block, moved, and the direction they are moved along; what lies outside of
    /// blocks is moved as a whole.
    pub shifted: f64,
}

/// Where a method has entered a model, for what its layers share.
#[derive(Clone, Copy, Debug)]
pub struct Entered<'a> {
    /// How many linear layers.
    pub sites: usize,
    /// Most outputs and most inputs of one.
    pub extent: [usize; 2],
    /// Width of the model.
    pub hidden: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Where the model is.
    pub device: &'a Device,
}

/// Everything that trains has a gradient and two moments, and the blocks are moved in turn.
pub(crate) fn block_by_block(method: &MethodConfig, model: &ModelReport) -> Moving {
    let trained = method.trainable(model) as f64;
    let layers = method.layer_count(model.layers).max(1) as f64;
    Moving { gradients: trained, moments: 2.0 * trained, shifted: 2.0 * trained / layers }
}

/// The same of what belongs to no block.
pub(crate) fn as_a_whole(method: &MethodConfig, model: &ModelReport) -> Moving {
    let trained = method.trainable(model) as f64;
    Moving { gradients: trained, moments: 2.0 * trained, shifted: 2.0 * trained }
}

/// The usual settings are those of the paper, or it has none that is the same for all models.
pub(crate) fn as_usual(usual: MethodConfig, _: &ModelReport) -> MethodConfig {
    usual
}

/// Whatever it is listed beside.
pub(crate) fn beside_any(_: &Methods, _: IstMode) -> Result<(), Problem> {
    Ok(())
}

/// Its layers share nothing.
pub(crate) fn shares_nothing(_: &MethodConfig, _: &Entered<'_>, _: &mut Shared) -> Result<(), Problem> {
    Ok(())
}

/// It stays what it is.
pub(crate) fn as_it_is(method: &MethodConfig) -> MethodConfig {
    method.clone()
}
