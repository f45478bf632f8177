//! The feed-forward layer on the CPU, of its parts there.

use burn::backend::Flex;

use super::reference::FeedForwardOps;

impl FeedForwardOps for Flex {}
