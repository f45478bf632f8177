//! Where the bytes of a file are put while it comes.

use stratune_protocol::Problem;

/// A file that is not whole yet, on a disk or in a browser's storage.
pub trait Part {
    /// Bytes that are there, of this and of earlier downloads.
    fn size(&self) -> u64;

    /// Reads bytes from `at` on into `bytes`; gives how many, 0 at the end.
    ///
    /// # Errors
    /// The storage fails.
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<usize, Problem>;

    /// Puts bytes at the end.
    ///
    /// # Errors
    /// The storage fails, or is full.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Problem>;

    /// Drops all bytes.
    ///
    /// # Errors
    /// The storage fails.
    fn clear(&mut self) -> Result<(), Problem>;
}
