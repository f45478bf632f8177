//! The searchers: a file each.

mod bipeft;
mod evolution;
mod fixed;
mod gumbel;
mod pruning;
mod s3delta;
mod scored;

pub use bipeft::Bipeft;
pub use s3delta::S3Delta;

use stratune_protocol::{Problem, SearchBy};
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
        SearchBy::Bipeft => Box::new(Bipeft::new(&search, space, seed)),
        SearchBy::S3delta => Box::new(S3Delta::new(&search, space)),
        SearchBy::Evolution => Box::new(evolution::Evolution::new(&search)),
        SearchBy::Magnitude => Box::new(scored::Scored::new(scored::By::Magnitude)),
        SearchBy::GradientNorm => Box::new(scored::Scored::new(scored::By::GradientNorm)),
        SearchBy::Random => Box::new(Fixed::each(space, |space| Ok(fixed::random(space, seed)))?),
        SearchBy::Uniform => Box::new(Fixed::each(space, fixed::uniform)?),
        SearchBy::S4 => Box::new(Fixed::each(space, |space| Ok(fixed::s4(space)))?),
        SearchBy::Ist => Box::new(Fixed::each(space, |space| fixed::of_blocks(space, &search.scores))?),
    })
}

/// 1 for each module that is there.
pub(crate) fn there(sizes: &[usize]) -> Vec<f32> {
    sizes.iter().map(|size| if *size > 0 { 1.0 } else { 0.0 }).collect()
}
