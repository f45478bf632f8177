//! Attention over one input on the CPU, of its parts there.

use burn::backend::Flex;

use super::reference::SelfAttentionOps;

impl SelfAttentionOps for Flex {}
