//! Validation of public keys that are points on a curve.
//!
//! Providers report a bad point as a wrong signature, at the first token, and accept points of small
//! order. All input is public, so nothing has to run in constant time.

use num_bigint::BigUint;

use super::{Algorithm, KeyError};

struct Curve {
    algorithm: Algorithm,
    len: usize,
    /// The field's prime and the curve's `b`, in hexadecimal; `a` is -3 (FIPS 186-5, SP 800-186).
    prime: &'static [u8],
    b: &'static [u8],
}

const P256: Curve = Curve {
    algorithm: Algorithm::ES256,
    len: 32,
    prime: b"ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    b: b"5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
};

const P384: Curve = Curve {
    algorithm: Algorithm::ES384,
    len: 48,
    prime: b"fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe\
             ffffffff0000000000000000ffffffff",
    b: b"b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875a\
         c656398d8a2ed19d2a85c8edd3ec2aef",
};

fn curve(algorithm: Algorithm) -> &'static Curve {
    match algorithm {
        Algorithm::ES384 => &P384,
        _ => &P256,
    }
}

/// Returns the uncompressed point (SEC 1 section 2.3.3) of two coordinates.
///
/// RFC 7518 section 6.2.1.2 asks for full length. Some issuers omit leading zeros or add one; the
/// number is the same, so that is accepted.
pub(super) fn ec(algorithm: Algorithm, x: &[u8], y: &[u8]) -> Result<Vec<u8>, KeyError> {
    let len = curve(algorithm).len;
    let mut point = vec![4];
    for coordinate in [x, y] {
        let zeros = coordinate.iter().take_while(|byte| **byte == 0).count();
        let number = &coordinate[zeros..];
        let missing = len
            .checked_sub(number.len())
            .filter(|_| !coordinate.is_empty())
            .ok_or(KeyError::Unreadable { algorithm })?;
        point.resize(point.len() + missing, 0);
        point.extend_from_slice(number);
    }
    check_ec(algorithm, &point)?;
    Ok(point)
}

/// Checks an uncompressed point: both coordinates in range, and on the curve (SP 800-56A
/// section 5.6.2.3.3). The curves have prime order, so there are no small subgroups.
pub(super) fn check_ec(algorithm: Algorithm, point: &[u8]) -> Result<(), KeyError> {
    let curve = curve(algorithm);
    let [4, coordinates @ ..] = point else {
        return Err(KeyError::Unreadable { algorithm });
    };
    if coordinates.len() != 2 * curve.len {
        return Err(KeyError::Unreadable { algorithm });
    }
    let (x, y) = coordinates.split_at(curve.len);
    let (x, y) = (BigUint::from_bytes_be(x), BigUint::from_bytes_be(y));
    let (p, b) = (hexadecimal(curve.prime), hexadecimal(curve.b));
    let in_range = x < p && y < p;
    // y² = x³ - 3x + b
    if in_range && (&y * &y + 3_u8 * &x) % &p == (&x * &x * &x + b) % &p {
        return Ok(());
    }
    Err(KeyError::NotOnCurve(curve.algorithm))
}

/// Checks an Ed25519 key as RFC 8032 section 5.1.3 decodes it, and that its order is not small:
/// with such a key, signatures that anybody can write are good for many messages.
pub(super) fn check_ed25519(key: &[u8]) -> Result<(), KeyError> {
    /// One of the two `y` of the points of order 8, in hexadecimal.
    const ORDER_8: &[u8] = b"7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7";
    const D: &[u8] = b"52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3";

    let algorithm = Algorithm::EdDSA;
    let mut key = <[u8; 32]>::try_from(key).map_err(|_| KeyError::Unreadable { algorithm })?;
    // The highest bit is the sign of x, which makes no difference to any of this.
    key[31] &= 0x7f;
    let one = BigUint::from(1_u8);
    let p = (&one << 255) - 19_u8;
    let y = BigUint::from_bytes_le(&key);
    let order_8 = hexadecimal(ORDER_8);
    // Of order 4, 1, 2, 8 and 8.
    let small = [
        BigUint::ZERO,
        one.clone(),
        &p - 1_u8,
        &p - &order_8,
        order_8,
    ];
    if small.contains(&(&y % &p)) {
        return Err(KeyError::SmallOrder);
    }
    // x² = (y² - 1) / (dy² + 1), which is a square where the product is one (Euler).
    let yy = &y * &y;
    let product = (&yy - 1_u8) * (hexadecimal(D) * &yy + 1_u8);
    if y < p && product.modpow(&((&p - 1_u8) >> 1), &p) == one {
        return Ok(());
    }
    Err(KeyError::NotOnCurve(algorithm))
}

