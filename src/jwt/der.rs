//! Public keys in PEM and DER.
//!
//! Reads `SubjectPublicKeyInfo` and `RSAPublicKey` only. Certificates and private keys are
//! recognized, so that the error can say how to extract the public key. Checks no key's strength.

use super::KeyError;

/// The parts of a public key, not checked yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PublicKey<'d> {
    /// `RSAPublicKey` (RFC 8017 appendix A.1.1), each number without leading zeros.
    Rsa { n: &'d [u8], e: &'d [u8] },
    /// The point on P-256 (RFC 5480 section 2.2).
    P256(&'d [u8]),
    /// The point on P-384.
    P384(&'d [u8]),
    /// RFC 8410 section 4.
    Ed25519(&'d [u8]),
}

/// Why input is not a public key; `None` if nothing more precise is known.
type NotPublic = Option<KeyError>;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Returns the DER of the only block of a PEM text (RFC 7468), and whether it is an `RSAPublicKey`.
pub(super) fn decode_pem(pem: &[u8]) -> Result<(Vec<u8>, bool), NotPublic> {
    let blocks = pem::parse_many(pem).map_err(|_| None)?;
    let label = |block: &pem::Pem| match block.tag() {
        "PUBLIC KEY" => Ok(false),
        "RSA PUBLIC KEY" => Ok(true),
        tag if tag.ends_with("PRIVATE KEY") => Err(Some(KeyError::PrivateKey)),
        tag if tag.ends_with("CERTIFICATE") => Err(Some(KeyError::Certificate)),
        _ => Err(None),
    };
    for block in &blocks {
        label(block)?;
    }
    // Several blocks are ambiguous.
    let [block] = <[pem::Pem; 1]>::try_from(blocks).map_err(|_| None)?;
    let is_rsa = label(&block)?;
    Ok((block.into_contents(), is_rsa))
}

/// Reads a `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
pub(super) fn public_key(der: &[u8]) -> Result<PublicKey<'_>, NotPublic> {
    let read = || {
        let mut info = sequence(der)?;
        let mut kind = Der(info.take(SEQUENCE)?);
        let oid = kind.take(OBJECT_IDENTIFIER)?;
        let [0, key @ ..] = info.take(BIT_STRING)? else {
            return None;
        };
        info.end()?;
        match oid {
            RSA => rsa_public_key(key).ok(),
            ED25519 => Some(PublicKey::Ed25519(key)),
            EC => match kind.take(OBJECT_IDENTIFIER)? {
                P256 => Some(PublicKey::P256(key)),
                P384 => Some(PublicKey::P384(key)),
                _ => None,
            },
            _ => None,
        }
    };
    read().ok_or_else(|| diagnose(der))
}

/// Reads an `RSAPublicKey` (RFC 8017 appendix A.1.1).
pub(super) fn rsa_public_key(der: &[u8]) -> Result<PublicKey<'_>, NotPublic> {
    let read = || {
        let mut key = sequence(der)?;
        let (n, e) = (key.number()?, key.number()?);
        key.end()?;
        Some(PublicKey::Rsa { n, e })
    };
    read().ok_or_else(|| diagnose(der))
}

/// Returns the error for what is often given instead of a public key.
fn diagnose(der: &[u8]) -> NotPublic {
    let mut outer = sequence(der)?;
    match outer.next()? {
        // `TBSCertificate` begins with its version or its serial number.
        (SEQUENCE, tbs) => match Der(tbs).next()? {
            (VERSION | INTEGER, _) => Some(KeyError::Certificate),
            _ => None,
        },
        // Each form of a private key begins with its version: RFC 5958, RFC 8017 and RFC 5915.
        (INTEGER, [0 | 1]) => Some(KeyError::PrivateKey),
        _ => None,
    }
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

struct Der<'d>(&'d [u8]);

/// Returns the contents of the sequence that all of `der` is.
fn sequence(der: &[u8]) -> Option<Der<'_>> {
    let mut outer = Der(der);
    let inner = outer.take(SEQUENCE)?;
    outer.end()?;
    Some(Der(inner))
}

impl<'d> Der<'d> {
    /// Returns the next tag and its contents.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let [tag, first, rest @ ..] = self.0 else {
            return None;
        };
        let (len, rest) = match *first {
            short @ ..=0x7f => (usize::from(short), rest),
            // No key has more than 65,535 bytes.
            long @ 0x81..=0x82 => {
                let (len, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
                let len = len
                    .iter()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte));
                let least = if long == 0x81 { 0x80 } else { 0x100 };
                (Some(len).filter(|len| *len >= least)?, rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((*tag, contents))
    }

    fn take(&mut self, wanted: u8) -> Option<&'d [u8]> {
        self.next()
            .and_then(|(tag, contents)| (tag == wanted).then_some(contents))
    }

    /// Returns a positive number without the leading zero that marks its sign.
    fn number(&mut self) -> Option<&'d [u8]> {
        match self.take(INTEGER)? {
            [0, rest @ ..] => rest.first().filter(|byte| **byte >= 0x80).map(|_| rest),
            number => number.first().filter(|byte| **byte < 0x80).map(|_| number),
        }
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_is_read_strictly() {
        let key = [0x30, 6, 2, 1, 5, 2, 1, 3];
        assert_eq!(
            rsa_public_key(&key),
            Ok(PublicKey::Rsa { n: &[5], e: &[3] })
        );
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 0],
            // A byte after the end, inside and outside.
            &[0x30, 6, 2, 1, 5, 2, 1, 3, 0],
            &[0x30, 7, 2, 1, 5, 2, 1, 3, 0],
            // A length that is too long, not the shortest, or of no end.
            &[0x30, 7, 2, 1, 5, 2, 1, 3],
            &[0x30, 0x81, 6, 2, 1, 5, 2, 1, 3],
            &[0x30, 0x80, 2, 1, 5, 2, 1, 3, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            // Numbers that are negative, empty, zero, or not the shortest.
            &[0x30, 6, 2, 1, 0x85, 2, 1, 3],
            &[0x30, 5, 2, 0, 2, 1, 3],
            &[0x30, 7, 2, 2, 0, 5, 2, 1, 3],
        ] {
            assert!(rsa_public_key(bad).is_err(), "{bad:x?}");
        }
    }
}
