//! An identity header identifies somebody only where its sender is trusted.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let target = fuzz::target();
    let user = target.user_of_header("x-user-id", bytes, false);
    assert_eq!(user, None, "its sender is not trusted");
    if let Some(user) = target.user_of_header("x-user-id", bytes, true) {
        let text = std::str::from_utf8(bytes).expect("what is not text is nobody");
        let id = format!("{:?}", text.trim_matches([' ', '\t']));
        assert!(user.contains(&id), "{user} is not {id}");
    }
});