fn hexadecimal(digits: &[u8]) -> BigUint {
    // Each is a constant above, and each is used by the tests.
    BigUint::parse_bytes(digits, 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
            .collect()
    }

    /// The base points, which are on their curves.
    const G256: [&str; 2] = [
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ];
    const G384: [&str; 2] = [
        "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38\
         5502f25dbf55296c3a545e3872760ab7",
        "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c0\
         0a60b1ce1d7e819d7a431d7c90ea0e5f",
    ];

    #[test]
    fn points_are_on_their_curve_or_refused() {
        for (algorithm, [x, y]) in [(Algorithm::ES256, G256), (Algorithm::ES384, G384)] {
            let (x, mut y) = (bytes(x), bytes(y));
            let point = ec(algorithm, &x, &y).expect("the base point");
            assert_eq!(point, [&[4], &x[..], &y].concat());
            assert_eq!(
                ec(algorithm, &[&[0, 0], &x[..]].concat(), &y).as_ref(),
                Ok(&point)
            );
            // One more than the prime is the same number modulo it, and out of range.
            let above = hexadecimal(curve(algorithm).prime).to_bytes_be();
            for (x, y) in [(&above, &y), (&x, &above), (&y, &x), (&x, &x)] {
                assert_eq!(
                    ec(algorithm, x, y),
                    Err(KeyError::NotOnCurve(algorithm)),
                    "{x:x?} {y:x?}"
                );
            }
            // So is the prime itself, where the number 0 has a point.
            let prime = hexadecimal(curve(algorithm).prime);
            let root = hexadecimal(curve(algorithm).b).modpow(&((&prime + 1_u8) >> 2), &prime);
            let root = root.to_bytes_be();
            assert!(ec(algorithm, &[0], &root).is_ok());
            assert_eq!(
                ec(algorithm, &prime.to_bytes_be(), &root),
                Err(KeyError::NotOnCurve(algorithm))
            );
            y[7] ^= 1;
            assert_eq!(ec(algorithm, &x, &y), Err(KeyError::NotOnCurve(algorithm)));
            let long = [&[1], &x[..]].concat();
            for (x, y) in [(&long[..], &x[..]), (&[], &x), (&x, &[])] {
                assert_eq!(ec(algorithm, x, y), Err(KeyError::Unreadable { algorithm }));
            }
        }
    }

    #[test]
    fn keys_of_ed25519_are_points_of_large_order_or_refused() {
        let good = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(check_ed25519(&bytes(good)), Ok(()));
        // The base point's y is 4/5.
        assert_eq!(
            check_ed25519(&[[0x58].as_slice(), &[0x66; 31]].concat()),
            Ok(())
        );
        let off = "0200000000000000000000000000000000000000000000000000000000000000";
        let algorithm = Algorithm::EdDSA;
        assert_eq!(
            check_ed25519(&bytes(off)),
            Err(KeyError::NotOnCurve(algorithm))
        );
        // Each number from the prime on is another encoding of a smaller one.
        for above in 0xed_u8..=0xff {
            for last in [0x7f, 0xff] {
                let mut key = [0xff; 32];
                (key[0], key[31]) = (above, last);
                assert!(check_ed25519(&key).is_err(), "{above:x} {last:x}");
            }
        }
    }
}
