//! Pictures of the page, for people to look at.

use std::path::PathBuf;

use crate::page::Page;

/// Takes pictures at a stage, narrow and wide, light and dark, if `STRATUNE_SCREENSHOTS` names a folder for them.
pub async fn take(page: &Page, stage: &str) {
    let Some(folder) = std::env::var_os("STRATUNE_SCREENSHOTS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    for scheme in ["dark", "light"] {
        page.prefer(scheme).await;
        for width in [380, 1280] {
            let name = format!("{stage}-{width}-{scheme}.png");
            std::fs::write(folder.join(name), page.picture(width).await).unwrap();
        }
    }
}
