//! JSON objects whose members are unique, read strictly and without a copy where none is needed.
//!
//! Which of two members counts is a question that two readers answer differently, so neither
//! counts (RFC 7515 section 4, RFC 8725 section 2.6). A member is parsed when it is asked for,
//! so that one that nobody asks for may be of any type.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer as _, Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of an object, sorted by name.
#[derive(Default)]
pub(super) struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// The bytes are not one JSON object in UTF-8 with unique members.
#[derive(Debug)]
pub(super) struct NotStrict;

impl<'a> Object<'a> {
    /// Reads all of `json` as one object.
    ///
    /// It has to be UTF-8 in every place, also inside of strings that nobody reads (RFC 7519
    /// section 7.2, steps 3 and 10), and no string may have a half of a surrogate pair, which
    /// UTF-8 can't encode (RFC 8259 section 8.2).
    pub(super) fn read(json: &'a [u8]) -> Result<Self, NotStrict> {
        let text = std::str::from_utf8(json).map_err(|_| NotStrict)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let object = reader.deserialize_map(Unique).map_err(|_| NotStrict)?;
        reader.end().map_err(|_| NotStrict)?;
        if has_half_of_a_pair(text) {
            return Err(NotStrict);
        }
        Ok(object)
    }

    /// Whether there is a member of this name, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The JSON text of a member's value. A member that is `null` counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.find(name).filter(|text| *text != "null")
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        let at = self
            .members
            .binary_search_by(|(known, _)| (**known).cmp(name))
            .ok()?;
        Some(self.members[at].1.get())
    }
}

/// The string that a JSON text is; `None` where it is something else.
pub(super) fn string(text: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(text)
        .ok()
        .map(|text| text.0)
}

/// The strings of a JSON array of them; `None` where it is something else.
pub(super) fn strings(text: &str) -> Option<Vec<Cow<'_, str>>> {
    let all = serde_json::from_str::<Vec<Text<'_>>>(text).ok()?;
    Some(all.into_iter().map(|text| text.0).collect())
}

/// Whether a JSON document has an escape for a surrogate without its other half.
///
/// Backslashes are in strings only, so that strings need not be told from the rest.
fn has_half_of_a_pair(json: &str) -> bool {
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        rest = &rest[at + 1..];
        match unit(rest) {
            Some(0xD800..=0xDBFF) => {
                let low = rest[5..].strip_prefix('\\').and_then(unit);
                if !matches!(low, Some(0xDC00..=0xDFFF)) {
                    return true;
                }
                rest = &rest[11..];
            }
            Some(0xDC00..=0xDFFF) => return true,
            // The escaped character itself may be a backslash.
            _ => rest = rest.get(1..).unwrap_or_default(),
        }
    }
    false
}

/// The UTF-16 code unit of an escape, from after its backslash.
fn unit(escape: &str) -> Option<u16> {
    u16::from_str_radix(escape.strip_prefix('u')?.get(..4)?, 16).ok()
}

struct Unique;

impl<'de> Visitor<'de> for Unique {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(8);
        while let Some(Text(name)) = map.next_key()? {
            members.push((name, map.next_value()?));
        }
        members.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(A::Error::custom("a member comes twice"));
        }
        Ok(Object { members })
    }
}

#[cfg(test)]
mod tests {
    use super::Object;

    #[test]
    fn what_is_not_utf_8_is_refused_in_every_place() {
        for (json, good) in [
            (&br#"{"a":"b"}"#[..], true),
            (b"{\"a\":\"\xc3\xbc\"}", true),
            (b"{\"a\":\"\xff\"}", false),
            (b"{\"\xff\":1}", false),
            (b"{\"a\":{\"b\":[\"\xc3\"]}}", false),
            // Overlong, a surrogate, beyond Unicode.
            (b"{\"a\":\"\xc0\xaf\"}", false),
            (b"{\"a\":\"\xed\xa0\x80\"}", false),
            (b"{\"a\":\"\xf4\x90\x80\x80\"}", false),
            (b"\xef\xbb\xbf{}", false),
            (b"{\0\"\0a\0\"\0:\x001\0}\0", false),
            (br#"{"a":"\ud83d\ude00"}"#, true),
            (br#"{"a":"\\ud83d"}"#, true),
            (br#"{"a":"\\\ud83d"}"#, false),
            (br#"{"a":"\ud83d"}"#, false),
            (br#"{"a":["\ud83dx"]}"#, false),
            (br#"{"a":"\ud83d\n"}"#, false),
            (br#"{"a":"\ud83d\ud83d\ude00"}"#, false),
            (br#"{"a":"\ude00\ud83d"}"#, false),
            (br#"{"a":"\uDE00"}"#, false),
            (br#"{"\ud83d":1}"#, false),
        ] {
            let read = Object::read(json);
            assert_eq!(read.is_ok(), good, "{}", String::from_utf8_lossy(json));
        }
    }

    #[test]
    fn a_value_that_nobody_asks_for_may_be_anything() {
        let json = br#"{"huge":1e999999,"deep":[[[[{"x":[null]}]]]],"null":null,"text":"t"}"#;
        let object = Object::read(json).expect("it is JSON");
        assert_eq!(object.get("huge"), Some("1e999999"));
        assert_eq!(object.get("null"), None);
        assert!(object.has("null") && !object.has("nul"));
        assert_eq!(object.get("text"), Some("\"t\""));
    }
}
