//! The shared secrets of trusted proxies.

use std::fmt;

use http::{HeaderName, HeaderValue, request::Parts};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use subtle::{Choice, ConstantTimeEq};

use super::UntrustedReason;
use crate::config_error::ConfigError;

const MIN_LEN: usize = 16;
const MAX_LEN: usize = 256;
const WORDS: usize = MAX_LEN / size_of::<u64>();

/// The accepted secrets: more than one while a secret is being changed.
pub(in crate::strategy::trusted_header) struct Secrets {
    header: Result<HeaderName, ConfigError>,
    secrets: Result<Vec<Secret>, ConfigError>,
}

impl Secrets {
    pub(super) fn new(
        header: Result<HeaderName, ConfigError>,
        secrets: impl Iterator<Item = SecretString>,
    ) -> Self {
        let secrets = secrets
            .map(|secret| Secret::checked(secret.expose_secret()))
            .collect();
        Self { header, secrets }
    }

    pub(super) fn header(&self) -> Option<&HeaderName> {
        self.header.as_ref().ok()
    }

    #[inline]
    pub(super) fn check(&self, head: &Parts) -> Result<(), UntrustedReason> {
        let (Ok(header), Ok(secrets)) = (&self.header, &self.secrets) else {
            return Err(UntrustedReason::SecretMissing);
        };
        let mut sent = head.headers.get_all(header).iter();
        let (Some(value), None) = (sent.next(), sent.next()) else {
            return Err(UntrustedReason::SecretMissing);
        };
        let sent = Sent::new(value.as_bytes());
        // No early exit, so that the time does not depend on which secret matches.
        let known = secrets
            .iter()
            .fold(Choice::from(0), |known, secret| known | secret.is(&sent));
        bool::from(known)
            .then_some(())
            .ok_or(UntrustedReason::SecretMismatch)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.header.as_ref().map_err(Clone::clone)?;
        match &self.secrets {
            Ok(secrets) if secrets.is_empty() => Err(ConfigError::NoSecret),
            Ok(_) => Ok(()),
            Err(error) => Err(error.clone()),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("header", &self.header)
            .field("secrets", &"[REDACTED]")
            .finish()
    }
}

/// A text of at most [`MAX_LEN`] bytes, padded, so that the time of a comparison does not depend on
/// the texts and their lengths.
type Words = [u64; WORDS];

/// Copies a text into words. A longer text is truncated; its length differs from that of every
/// secret.
fn pad(text: &[u8], words: &mut Words) {
    for (word, bytes) in words.iter_mut().zip(text.chunks(size_of::<u64>())) {
        let mut padded = [0; size_of::<u64>()];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(padded);
    }
}

struct Sent {
    words: Words,
    len: u64,
}

impl Sent {
    fn new(text: &[u8]) -> Self {
        let mut words = [0; WORDS];
        pad(text, &mut words);
        let len = text.len() as u64;
        Self { words, len }
    }
}

struct Secret {
    words: SecretBox<Words>,
    len: u64,
}

impl Secret {
    fn new(text: &[u8]) -> Self {
        let words = SecretBox::init_with_mut(|words| pad(text, words));
        let len = text.len() as u64;
        Self { words, len }
    }

    fn checked(secret: &str) -> Result<Self, ConfigError> {
        // What a header can't carry, or a server trims, never matches.
        if secret.trim() != secret || HeaderValue::from_str(secret).is_err() {
            return Err(ConfigError::UnsendableSecret);
        }
        match secret.len() {
            len if len < MIN_LEN => Err(ConfigError::WeakSecret { len, min: MIN_LEN }),
            len if len > MAX_LEN => Err(ConfigError::LongSecret { len, max: MAX_LEN }),
            _ => Ok(Self::new(secret.as_bytes())),
        }
    }

    fn is(&self, sent: &Sent) -> Choice {
        let words = self.words.expose_secret().as_slice();
        words.ct_eq(sent.words.as_slice()) & self.len.ct_eq(&sent.len)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_LEN, Secret, Sent};

    /// The size of both sides is a part of their types: no length makes the loop shorter.
    #[test]
    fn only_the_very_text_is_the_secret_whatever_is_longer_or_shorter() {
        for len in [16, 17, 24, 31, 255, MAX_LEN] {
            let text: Vec<u8> = (b'a'..=b'z').cycle().take(len).collect();
            let secret = Secret::new(&text);
            let is = |sent: &[u8]| bool::from(secret.is(&Sent::new(sent)));
            assert!(is(&text), "{len} bytes");
            for shorter in 0..len {
                assert!(!is(&text[..shorter]), "{shorter} bytes of {len}");
            }
            for more in [&[0; 1][..], &[0; 300], b"a", &text] {
                assert!(!is(&[&text, more].concat()), "{len} bytes and {more:?}");
            }
            for at in 0..len {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!is(&other), "byte {at} of {len} differs");
            }
        }
    }
}
