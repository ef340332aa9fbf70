//! Which HMAC secrets are no secrets.

/// Whether somebody who tries the obvious finds the secret, however long it is.
///
/// How random bytes are can't be seen from them. What can be seen is refused here: a text from
/// somebody's documentation, a short piece over and over, a count, and few different bytes. A
/// secret of 32 or more random bytes, also in hexadecimal, base64 or decimal digits, is none of
/// these but with a probability below 2^-20.
pub(super) fn is_guessable(secret: &[u8]) -> bool {
    is_published(secret) || is_repeated(secret) || is_count(secret) || has_few_bytes(secret)
}

/// Secrets that documents and templates show, and attackers' lists have.
const PUBLISHED: [&str; 5] = [
    // jwt.io's debugger.
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
    // Supabase's `.env.example`.
    "your-super-secret-jwt-token-with-at-least-32-characters-long",
    "super-secret-jwt-token-with-at-least-32-characters-long",
    // PostgREST's tutorial and those that follow it.
    "reallyreallyreallyreallyverysafe",
];

fn is_published(secret: &[u8]) -> bool {
    PUBLISHED
        .iter()
        .any(|known| secret.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a piece of fewer than 16 bytes comes over and over.
fn is_repeated(secret: &[u8]) -> bool {
    (1..16)
        .any(|period| secret.len() > period && secret[period..] == secret[..secret.len() - period])
}

/// Whether each byte is as far from the one before.
fn is_count(secret: &[u8]) -> bool {
    let mut steps = secret.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let first = steps.next();
    steps.all(|step| Some(step) == first)
}

/// Random decimal digits have fewer than six different ones among 32 with a probability of
/// 2^-24.
fn has_few_bytes(secret: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in secret {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count() < 6
}
