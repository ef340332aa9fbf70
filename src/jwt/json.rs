//! JSON objects whose members are unique, read without a copy where none is needed.
//!
//! Which of two members counts is a question that two readers answer differently, so neither
//! counts (RFC 7515 section 4, RFC 8725 section 2.6).

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{Error as _, MapAccess, Visitor},
};

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Takes each member of an object as it comes.
pub(super) trait Members<'de> {
    /// Reads the value of the member `name` from `map`, exactly once.
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads all of `json` as one object into `members`.
pub(super) fn read_object<'de, M: Members<'de>>(
    json: &'de [u8],
    members: M,
) -> Result<M, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = serde::Deserializer::deserialize_map(
        &mut reader,
        Unique {
            members,
            _json: PhantomData,
        },
    )?;
    reader.end()?;
    Ok(read)
}

struct Unique<'de, M> {
    members: M,
    _json: PhantomData<&'de ()>,
}

impl<'de, M: Members<'de>> Visitor<'de> for Unique<'de, M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<M, A::Error> {
        let mut names: Vec<Cow<'de, str>> = Vec::with_capacity(8);
        while let Some(Text(name)) = map.next_key()? {
            self.members.member(&name, &mut map)?;
            names.push(name);
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom("a member comes twice"));
        }
        Ok(self.members)
    }
}
