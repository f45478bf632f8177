//! Opening devices, and saying what they are.

#[cfg(any(feature = "cuda", test))]
use std::path::{Path, PathBuf};

use burn::tensor::Device;
#[cfg(feature = "cpu")]
use stratune_protocol::Limits;
use stratune_protocol::{AdapterInfo, Problem, ProblemKind};

/// An open device and what it is.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Where tensors live.
    pub device: Device,
    /// What it is, for people. `why` is left to the caller.
    pub info: AdapterInfo,
}

#[cfg(not(all(feature = "cpu", feature = "wgpu", feature = "cuda")))]
fn not_built(device: &str) -> Problem {
    Problem::new(ProblemKind::Device, format!("this build has no {device} device"))
        .next(format!("build with the cargo feature '{device}', or choose another device"))
}

/// The CPU.
///
/// # Errors
/// This build has no CPU device.
pub fn open_cpu() -> Result<Opened, Problem> {
    #[cfg(feature = "cpu")]
    {
        let name = if cfg!(target_family = "wasm") { "CPU in this tab".into() } else { cpu_name() };
        let limits = Limits { memory: crate::free_memory(), buffer: None };
        let info = AdapterInfo { device: "cpu".into(), name, limits, ..AdapterInfo::default() };
        Ok(Opened { device: Device::flex(), info })
    }
    #[cfg(not(feature = "cpu"))]
    Err(not_built("cpu"))
}

#[cfg(feature = "cpu")]
fn cpu_name() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            text.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|p| p.1.trim().to_string()))
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

/// A reading begins when it is asked for, and other work goes on until it is there. Otherwise the engine would begin it
/// when the numbers are looked at, and wait.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn read_without_waiting() {
    burn_std::set_runtime_kind(burn_std::RuntimeKind::Async);
}

/// Keeps the Vulkan driver from asking for a display where there is none. Mesa's layer that selects a device opens one to learn
/// which GPU it is on, and each time a library writes an error on standard error.
///
/// Wanted by Mesa's VK_LAYER_MESA_device_select; it can go when that looks for a display before it opens one.
///
/// # Safety
/// No other thread reads or writes the environment meanwhile: to be called first of all in a program.
pub unsafe fn without_displays() {
    #[cfg(target_os = "linux")]
    if ["DISPLAY", "WAYLAND_DISPLAY"].iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty())) {
        // SAFETY: the caller's promise.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// The best GPU that wgpu offers: WebGPU in a browser, Vulkan, Metal or DirectX natively. A second call answers with
/// the device of the first, because a runtime can be set up once.
///
/// # Errors
/// There is no adapter, or it refuses, or this build has no wgpu.
pub async fn open_wgpu() -> Result<Opened, Problem> {
    #[cfg(feature = "wgpu")]
    return wgpu_device::open().await;
    #[cfg(not(feature = "wgpu"))]
    Err(not_built("wgpu"))
}

#[cfg(feature = "wgpu")]
mod wgpu_device {
    use burn::tensor::{Device, wgpu::wgpu};
    use futures::lock::Mutex;
    use stratune_protocol::{AdapterInfo, Limits, Problem, ProblemKind};

    use super::Opened;

    /// Dispatches that go to the queue together: a step has hundreds, and each time costs as much as several of them. More
    /// would leave the GPU idle while they are written down.
    const TOGETHER: usize = 128;

    /// The device, once there is one.
    static OPENED: Mutex<Option<Opened>> = Mutex::new(None);

    pub async fn open() -> Result<Opened, Problem> {
        // Held until the device is there: who asks meanwhile waits for it, as a second runtime would be refused.
        let mut there = OPENED.lock().await;
        if let Some(opened) = &*there {
            return Ok(opened.clone());
        }
        super::read_without_waiting();
        let (device, setup) =
            Device::wgpu_options().tasks_max(TOGETHER).init_with_setup_async().await.map_err(|e| {
                Problem::new(ProblemKind::Device, format!("no usable GPU: {e}"))
                    .next("update the graphics driver or the browser, or use the CPU device")
            })?;
        let adapter = setup.adapter.get_info();
        let software = adapter.device_type == wgpu::DeviceType::Cpu || is_software(&adapter.name);
        let name = if adapter.name.is_empty() { format!("{:?}", adapter.backend) } else { adapter.name };
        let limits = setup.device.limits();
        // WebGPU tells how large a buffer may be, and nothing of how much memory there is.
        let buffer = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let limits = Limits { memory: None, buffer: Some(buffer) };
        let info = AdapterInfo { device: "wgpu".into(), name, software, limits, ..AdapterInfo::default() };
        Ok(there.insert(Opened { device, info }).clone())
    }

    /// Software adapters by the names they give themselves; a browser does not always tell their type.
    fn is_software(name: &str) -> bool {
        let name = name.to_lowercase();
        ["swiftshader", "llvmpipe", "lavapipe", "softpipe", "basic render"].iter().any(|s| name.contains(s))
    }
}

/// The driver's library, as Linux and Windows call it.
#[cfg(feature = "cuda")]
const DRIVER: [&str; 3] = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];

