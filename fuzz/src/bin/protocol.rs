//! A WebSocket's sub-protocols identify nobody.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let target = fuzz::target();
    for prefix in [&b""[..], b"bearer, ", b"bearer."] {
        let value = [prefix, bytes].concat();
        let user = target.user_of_header("sec-websocket-protocol", &value, false);
        assert_eq!(user, None, "nobody signed it");
    }
});
