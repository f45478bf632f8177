//! The methods, one a file.

mod adalora;
mod bitfit;
mod diff_pruning;
mod dora;
mod hiwi;
mod ia3;
mod lokr;
mod prefix;
mod ssf;
mod vera;

pub use adalora::Adalora;
pub use bitfit::Bias;
pub use diff_pruning::Diff;
pub use dora::Dora;
pub use hiwi::Hiwi;
pub use ia3::Ia3;
pub use lokr::{Kronecker, Second};
pub use prefix::Prefix;
pub use ssf::Ssf;
pub use vera::Vera;

use stratune_protocol::{MethodConfig, MethodKind};

use crate::sparse::check_share;
use crate::{Delta, Intrinsic, Lora, PeftError, Site, Sparse};

/// What `config` adds at `site`, drawn from the site's seed; nothing if the method enters elsewhere. `dimension` is the
/// length of the vector that DID and SAID share.
///
/// # Errors
/// The method does not fit the layer.
pub async fn delta_of(
    config: &MethodConfig,
    site: &Site,
    dimension: usize,
) -> Result<Option<Box<dyn Delta>>, PeftError> {
    Ok(Some(match config.kind {
        MethodKind::Lora | MethodKind::LoraPlus | MethodKind::Qlora => Box::new(Lora::new(config, site)?),
        MethodKind::Rslora => Box::new(Lora::new(config, site)?.scaled_by_the_root(config, site)),
        MethodKind::LoraFa => Box::new(Lora::new(config, site)?.with_a_as_drawn()),
        MethodKind::Dylora => Box::new(Lora::new(config, site)?.at_every_rank(config, site)),
        MethodKind::Pissa => Box::new(Lora::new(config, site)?.at_the_largest_directions(site).await?),
        MethodKind::Loftq => {
            let bits = config.bits.unwrap_or(4);
            Box::new(Lora::new(config, site)?.at_what_few_bits_lose(site, bits).await?)
        }
        MethodKind::Adalora => Box::new(Adalora::new(config, site)?),
        MethodKind::Dora => Box::new(Dora::new(config, site)?),
        MethodKind::Vera => Box::new(Vera::new(config, site)?),
        MethodKind::Lokr => Box::new(Kronecker::new(config, site)?),
        MethodKind::Did | MethodKind::Said => Box::new(Intrinsic::new(config, site, dimension)?),
        MethodKind::Ia3 => Box::new(Ia3::new(site)),
        MethodKind::Ssf => Box::new(Ssf::new(site)),
        MethodKind::Bitfit => Box::new(Bias::new(site)),
        MethodKind::Hiwi => Box::new(Hiwi::new(config, site).await?),
        MethodKind::Pafi => Box::new(Sparse::new(config, site)?.at_the_smallest(site).await?),
        MethodKind::RandomMask => Box::new(Sparse::new(config, site)?.at_random(site)),
        MethodKind::Shira => Box::new(Sparse::of_rank(config, site)?),
        MethodKind::Fish | MethodKind::LtSft => Box::new(Sparse::new(config, site)?),
        MethodKind::DiffPruning => {
            check_share(config.share.unwrap_or(0.0), site.shape())?;
            Box::new(Diff::new(config, site))
        }
        MethodKind::Houlsby
        | MethodKind::Pfeiffer
        | MethodKind::Parallel
        | MethodKind::Compacter
        | MethodKind::SparseAdapter
        | MethodKind::Prefix
        | MethodKind::Prompt
        | MethodKind::Ladder
        | MethodKind::LayerNorm
        | MethodKind::ChildTuning
        | MethodKind::Lisa
        | MethodKind::Galore
        | MethodKind::Full => return Ok(None),
    }))
}
