//! Both crypto providers at the same time, which have to agree.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    crypto::{CryptoProvider as Provider, JwtVerifier, aws_lc, rust_crypto},
    errors::Error,
    signature::{self, Verifier},
};
use tower_user_scope::jwt::CryptoProvider;

/// Verifies with each provider and panics if they do not agree.
pub(crate) fn both() -> CryptoProvider {
    static BOTH: Provider = Provider {
        signer_factory: aws_lc::DEFAULT_PROVIDER.signer_factory,
        verifier_factory: verifier,
        key_utils: jsonwebtoken::crypto::KeyUtils::new_unimplemented(),
    };
    CryptoProvider::custom(&BOTH)
}

/// Each provider by itself, with its name.
pub(crate) fn each() -> [(&'static str, CryptoProvider); 2] {
    [
        ("aws-lc-rs", CryptoProvider::aws_lc_rs()),
        ("rust-crypto", CryptoProvider::rust_crypto()),
    ]
}

struct Both([Box<dyn JwtVerifier>; 2]);

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "it is of the type that `jsonwebtoken` asks for"
)]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let [one, other] = [&aws_lc::DEFAULT_PROVIDER, &rust_crypto::DEFAULT_PROVIDER]
        .map(|provider| (provider.verifier_factory)(algorithm, key));
    match (one, other) {
        (Ok(one), Ok(other)) => Ok(Box::new(Both([one, other]))),
        (Err(error), Err(_)) => Err(error),
        (Ok(_), Err(error)) => panic!("only aws-lc-rs takes a key for {algorithm:?}: {error}"),
        (Err(error), Ok(_)) => panic!("only rust-crypto takes a key for {algorithm:?}: {error}"),
    }
}

impl Verifier<Vec<u8>> for Both {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let [one, other] = &self.0;
        let answer = one.verify(message, signature);
        assert_eq!(
            answer.is_ok(),
            other.verify(message, signature).is_ok(),
            "{:?}: aws-lc-rs (left) and rust-crypto (right) on {}",
            one.algorithm(),
            String::from_utf8_lossy(message)
        );
        answer
    }
}

impl JwtVerifier for Both {
    fn algorithm(&self) -> Algorithm {
        self.0[0].algorithm()
    }
}
