//! Files to rows, rows to templated and masked tokens, tokens to batches.
