//! A cookie that nobody set is nobody's.
#![no_main]

use std::sync::LazyLock;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<std::sync::Mutex<Target>> = LazyLock::new(|| Target::default().into());

fuzz_target!(|bytes: &[u8]| {
    let target = TARGET
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for prefix in [&b""[..], b"token=", b"__Host-sid="] {
        let user = target.user_of_header("cookie", &[prefix, bytes].concat(), false);
        assert_eq!(user, None, "nobody set it");
    }
});
