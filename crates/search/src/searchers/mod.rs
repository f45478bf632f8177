//! The searchers: a file each.

mod autopeft;
mod bipeft;
mod choices;
mod evolution;
mod fixed;
mod gaussian_process;
mod gumbel;
mod pruning;
mod s3delta;
mod scored;

pub use bipeft::Bipeft;
pub use s3delta::S3Delta;

use stratune_protocol::{Problem, SearchBy, SearchConfig};
use stratune_train::RunConfig;

use fixed::Fixed;

use crate::Space;
use crate::searcher::Searcher;

/// The searcher of a configuration.
///
/// # Errors
/// It cannot work on this space.
pub(crate) fn searcher(config: &RunConfig, space: &Space) -> Result<Box<dyn Searcher>, Problem> {
    let search = config.search.clone().unwrap_or_default();
    let seed = config.train.seed;
    Ok(match search.by {
        SearchBy::Bipeft => Box::new(Bipeft::new(&search, space, seed)?),
        SearchBy::S3delta => Box::new(S3Delta::new(&search, space)?),
        SearchBy::Evolution => Box::new(evolution::Evolution::new(&search)),
        SearchBy::Autopeft => Box::new(autopeft::AutoPeft::new(&search, space)?),
        SearchBy::Magnitude => Box::new(scored::Scored::new(scored::By::Magnitude)),
        SearchBy::GradientNorm => Box::new(scored::Scored::new(scored::By::GradientNorm)),
        SearchBy::Random => Box::new(Fixed::each(space, |space| Ok(fixed::random(space, seed)))?),
        SearchBy::Uniform => Box::new(Fixed::each(space, fixed::uniform)?),
        SearchBy::S4 => Box::new(Fixed::each(space, |space| Ok(fixed::s4(space)))?),
        SearchBy::Ist => Box::new(Fixed::each(space, |space| fixed::of_blocks(space, &search.scores))?),
    })
}

/// What each module's logit is at the start: `prior · (s − mean)/deviation` of its block's score s among all blocks' (0 where all
/// are the same, and for what is in no block); 0 without scores.
///
/// # Errors
/// There is not one score for each block.
fn prior(search: &SearchConfig, space: &Space) -> Result<Vec<f64>, Problem> {
    if search.scores.is_empty() {
        return Ok(vec![0.0; space.modules.len()]);
    }
    let scores = fixed::scores_of_modules(space, &search.scores)?;
    let all: Vec<f64> = search.scores.iter().map(|score| f64::from(*score)).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let middle = mean(&all);
    let deviation = mean(&all.iter().map(|score| (score - middle).powi(2)).collect::<Vec<_>>()).sqrt();
    let of = |score: f64| {
        let logit = search.prior * (score - middle) / deviation;
        if logit.is_finite() { logit } else { 0.0 }
    };
    Ok(scores.into_iter().map(of).collect())
}

/// 1 for each module that is there.
pub(crate) fn there(sizes: &[usize]) -> Vec<f32> {
    sizes.iter().map(|size| if *size > 0 { 1.0 } else { 0.0 }).collect()
}
