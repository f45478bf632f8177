//! Bytes in and out: model folders, adapters in PEFT's format, checkpoints; disk, memory and the browser's private files.