/// Where the toolkit has what a card computes exponentials, logarithms and the like by. The engine's compiler reads it when a
/// kernel needs it, and ends the process where it is not.
#[cfg(any(feature = "cuda", test))]
const MATH: [&str; 2] = ["nvvm/libdevice", "libdevice.10.bc"];

/// The file in which the engine's compiler looks for it: in the folder that is named, else in the first of the usual ones
/// that has the place.
#[cfg(any(feature = "cuda", test))]
fn math_of_cuda(folder: Option<PathBuf>, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let [place, file] = MATH;
    let usual = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"].map(PathBuf::from);
    let folder = folder.or_else(|| usual.into_iter().find(|folder| exists(&folder.join(place))))?;
    Some(folder.join(place).join(file)).filter(|file| exists(file))
}

/// CUDA card number `index`.
///
/// # Errors
/// This build has no CUDA, or the machine has no driver for it, or not what its compiler needs.
pub fn open_cuda(index: usize) -> Result<Opened, Problem> {
    #[cfg(feature = "cuda")]
    {
        // Without the driver's library cudarc panics on a thread of its own; so it is looked for first.
        // SAFETY: loading the library runs its initialisers, as cudarc is about to have it do in any case.
        if !DRIVER.iter().any(|name| unsafe { libloading::Library::new(*name) }.is_ok()) {
            return Err(Problem::new(
                ProblemKind::Device,
                format!("there is no CUDA driver: none of {}", DRIVER.join(", ")),
            )
            .next("install NVIDIA's driver, or choose another device"));
        }
        let folder = std::env::var_os("CUDA_PATH").map(PathBuf::from);
        if math_of_cuda(folder, |path| path.exists()).is_none() {
            return Err(Problem::new(
                ProblemKind::Device,
                format!("CUDA's mathematics, {}, is not there", MATH.join("/")),
            )
            .at("CUDA_PATH")
            .next("install the CUDA toolkit, or unpack the wheel nvidia-cuda-nvcc-cu12 and name its folder"));
        }
        read_without_waiting();
        let info = AdapterInfo { device: "cuda".into(), name: format!("CUDA card {index}"), ..AdapterInfo::default() };
        Ok(Opened { device: Device::cuda(index), info })
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = index;
        Err(not_built("cuda"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Who asks while the device is being opened gets the same one, or is told the same.
    #[test]
    #[cfg(feature = "wgpu")]
    fn a_gpu_is_opened_once_for_all_who_ask() {
        let ask = || crate::block_on(open_wgpu()).map(|opened| opened.info.name).map_err(|problem| problem.what);
        let told = std::thread::scope(|threads| {
            [ask, ask, ask].map(|ask| threads.spawn(ask)).map(|thread| thread.join().unwrap())
        });
        assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    }

    #[test]
    fn the_mathematics_of_cuda_is_looked_for_where_the_compiler_does() {
        let [place, file] = MATH;
        let there = Path::new("/opt/cuda").join(place);
        let found = |folder: Option<&str>, others: &[&str]| {
            let exists = |path: &Path| path.starts_with(&there) || others.iter().any(|other| path == Path::new(other));
            math_of_cuda(folder.map(PathBuf::from), exists)
        };
        assert_eq!(found(None, &[]), Some(there.join(file)));
        assert_eq!(found(Some("/opt/cuda"), &[]), Some(there.join(file)));
        assert_eq!(found(Some("/elsewhere"), &[]), None);
        assert_eq!(found(None, &["/usr/local/cuda/nvvm/libdevice"]), None);
        assert_eq!(math_of_cuda(None, |_| false), None);
    }
}
