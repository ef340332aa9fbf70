//! A token in `Authorization` that nobody signed is nobody's.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let target = fuzz::target();
    let value = [b"Bearer ", bytes].concat();
    let user = target.user_of_header("authorization", &value, false);
    assert_eq!(user, None, "nobody signed it");
});
