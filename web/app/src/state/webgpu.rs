//! What the browser's GPU is worth, and how to turn it on where there is none.

/// What the browser offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// Nothing.
    None,
    /// A GPU imitated by the CPU, and its name.
    Software(String),
    /// A GPU.
    Hardware,
}

/// Whether an adapter's description is that of a GPU imitated in software.
pub fn is_software(description: &str) -> bool {
    let text = description.to_lowercase();
    ["swiftshader", "llvmpipe", "lavapipe", "softpipe", "basic render", "warp"].iter().any(|name| text.contains(name))
}

/// How to turn WebGPU on in the browser that calls itself `agent`.
pub fn advice(agent: &str) -> &'static str {
    // Order matters: Edge and Chrome both name Safari, Chrome on iOS is Safari inside.
    if agent.contains("Firefox/") {
        "WebGPU needs Firefox 141 or later on Windows, or a recent one on a Mac; elsewhere use Chrome or Edge"
    } else if agent.contains("iPhone") || agent.contains("iPad") {
        "WebGPU needs iOS 26 or later"
    } else if agent.contains("Linux") && agent.contains("Chrome/") && !agent.contains("Android") {
        "to use the GPU, open chrome://flags/#enable-unsafe-webgpu, choose Enabled and restart the browser"
    } else if agent.contains("Chrome/") {
        "WebGPU needs Chrome or Edge 113 or later, with graphics acceleration turned on in the browser's settings"
    } else if agent.contains("Safari/") {
        "WebGPU needs Safari 26 or later"
    } else {
        "a recent Chrome, Edge, Safari or Firefox can use the GPU"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_is_recognised() {
        for (text, software) in [
            ("google swiftshader  SwiftShader Device (Subzero)", true),
            ("mesa llvmpipe (LLVM 19)", true),
            ("Microsoft Basic Render Driver", true),
            ("apple metal-3 Apple M2", false),
            ("nvidia ampere", false),
            ("", false),
        ] {
            assert_eq!(is_software(text), software, "{text}");
        }
    }

    #[test]
    fn advice_fits_the_browser() {
        for (agent, word) in [
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36", "flags"),
            ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "113"),
            ("Mozilla/5.0 (Macintosh) AppleWebKit/605 Version/18.0 Safari/605", "Safari 26"),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18) CriOS/140 Safari/604", "iOS 26"),
            ("Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0", "141"),
            ("curl/8", "recent"),
        ] {
            assert!(advice(agent).contains(word), "{agent}");
        }
    }
}
