//! Looks for ids and secrets in bytes, in whatever form they are.

use super::{decode::each_form, user::TestUser};

/// Ids and secrets of an application's own that are shorter are in texts by chance.
const SHORTEST: usize = 4;
/// The hexadecimal digits at the end of each id and secret that a check makes.
const DIGITS: usize = 16;
/// How much is shown before and after what was found.
const AROUND: usize = 24;

/// An id or a secret that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// Whose it is; `None` for a user of an earlier check in this process.
    pub(super) owner: Option<usize>,
    /// `id`, or the secret's name.
    pub(super) what: String,
    pub(super) form: &'static str,
    pub(super) excerpt: String,
}

/// The ids and secrets of a check's users.
pub(super) struct Marks {
    known: Vec<Mark>,
}

struct Mark {
    owner: usize,
    what: String,
    text: Vec<u8>,
    /// Texts that a check makes are found by their form.
    made: bool,
}

impl Marks {
    /// Collects what is to be looked for now: secrets are made when they are asked for.
    pub(super) fn of(users: &[TestUser]) -> Self {
        let mut known = Vec::new();
        for user in users {
            let id = ("id".to_owned(), user.id().to_owned());
            for (what, text) in std::iter::once(id).chain(user.secrets()) {
                let text = text.to_ascii_lowercase().into_bytes();
                if text.len() >= SHORTEST {
                    known.push(Mark {
                        owner: user.number(),
                        made: made_mark(&text) == Some(text.len()),
                        what,
                        text,
                    });
                }
            }
        }
        Self { known }
    }

    /// Returns what is seen in the bytes, each once, in the plainest form that it is in.
    pub(super) fn seen_in(&self, bytes: &[u8]) -> Vec<Sighting> {
        let mut seen: Vec<Sighting> = Vec::new();
        if bytes.len() < SHORTEST {
            return seen;
        }
        each_form(bytes, &mut |plain, form| {
            let lower = plain.to_ascii_lowercase();
            let mut found = |owner, what: &str, at, len| {
                if !seen
                    .iter()
                    .any(|seen| seen.owner == owner && seen.what == what)
                {
                    seen.push(Sighting {
                        owner,
                        what: what.to_owned(),
                        form,
                        excerpt: excerpt(plain, at, len),
                    });
                }
            };
            for (at, len) in made_marks(&lower) {
                let text = &lower[at..at + len];
                match self
                    .known
                    .iter()
                    .find(|mark| mark.made && mark.text == text)
                {
                    Some(mark) => found(Some(mark.owner), &mark.what, at, len),
                    None if text.starts_with(b"user-") => found(None, "id", at, len),
                    None => found(None, "secret", at, len),
                }
            }
            for mark in self.known.iter().filter(|mark| !mark.made) {
                if let Some(at) = word(&lower, &mark.text) {
                    found(Some(mark.owner), &mark.what, at, mark.text.len());
                }
            }
        });
        seen
    }
}

/// Finds each `user-N-..` and `secret-N-..`, of this check or of an earlier one.
fn made_marks(lower: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let starts = lower
        .iter()
        .enumerate()
        .filter(|(_, byte)| matches!(byte, b'u' | b's'));
    starts.filter_map(|(at, _)| Some((at, made_mark(&lower[at..])?)))
}

/// Returns the length of the mark with which the bytes begin.
fn made_mark(lower: &[u8]) -> Option<usize> {
    let prefix = [&b"user-"[..], b"secret-"]
        .into_iter()
        .find(|prefix| lower.starts_with(prefix))?;
    let number = lower[prefix.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let dash = prefix.len() + number;
    let digits = lower.get(dash + 1..dash + 1 + DIGITS)?;
    let made = number > 0 && lower[dash] == b'-' && digits.iter().all(u8::is_ascii_hexdigit);
    made.then_some(dash + 1 + DIGITS)
}

/// Finds the text where it is not a part of a longer word: `1001`, but not in `210015`.
fn word(lower: &[u8], text: &[u8]) -> Option<usize> {
    let ends = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let mut windows = lower.windows(text.len()).enumerate();
    let found = windows.find(|(at, window)| {
        *window == text
            && ends(at.checked_sub(1).and_then(|before| lower.get(before)))
            && ends(lower.get(at + text.len()))
    });
    found.map(|(at, _)| at)
}

fn excerpt(plain: &[u8], at: usize, len: usize) -> String {
    let start = at.saturating_sub(AROUND);
    let end = (at + len + AROUND).min(plain.len());
    plain[start..end].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_told_from_what_looks_like_one() {
        let alice = TestUser::made(0, 7);
        let text = alice.id().as_bytes();
        assert_eq!(made_mark(text), Some(text.len()));
        for other in [
            "user-",
            "user-1",
            "user-1-",
            "user-1-0123",
            "user--0123456789abcdef",
            "use",
        ] {
            assert_eq!(made_mark(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn an_application_s_own_id_is_found_as_a_word_only() {
        for (text, found) in [
            ("{\"id\":1001}", true),
            ("1001", true),
            ("/users/1001/x", true),
            ("21001", false),
            ("10015", false),
            ("1001x 1001", true),
        ] {
            assert_eq!(word(text.as_bytes(), b"1001").is_some(), found, "{text}");
        }
    }

    #[test]
    fn ids_of_an_earlier_check_are_nobody_s() {
        let (alice, earlier) = (TestUser::made(0, 1), TestUser::made(0, 2));
        let seen = Marks::of(&[alice]).seen_in(format!("hello {}", earlier.id()).as_bytes());
        assert!(
            matches!(&seen[..], [Sighting { owner: None, .. }]),
            "{seen:?}"
        );
    }
}
