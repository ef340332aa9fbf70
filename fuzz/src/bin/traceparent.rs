//! Trace context, good or bad, decides nothing about who the user is.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let target = fuzz::target();
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
