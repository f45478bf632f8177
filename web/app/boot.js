// Starts the page. A file of its own, so that the page needs no inline script.
import init from "./stratune-app.js";

init({ module_or_path: "./stratune-app_bg.wasm" }).catch((error) => {
  const starting = document.getElementById("starting");
  if (starting) {
    starting.textContent = `The page could not start: ${error}. It needs a browser with WebAssembly.`;
  }
});
