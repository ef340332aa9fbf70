//! Undoes the encodings in which a text may leave a service.

use std::{borrow::Cow, fmt, io::Read};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// What a compressed body may unpack to, and what is decoded at all.
const MOST_BYTES: u64 = 4 << 20;
/// How deep encodings are undone: base64 of percent-encoded text is two.
const DEPTH: usize = 2;
/// The first bytes of what gzip packed.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// Shorter runs of base64 or hexadecimal digits hold no mark.
const SHORTEST_RUN: usize = 12;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

type Decode = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

/// Functions of an application that undo other encodings.
#[derive(Default)]
pub(in crate::testing) struct Decoders(Vec<Decode>);

impl Decoders {
    pub(in crate::testing) fn add(&mut self, decode: impl Fn(&[u8]) -> Option<Vec<u8>> + 'static) {
        self.0.push(Box::new(decode));
    }

    pub(super) fn decoded(&self, bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().filter_map(move |decode| decode(bytes))
    }
}

impl fmt::Debug for Decoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoders").field(&self.0.len()).finish()
    }
}

/// Calls `look` with the bytes as they are, and with what they may encode.
pub(super) fn each_form(bytes: &[u8], look: &mut dyn FnMut(&[u8], &'static str)) {
    let bytes = &bytes[..bytes
        .len()
        .min(usize::try_from(MOST_BYTES).unwrap_or(usize::MAX))];
    look(bytes, "plain");
    decoded(bytes, "", DEPTH, look);
}

/// Returns the body as it was before `content-encoding`; as it is if it can't be unpacked.
pub(super) fn unpacked<'a>(body: &'a [u8], content_encoding: Option<&[u8]>) -> Cow<'a, [u8]> {
    let unpacked = match content_encoding {
        Some(b"gzip" | b"x-gzip") => gunzip(body),
        Some(b"deflate") => inflate(body),
        _ => None,
    };
    unpacked.map_or(Cow::Borrowed(body), Cow::Owned)
}

fn decoded(
    bytes: &[u8],
    outer: &'static str,
    depth: usize,
    look: &mut dyn FnMut(&[u8], &'static str),
) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let mut inner = |found: &[u8], form: &'static str| {
        if found.len() < SHORTEST_RUN / 2 {
            return;
        }
        let form = if outer.is_empty() { form } else { outer };
        look(found, form);
        decoded(found, form, depth, look);
    };
    if bytes.iter().any(|byte| matches!(byte, b'%' | b'&' | b'\\')) {
        let plain = unescaped(bytes);
        if plain != bytes {
            inner(&plain, "escaped");
        }
    }
    if bytes.contains(&0) {
        let ascii: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
        inner(&ascii, "UTF-16");
    }
    // One digit may stand before the first pair.
    for start in 0..2 {
        let plain = each_run(
            bytes,
            |byte| byte.is_ascii_hexdigit(),
            |run| from_hex(&run[start..]),
        );
        inner(&plain, "hexadecimal");
    }
    // The encoded text may begin anywhere in a run.
    for start in 0..4 {
        let plain = each_run(bytes, is_base64, |run| from_base64(&run[start..]));
        inner(&plain, "base64");
    }
    for at in bytes
        .windows(3)
        .enumerate()
        .filter_map(|(at, three)| (three == GZIP).then_some(at))
        .take(16)
    {
        if let Some(plain) = gunzip(&bytes[at..]) {
            inner(&plain, "gzip");
        }
    }
}

/// Decodes each long run of digits, and returns the results with a byte between them that is in no
/// text.
fn each_run(bytes: &[u8], of: fn(u8) -> bool, decode: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let runs = bytes.split(move |byte| !of(*byte));
    let mut plain = Vec::new();
    for run in runs.filter(|run| run.len() >= SHORTEST_RUN) {
        plain.extend(decode(run));
        plain.push(0xff);
    }
    plain
}

fn from_base64(run: &[u8]) -> Vec<u8> {
    // One digit alone is no byte.
    let run = &run[..run.len() - usize::from(run.len() % 4 == 1)];
    let run: Vec<u8> = run.iter().map(|byte| standard_alphabet(*byte)).collect();
    BASE64.decode(run).unwrap_or_default()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn standard_alphabet(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    }
}

