//! Query parameters identify nobody.
#![no_main]

use std::sync::LazyLock;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<std::sync::Mutex<Target>> = LazyLock::new(|| Target::default().into());

fuzz_target!(|bytes: &[u8]| {
    let target = TARGET
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for prefix in ["/?", "/?access_token=", "/?thread="] {
        if let Ok(request) = http::Request::builder()
            .uri(format!("{prefix}{text}"))
            .body(())
        {
            assert_eq!(target.user(request, false), None, "nobody signed it");
        }
    }
});
