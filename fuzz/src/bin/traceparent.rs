//! Trace context, good or bad, decides nothing about who the user is.
#![no_main]

use std::sync::LazyLock;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<std::sync::Mutex<Target>> = LazyLock::new(|| Target::default().into());

fuzz_target!(|bytes: &[u8]| {
    let target = TARGET
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut request = http::Request::new(());
    request
        .headers_mut()
        .insert("x-user-id", http::HeaderValue::from_static("alice"));
    let Ok(value) = http::HeaderValue::from_bytes(bytes) else {
        return;
    };
    request.headers_mut().insert("traceparent", value);
    if let Some(user) = target.user(request, true) {
        assert!(user.contains("\"alice\""), "{user} is not alice");
    }
});
