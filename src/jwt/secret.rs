//! Detects HMAC secrets that can be guessed.

/// Whether the secret is easy to guess, whatever its length: a published example, a short repeated
/// piece, a count, or few different bytes.
///
/// A secret of 32 or more random bytes, also in hexadecimal, base64 or decimal digits, is refused
/// with a probability below 2^-20.
pub(super) fn is_guessable(secret: &[u8]) -> bool {
    is_published(secret) || is_repeated(secret) || is_count(secret) || has_few_bytes(secret)
}

/// Example secrets of documentation and templates, which are in attackers' word lists.
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

/// Whether the secret repeats a piece of fewer than 16 bytes.
fn is_repeated(secret: &[u8]) -> bool {
    (1..16)
        .any(|period| secret.len() > period && secret[period..] == secret[..secret.len() - period])
}

/// Whether all differences between neighbouring bytes are the same.
fn is_count(secret: &[u8]) -> bool {
    let mut steps = secret.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let first = steps.next();
    steps.all(|step| Some(step) == first)
}

/// Whether there are fewer than six different bytes, which 32 random decimal digits have with a
/// probability of 2^-24.
fn has_few_bytes(secret: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in secret {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count() < 6
}
