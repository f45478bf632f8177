//! Small favours of the browser: the address, storage, downloads, the clipboard, the clock.

use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, BlobPropertyBag, FileSystemDirectoryHandle, FileSystemFileHandle, HtmlAnchorElement, Url, UrlSearchParams,
};

pub use leptos::prelude::{document, window};

/// Milliseconds since 1970.
pub fn now() -> f64 {
    js_sys::Date::now()
}

/// What the clock on the wall will say so many seconds from now, such as `14:05`.
pub fn clock_in(seconds: f64) -> String {
    let then = js_sys::Date::new(&(now() + 1000.0 * seconds).into());
    format!("{}:{:02}", then.get_hours(), then.get_minutes())
}

/// What the browser calls itself.
pub fn agent() -> String {
    window().navigator().user_agent().unwrap_or_default()
}

/// A parameter of the address.
pub fn parameter(name: &str) -> Option<String> {
    let search = window().location().search().ok()?;
    UrlSearchParams::new_with_str(&search).ok()?.get(name)
}

/// The part of the address after `#`.
pub fn hash() -> String {
    window().location().hash().unwrap_or_default()
}

/// Changes the part of the address after `#` without a step in the history.
pub fn set_hash(hash: &str) {
    let location = window().location();
    let (Ok(path), Ok(search)) = (location.pathname(), location.search()) else { return };
    let address = if hash.is_empty() { format!("{path}{search}") } else { format!("{path}{search}#{hash}") };
    // A page without an origin of its own may not change its address; nothing depends on it.
    if let Ok(history) = window().history() {
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&address));
    }
}

/// The address of the hub, as whoever serves this page has it.
pub fn hub() -> String {
    let named = document().query_selector("meta[name=hub]").ok().flatten();
    named.and_then(|meta| meta.get_attribute("content")).unwrap_or_default()
}

/// Asks the browser not to clear this page's storage by itself.
pub fn keep_storage() {
    let storage = window().navigator().storage();
    // Undefined on pages without a secure origin. Whether it is granted is the browser's to say, and changes nothing here.
    if !storage.is_undefined() {
        drop(storage.persist());
    }
}

/// A remembered preference.
pub fn remembered(key: &str) -> Option<String> {
    window().local_storage().ok()??.get_item(key).ok()?
}

/// Remembers a preference, where the browser lets it.
pub fn remember(key: &str, value: Option<&str>) {
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = match value {
            Some(value) => storage.set_item(key, value),
            None => storage.remove_item(key),
        };
    }
}

/// Whether the system asks for dark pages.
pub fn system_is_dark() -> bool {
    window().match_media("(prefers-color-scheme: dark)").ok().flatten().is_some_and(|m| m.matches())
}

/// Bytes as a file.
pub fn blob(media_type: &str, bytes: Option<&Uint8Array>) -> Option<Blob> {
    let options = BlobPropertyBag::new();
    options.set_type(media_type);
    Blob::new_with_u8_array_sequence_and_options(&bytes.into_iter().collect::<Array>(), &options).ok()
}

/// A file in the browser's private storage, by its folder and its name: it stays on the disk.
pub async fn stored([folder, name]: &[String; 2]) -> Option<Blob> {
    let root = JsFuture::from(window().navigator().storage().get_directory()).await.ok()?;
    let root: FileSystemDirectoryHandle = root.unchecked_into();
    let folder: FileSystemDirectoryHandle =
        JsFuture::from(root.get_directory_handle(folder)).await.ok()?.unchecked_into();
    let file: FileSystemFileHandle = JsFuture::from(folder.get_file_handle(name)).await.ok()?.unchecked_into();
    Some(JsFuture::from(file.get_file()).await.ok()?.unchecked_into())
}

/// Hands a file to the person.
pub fn download(name: &str, file: &Blob) -> Option<()> {
    let address = Url::create_object_url_with_blob(file).ok()?;
    let link: HtmlAnchorElement = document().create_element("a").ok()?.dyn_into().ok()?;
    link.set_href(&address);
    link.set_download(name);
    link.click();
    // The download has begun when `click` returns, but some browsers read the address a little later.
    leptos::prelude::set_timeout(move || drop(Url::revoke_object_url(&address)), std::time::Duration::from_secs(60));
    Some(())
}

/// Copies text; false where the browser refuses.
pub async fn copy(text: &str) -> bool {
    let clipboard = window().navigator().clipboard();
    // Undefined on pages without a secure origin.
    !clipboard.is_undefined() && JsFuture::from(clipboard.write_text(text)).await.is_ok()
}
