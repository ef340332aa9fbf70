//! Query parameters identify nobody.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let target = fuzz::target();
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