fn from_hex(digits: &[u8]) -> Vec<u8> {
    let pairs = digits.chunks_exact(2);
    pairs
        .filter_map(|pair| number(pair, 16))
        .filter_map(|byte| u8::try_from(byte).ok())
        .collect()
}

/// Undoes `%2d`, `\u002d`, `\x2d`, `\/`, `&#45;` and `&#x2d;`, wherever they stand. What the
/// decoders of whole documents refuse is decoded too.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let (byte, len) = match rest {
            [b'%', ..] => (hex_after(rest, 1, 2), 3),
            [b'\\', b'u', ..] => (hex_after(rest, 2, 4), 6),
            [b'\\', b'x', ..] => (hex_after(rest, 2, 2), 4),
            [b'\\', byte @ (b'/' | b'"' | b'\\'), ..] => (Some(u32::from(*byte)), 2),
            [b'&', b'#', ..] => entity(rest),
            _ => (None, 1),
        };
        if let Some(char) = byte.and_then(char::from_u32) {
            plain.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[len..];
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

fn hex_after(bytes: &[u8], start: usize, digits: usize) -> Option<u32> {
    number(bytes.get(start..start + digits)?, 16)
}

/// Reads a numeric entity of HTML or XML, and returns its length.
fn entity(bytes: &[u8]) -> (Option<u32>, usize) {
    let Some(end) = bytes.iter().take(10).position(|byte| *byte == b';') else {
        return (None, 1);
    };
    let code = match &bytes[2..end] {
        [b'x' | b'X', digits @ ..] => number(digits, 16),
        digits => number(digits, 10),
    };
    (code, end + 1)
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    unpack(flate2::read::MultiGzDecoder::new(bytes))
}

/// `deflate` is zlib's format by RFC 9110 section 8.4.1.2; some send it without zlib's header.
fn inflate(bytes: &[u8]) -> Option<Vec<u8>> {
    unpack(flate2::read::ZlibDecoder::new(bytes))
        .or_else(|| unpack(flate2::read::DeflateDecoder::new(bytes)))
}

/// Unpacks what can be unpacked: a body that was cut is looked at too.
fn unpack(decoder: impl Read) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let read = decoder.take(MOST_BYTES).read_to_end(&mut plain);
    (read.is_ok() || !plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(bytes: &[u8]) -> Vec<&'static str> {
        let mut found = Vec::new();
        each_form(bytes, &mut |plain, form| {
            let plain = String::from_utf8_lossy(plain).to_lowercase();
            if plain.contains("secret-1-0011") && !found.contains(&form) {
                found.push(form);
            }
        });
        found
    }

    #[test]
    fn each_encoding_is_undone_wherever_it_begins() {
        let secret = "secret-1-0011";
        for before in ["", "a", "ab", "abc", "\"x\":\""] {
            let base64 = format!("{before}{}", BASE64.encode(secret));
            assert!(forms(base64.as_bytes()).contains(&"base64"), "{base64}");
            let hex: Vec<String> = secret.bytes().map(|byte| format!("{byte:02X}")).collect();
            let hex = hex.concat();
            assert!(
                forms(format!("{before}{hex}").as_bytes()).contains(&"hexadecimal"),
                "{before}{hex}"
            );
        }
        for escaped in [
            r"secret\u002d1-0011",
            r"\u0073\u0065\u0063\u0072\u0065\u0074\u002d1-0011",
            r"secret\x2d1\x2D0011",
            "secret%2D1%2d0011",
            "secret&#45;1&#x2D;0011",
        ] {
            assert_eq!(forms(escaped.as_bytes()), ["escaped"], "{escaped}");
        }
        let utf16: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(forms(&utf16), ["UTF-16"]);
        let nested = BASE64.encode("secret%2D1%2d0011");
        assert!(forms(nested.as_bytes()).contains(&"base64"), "{nested}");
    }

    #[test]
    fn odd_bytes_decode_to_something_without_a_panic() {
        for odd in [
            &b"%"[..],
            b"%e",
            b"\\u12",
            b"&#;",
            b"&#xffffffff;",
            b"\\",
            b"&#99999999999;",
            &[0x1f, 0x8b, 8, 1],
        ] {
            each_form(odd, &mut |_, _| {});
        }
    }
}
