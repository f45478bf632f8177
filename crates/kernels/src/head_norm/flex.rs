//! Norms of heads on the CPU, of their parts there.

use burn::backend::Flex;

use super::reference::HeadNormOps;

impl HeadNormOps for Flex {}
