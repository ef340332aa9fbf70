//! Key sets as a hostile issuer may publish them, of 128 KiB and of a mebibyte, the most that is read.
//!
//! Instructions are the measure of a thread's time that does not depend on the machine.

use std::hint::black_box;

use tower_user_scope::jwt::{HttpsFetch, KeySet};

use crate::case::Case;

/// RFC 8037, appendix A.2.
const GOOD: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// What a document is full of: its name, what stands before, what is repeated, and what stands after.
type Filling = (&'static str, &'static str, &'static str, &'static str);

/// Each has a good key, but for the last two.
pub const FILLINGS: [Filling; 9] = [
    ("numbers", r#"{"keys":[GOOD"#, ",1", "]}"),
    ("a_key_of_numbers", r#"{"keys":[GOOD,{"x":[1"#, ",1", "]}]}"),
    (
        "a_key_of_objects",
        r#"{"keys":[GOOD,{"x":[1"#,
        r#",{"":0}"#,
        "]}]}",
    ),
    (
        "a_key_of_members",
        r#"{"keys":[GOOD,{"":0"#,
        r#","x":0"#,
        "}]}",
    ),
    ("a_long_id", r#"{"keys":[GOOD,{"kid":""#, "x", r#""}]}"#),
    ("escapes", r#"{"keys":[GOOD,{"kid":""#, r"\n", r#""}]}"#),
    (
        "a_long_modulus",
        r#"{"keys":[GOOD,{"kty":"RSA","e":"AQAB","n":""#,
        "x",
        r#""}]}"#,
    ),
    ("one_key_again_and_again", r#"{"keys":[GOOD"#, ",GOOD", "]}"),
    ("arrays_in_arrays", r#"{"keys":["#, "[", ""),
];

/// The sizes of the documents in bytes.
pub const SIZES: [usize; 2] = [HttpsFetch::MAX_LEN / 8, HttpsFetch::MAX_LEN];

/// Reads a document, by a name such as `document_numbers_131072`.
#[must_use]
pub fn named(name: &str) -> Option<Case> {
    let (filling, size) = name.strip_prefix("document_")?.rsplit_once('_')?;
    let size: usize = size.parse().ok()?;
    let (_, before, element, after) = FILLINGS.into_iter().find(|(name, ..)| *name == filling)?;
    let [before, element] = [before, element].map(|text| text.replace("GOOD", GOOD));
    let copies = (size - before.len() - after.len()) / element.len();
    let document = format!("{before}{}{after}", element.repeat(copies));
    Some(Case::of(move |times| {
        for _ in 0..times {
            drop(black_box(KeySet::from_jwks(black_box(&document))));
        }
    }))
}
