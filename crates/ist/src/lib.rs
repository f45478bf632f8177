//! Importance-aware sparse tuning: score, sample, hook.
