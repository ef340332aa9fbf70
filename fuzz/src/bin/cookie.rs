//! A cookie that nobody set is nobody's.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let target = fuzz::target();
    for prefix in [&b""[..], b"token=", b"__Host-sid="] {
        let user = target.user_of_header("cookie", &[prefix, bytes].concat(), false);
        assert_eq!(user, None, "nobody set it");
    }
});
