//! Takes a response apart into places that can be compared.

use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use super::state::Step;
use crate::testing::isolation::{End, unpacked_body};

/// A text with more words is compared as one.
const MOST_WORDS: usize = 4_096;
/// Headers that are not compared. The first follows from the body; the others are of the clock: two
/// runs in the same second agree in them, and a third does not.
const NOT_COMPARED: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::DATE,
    header::AGE,
    header::EXPIRES,
];

/// A place in a response and what stands there.
pub(super) type Place = (String, String);

/// Returns the places of a response, in the order in which a difference is worth to be told.
pub(super) fn places(step: &Step) -> Vec<Place> {
    let mut places = Vec::new();
    let status = match (&step.end, step.answer.status) {
        (End::Failed(error), _) => format!("failed: {error}"),
        (End::Panicked(message), _) => format!("panicked: {message}"),
        (_, Some(status)) => status.as_str().to_owned(),
        (_, None) => "none".to_owned(),
    };
    places.push(("status".to_owned(), status));
    let body = unpacked_body(&step.answer);
    match serde_json::from_slice(&body) {
        _ if is_grpc(&step.answer.headers) => messages(&body, &mut places),
        Ok(value @ (Value::Object(_) | Value::Array(_))) => json("$", &value, &mut places),
        _ => match std::str::from_utf8(&body) {
            Ok(text) if text.split_whitespace().count() <= MOST_WORDS => words(text, &mut places),
            _ => places.push(("body".to_owned(), body.escape_ascii().to_string())),
        },
    }
    fields("header", &step.answer.headers, &mut places);
    fields("trailer", &step.answer.trailers, &mut places);
    places
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Adds each message of a gRPC body, which stands behind five bytes: a flag and the length.
fn messages(mut body: &[u8], places: &mut Vec<Place>) {
    let mut number = 1;
    while let Some((&[_, a, b, c, d], rest)) = body.split_first_chunk() {
        let length = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let (message, rest) = rest.split_at(length);
        places.push((
            format!("message {number}"),
            message.escape_ascii().to_string(),
        ));
        number += 1;
        body = rest;
    }
    if !body.is_empty() {
        places.push((format!("message {number}"), body.escape_ascii().to_string()));
    }
}

fn fields(kind: &str, headers: &HeaderMap, places: &mut Vec<Place>) {
    for name in headers.keys().filter(|name| !NOT_COMPARED.contains(name)) {
        let values = headers
            .get_all(name)
            .iter()
            .map(|value| value.as_bytes().escape_ascii().to_string());
        places.push((
            format!("{kind} {name}"),
            values.collect::<Vec<_>>().join(", "),
        ));
    }
}

/// Adds each value of a JSON document by its path, as RFC 9535 writes them.
fn json(path: &str, value: &Value, places: &mut Vec<Place>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let plain = name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                let path = if plain {
                    format!("{path}.{name}")
                } else {
                    format!("{path}[{name:?}]")
                };
                json(&path, value, places);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            places.push((format!("{path}.length"), items.len().to_string()));
            for (index, item) in items.iter().enumerate() {
                json(&format!("{path}[{index}]"), item, places);
            }
        }
        value => places.push((path.to_owned(), value.to_string())),
    }
}

/// Adds each word of a text by its line and its place in it.
fn words(text: &str, places: &mut Vec<Place>) {
    for (line, text) in (1..).zip(text.lines()) {
        let separator = |char: char| !char.is_alphanumeric() && !matches!(char, '-' | '_' | '.');
        for (word, text) in (1..).zip(text.split(separator).filter(|word| !word.is_empty())) {
            places.push((format!("line {line}, word {word}"), text.to_owned()));
        }
    }
}

/// Returns a place without the numbers of items in lists: what differs from run to run in one item
/// may do so in each.
pub(super) fn of_all_items(place: &str) -> String {
    let mut all = String::with_capacity(place.len());
    let mut rest = place;
    while let Some((before, after)) = rest.split_once('[') {
        all.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        all.push_str(if digits > 0 { "[*" } else { "[" });
        rest = &after[digits..];
    }
    all + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_grpc_is_a_place() {
        for (body, expected) in [
            (&b""[..], &[][..]),
            (b"\0\0\0\0\x02ab\0\0\0\0\0", &["ab", ""]),
            // Cut off in a message, and before one.
            (b"\0\0\0\0\x09ab", &["ab"]),
            (b"\0\0\0\0\x01a\x01\0", &["a", "\\x01\\x00"]),
        ] {
            let mut found = Vec::new();
            messages(body, &mut found);
            let found: Vec<&str> = found.iter().map(|(_, value)| value.as_str()).collect();
            assert_eq!(found, expected, "{body:?}");
        }
    }

    #[test]
    fn documents_and_texts_have_places() {
        let mut found = Vec::new();
        json(
            "$",
            &serde_json::json!({"n": 1, "items": [{"a-b": "x"}, []]}),
            &mut found,
        );
        words("hello user-1,\n<b>you</b>", &mut found);
        let mut found: Vec<String> = found
            .iter()
            .map(|(place, value)| format!("{place}={value}"))
            .collect();
        // The order of members is that of `serde_json`'s features.
        found.sort();
        let expected = [
            "$.items.length=2",
            "$.items[0][\"a-b\"]=\"x\"",
            "$.items[1]=[]",
            "$.n=1",
            "line 1, word 1=hello",
            "line 1, word 2=user-1",
            "line 2, word 1=b",
            "line 2, word 2=you",
            "line 2, word 3=b",
        ];
        assert_eq!(found, expected);
        assert_eq!(of_all_items("$.items[12].tags[0]"), "$.items[*].tags[*]");
        assert_eq!(of_all_items("$[\"a\"]"), "$[\"a\"]");
    }
}
