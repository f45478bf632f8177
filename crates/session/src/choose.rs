//! Which device a run computes on, and why.

use stratune_kernels::{Sizes, compute_dtypes, self_test};
use stratune_protocol::{ComputeDtype, DeviceChoice, Problem};
use stratune_runtime::{Opened, open_cpu, open_cuda, open_wgpu};

/// Opens the device that is asked for and tests its arithmetic. `auto` takes a hardware GPU that passes, else the CPU;
/// a software adapter is taken only when `wgpu` is asked for by name. `info.why` says what happened.
///
/// # Errors
/// The device is not there, or computes wrongly.
pub async fn open_device(choice: DeviceChoice) -> Result<Opened, Problem> {
    match choice {
        DeviceChoice::Cpu => tested(open_cpu()?, "asked for").await,
        DeviceChoice::Wgpu => tested(open_wgpu().await?, "asked for").await,
        DeviceChoice::Cuda(index) => tested(open_cuda(index)?, "asked for").await,
        DeviceChoice::Auto => {
            let why_not = match open_wgpu().await {
                Ok(opened) if opened.info.software => {
                    format!("{} is a software GPU, slower than the CPU itself", opened.info.name)
                }
                Ok(opened) => match tested(opened, "a hardware GPU that passes the self-test").await {
                    Ok(opened) => return Ok(opened),
                    Err(problem) => problem.what,
                },
                Err(problem) => problem.what,
            };
            tested(open_cpu()?, &why_not).await
        }
    }
}

/// Refuses what the device does not multiply in, and tests it otherwise, for a run whose sizes are not tested.
///
/// # Errors
/// The device does not have this dtype, or computes wrongly in it.
pub async fn test_compute(opened: &Opened, compute: ComputeDtype) -> Result<(), Problem> {
    compute.check(&opened.info.compute)?;
    if compute == ComputeDtype::F32 {
        return Ok(());
    }
    let sizes = Sizes { compute, ..Sizes::default() };
    self_test(&opened.device, &sizes).await.map_err(|fault| fault.of(&opened.info.name))
}

async fn tested(mut opened: Opened, why: &str) -> Result<Opened, Problem> {
    self_test(&opened.device, &Sizes::default()).await.map_err(|fault| fault.of(&opened.info.name))?;
    opened.info.why = why.to_string();
    opened.info.compute = compute_dtypes(&opened.device);
    Ok(opened)
}
