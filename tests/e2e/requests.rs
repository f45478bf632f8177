//! The browser's record of requests: what the page and its workers asked for, and where.

use serde_json::Value;

/// Addresses that the page at `origin` asked for, its workers included. What the browser asks on its own account has no
/// page's origin as its initiator.
pub fn of_page(record: &Value, origin: &str) -> Vec<String> {
    let events = record["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parameters = events.iter().map(|event| &event["params"]);
    parameters.filter(|p| p["initiator"] == origin).filter_map(|p| p["url"].as_str()).map(str::to_string).collect()
}

/// Whether an address is at `origin`, or inside the page itself.
pub fn stays_at(url: &str, origin: &str) -> bool {
    let inside = url.strip_prefix("blob:").unwrap_or(url);
    url.starts_with("data:") || inside.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/'))
}

#[test]
fn requests_are_told_apart() {
    let origin = "http://127.0.0.1:8080";
    let record = serde_json::json!({ "events": [
        { "params": { "initiator": origin, "url": "http://127.0.0.1:8080/a.wasm" } },
        { "params": { "initiator": origin, "url": "https://example.org/count" } },
        { "params": { "initiator": "not an origin", "url": "https://example.org/update" } },
        { "params": { "url": "https://example.org/" } },
        {},
    ] });
    assert_eq!(of_page(&record, origin), ["http://127.0.0.1:8080/a.wasm", "https://example.org/count"]);
    for (url, stays) in [
        ("http://127.0.0.1:8080/a.wasm", true),
        ("blob:http://127.0.0.1:8080/1-2", true),
        ("data:text/plain,x", true),
        ("http://127.0.0.1:80801/a", false),
        ("http://127.0.0.1:8080.example.org/", false),
        ("ws://127.0.0.1:8080/", false),
        ("https://example.org/", false),
    ] {
        assert_eq!(stays_at(url, origin), stays, "{url}");
    }
}
