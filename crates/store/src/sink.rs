//! Where files go that are written from their first byte to their last: a disk, memory, or what a page has.

use futures::future::LocalBoxFuture;
use stratune_protocol::Problem;

/// Takes files one after another, each in parts, so that none of them is ever whole in memory.
pub trait Sink {
    /// Begins the file of this name; the one before is complete.
    ///
    /// # Errors
    /// The name is none of a file in the folder, or it cannot be written.
    fn begin<'a>(&'a mut self, name: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>>;

    /// The next bytes of the file that was begun.
    ///
    /// # Errors
    /// They cannot be written.
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> LocalBoxFuture<'a, Result<(), Problem>>;
}

/// Files in memory: for small ones, and tests.
#[derive(Clone, Debug, Default)]
pub struct MemorySink {
    /// Names and bytes, in the order in which they came.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Sink for MemorySink {
    fn begin<'a>(&'a mut self, name: &'a str) -> LocalBoxFuture<'a, Result<(), Problem>> {
        self.files.push((name.into(), Vec::new()));
        Box::pin(async { Ok(()) })
    }

    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> LocalBoxFuture<'a, Result<(), Problem>> {
        if let Some((_, file)) = self.files.last_mut() {
            file.extend_from_slice(bytes);
        }
        Box::pin(async { Ok(()) })
    }
}

/// Writes a file that is whole in memory.
///
/// # Errors
/// The sink does not take it.
pub async fn write_whole(sink: &mut dyn Sink, name: &str, bytes: &[u8]) -> Result<(), Problem> {
    sink.begin(name).await?;
    sink.write(bytes).await
}
