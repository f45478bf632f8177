//! The files that an engine reads rows from.

use stratune_data::{ImageProcessor, SourceFile, is_image, is_packed};
use stratune_protocol::{DataConfig, Problem};
use stratune_store::Folder;

use crate::Assets;
use crate::starter::EXAMPLE;

/// The files in a folder, packed ones unpacked, images in the size of the model that reads them; without a folder, the example. Those are held out whose names `config` says.
///
/// # Errors
/// One cannot be read, or cannot be unpacked.
pub(crate) async fn rows_files(
    folder: Option<&dyn Folder>,
    config: &DataConfig,
    assets: &dyn Assets,
    images: Option<&ImageProcessor>,
) -> Result<Vec<SourceFile>, Problem> {
    let Some(folder) = folder else {
        return Ok(vec![SourceFile {
            name: format!("{}.jsonl", EXAMPLE.0),
            bytes: EXAMPLE.1.to_vec(),
            held_out: false,
        }]);
    };
    let mut files = Vec::new();
    for name in folder.names() {
        let mut bytes = folder.read(&name, None).await?;
        let image = images.filter(|_| is_image(&bytes));
        if image.is_some() || is_packed(&bytes, config.format) {
            bytes = assets.unpacked(&name, bytes, config.format).await?;
        }
        if let Some(processor) = image {
            // Of all of them no more is held than the model reads.
            bytes = processor.read(&name, &bytes)?.to_plain();
        }
        let held_out = config.validation_files.contains(&name);
        files.push(SourceFile { name, bytes, held_out });
    }
    Ok(files)
}
