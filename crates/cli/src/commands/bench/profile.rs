//! What the time of a step is spent on.

use serde::Serialize;
use stratune_protocol::Problem;
use stratune_runtime::{Profile, Stopwatch};

use super::measured::Measured;

/// Steps that are looked at.
pub const STEPS: usize = 5;

/// What is spent on one thing in a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// On what.
    pub name: &'static str,
    /// How many times.
    pub calls: f64,
    /// Seconds: of the device's kernels, or of a CPU.
    pub seconds: f64,
    /// Kernels launched on a GPU.
    pub launches: f64,
    /// Of the sum.
    pub share: f64,
}

/// Looks at some more steps of a trainer. A CPU's time is the host's, and what no span covers is the rest; a GPU's that
/// of its kernels, which are timed one by one, so that these steps are slower than others.
///
/// # Errors
/// The device fails.
pub async fn profile(one: &mut Measured, on_host: bool) -> Result<Vec<Share>, Problem> {
    let profile = Profile::begin();
    let clock = Stopwatch::start();
    for _ in 0..STEPS {
        one.step().await?;
    }
    let seconds = clock.seconds();
    let mut shares: Vec<Share> = Vec::new();
    for (name, spent) in profile.end().await {
        let seconds = if on_host { spent.host_seconds } else { spent.device_seconds };
        shares.push(Share {
            name,
            calls: spent.calls as f64 / STEPS as f64,
            seconds: seconds / STEPS as f64,
            launches: spent.launches as f64 / STEPS as f64,
            share: 0.0,
        });
    }
    if on_host {
        let covered: f64 = shares.iter().map(|s| s.seconds).sum();
        let seconds = seconds / STEPS as f64 - covered;
        shares.push(Share { name: "rest", calls: 0.0, seconds, launches: 0.0, share: 0.0 });
    }
    let sum: f64 = shares.iter().map(|s| s.seconds).sum();
    shares.iter_mut().for_each(|s| s.share = s.seconds / sum);
    shares.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok(shares)
}

/// The table.
pub fn print(shares: &[Share], on_host: bool) {
    let clock = if on_host { "the host's time" } else { "time of kernels, each timed by itself" };
    println!("{:32} ms a step   share   calls   launches   ({clock}; mean of {STEPS} steps)", "spent on");
    for Share { name, calls, seconds, launches, share } in shares {
        println!("{name:32} {:9.3}   {:4.1} %   {calls:5.0}   {launches:8.0}", 1e3 * seconds, 100.0 * share);
    }
}
