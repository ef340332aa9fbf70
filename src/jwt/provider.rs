//! The cryptography that verifies tokens.

use std::fmt;

use jsonwebtoken::crypto;

use super::{TokenConfigError, rsa};

/// The implementation of cryptography that verifies the tokens of a [`Jwt`](super::Jwt).
///
/// `jsonwebtoken` has one provider for a process, chosen by features of all crates together, and
/// panics where there is none or more than one. This crate neither asks for that choice nor
/// makes it: each [`Jwt`](super::Jwt) has a provider of its own. With exactly one of the features
/// `aws-lc-rs` and `rust-crypto` there is nothing to say; with both, or none, `build()`
/// asks for [`Jwt::crypto_provider`](super::Jwt::crypto_provider).
#[derive(Clone, Copy)]
pub struct CryptoProvider {
    provider: &'static crypto::CryptoProvider,
    /// The largest RSA key that it verifies with, in bits.
    most_rsa_bits: usize,
}

impl CryptoProvider {
    /// `aws-lc-rs`: the fast one, in C and assembly.
    #[cfg(feature = "aws-lc-rs")]
    #[cfg_attr(docsrs, doc(cfg(feature = "aws-lc-rs")))]
    #[must_use]
    pub fn aws_lc_rs() -> Self {
        Self::custom(&crypto::aws_lc::DEFAULT_PROVIDER)
    }

    /// The crates of the Rust Crypto project: Rust alone, and several times slower. RSA keys have
    /// 4,096 bits at the most.
    #[cfg(feature = "rust-crypto")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rust-crypto")))]
    #[must_use]
    pub fn rust_crypto() -> Self {
        Self {
            most_rsa_bits: 4_096,
            ..Self::custom(&crypto::rust_crypto::DEFAULT_PROVIDER)
        }
    }

    /// Any other provider of `jsonwebtoken` 11.
    #[must_use]
    pub fn custom(provider: &'static crypto::CryptoProvider) -> Self {
        Self {
            provider,
            most_rsa_bits: rsa::MOST_BITS,
        }
    }

    #[cfg_attr(
        all(
            any(feature = "aws-lc-rs", feature = "rust-crypto"),
            not(all(feature = "aws-lc-rs", feature = "rust-crypto"))
        ),
        expect(
            clippy::unnecessary_wraps,
            reason = "with other features there is none to choose, or two"
        )
    )]
    pub(super) fn only_one() -> Result<Self, TokenConfigError> {
        #[cfg(all(feature = "aws-lc-rs", not(feature = "rust-crypto")))]
        return Ok(Self::aws_lc_rs());
        #[cfg(all(feature = "rust-crypto", not(feature = "aws-lc-rs")))]
        return Ok(Self::rust_crypto());
        #[cfg(all(feature = "rust-crypto", feature = "aws-lc-rs"))]
        return Err(TokenConfigError::SeveralCryptoProviders);
        #[cfg(not(any(feature = "rust-crypto", feature = "aws-lc-rs")))]
        return Err(TokenConfigError::NoCryptoProvider);
    }

    pub(super) fn get(self) -> &'static crypto::CryptoProvider {
        self.provider
    }

    pub(super) fn most_rsa_bits(self) -> usize {
        self.most_rsa_bits
    }
}

impl fmt::Debug for CryptoProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CryptoProvider(..)")
    }
}
