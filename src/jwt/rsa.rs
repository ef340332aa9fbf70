//! Validation of RSA public keys: size, exponent, known weaknesses.

use num_bigint::BigUint;

use super::KeyError;

/// The accepted sizes in bits; a provider may accept less.
const LEAST_BITS: usize = 2_048;
pub(super) const MOST_BITS: usize = 8_192;

/// Primes modulo which 65,537 generates a small subgroup. A modulus of the faulty generator of
/// CVE-2017-15361 is in all these subgroups, any other with a probability below 2^-27
/// (Nemec et al., "The Return of Coppersmith's Attack", 2017).
const ROCA_PRIMES: [u64; 17] = [
    11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
];

/// Checks a key whose numbers have no leading zeros.
pub(super) fn check(modulus: &[u8], exponent: &[u8]) -> Result<(), KeyError> {
    let bits = bits(modulus);
    if !(LEAST_BITS..=MOST_BITS).contains(&bits) {
        return Err(KeyError::RsaSize {
            bits,
            most: MOST_BITS,
        });
    }
    let value = exponent
        .iter()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    if exponent.len() > 4 || value < 65_537 || value % 2 == 0 {
        return Err(KeyError::RsaExponent);
    }
    if is_factored(modulus) {
        return Err(KeyError::RsaModulus);
    }
    if ROCA_PRIMES
        .iter()
        .all(|prime| is_power_of_65537(remainder(modulus, *prime), *prime))
    {
        return Err(KeyError::RsaRoca);
    }
    Ok(())
}

/// Returns the number without leading zeros, which `aws-lc-rs` refuses.
pub(super) fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// Returns the size in bits of a number without leading zeros.
pub(super) fn bits(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

/// Whether the modulus has a factor up to 751 (SP 800-89 section 5.3.3), or two factors that are
/// close together (one step of Fermat's method, CVE-2022-26320).
fn is_factored(modulus: &[u8]) -> bool {
    let n = BigUint::from_bytes_be(modulus);
    has_small_factor(&n) || is_square_or_nearly(&n)
}

fn has_small_factor(n: &BigUint) -> bool {
    let is_multiple_of = |factor: u32| n % factor == BigUint::ZERO;
    is_multiple_of(2) || (3..=751).step_by(2).any(is_multiple_of)
}

fn is_square_or_nearly(n: &BigUint) -> bool {
    let root = n.sqrt();
    let next = &root + 1_u8;
    // n = next² - side² = (next - side) * (next + side)
    let difference = &next * &next - n;
    let side = difference.sqrt();
    &root * &root == *n || &side * &side == difference
}

fn remainder(number: &[u8], prime: u64) -> u64 {
    number
        .iter()
        .fold(0, |rest, byte| (rest << 8 | u64::from(*byte)) % prime)
}

fn is_power_of_65537(rest: u64, prime: u64) -> bool {
    let mut power = 1;
    for _ in 0..prime {
        if power == rest {
            return true;
        }
        power = power * 65_537 % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^2047 + `add`, which is not a product of two primes but passes the checks.
    fn modulus(add: u16) -> BigUint {
        (BigUint::from(1_u8) << 2_047) + add
    }

    fn checked(modulus: &BigUint, exponent: &[u8]) -> Result<(), KeyError> {
        check(&modulus.to_bytes_be(), exponent)
    }

    fn unfactored() -> BigUint {
        (1..)
            .step_by(2)
            .take(1_000)
            .map(modulus)
            .find(|one| !is_factored(&one.to_bytes_be()))
            .expect("most numbers without small factors")
    }

    #[test]
    fn sizes_are_counted_without_leading_zeros() {
        assert_eq!(bits(without_leading_zeros(&[0, 0, 1])), 1);
        assert_eq!(bits(without_leading_zeros(&[0x80, 0])), 16);
        assert_eq!(bits(without_leading_zeros(&[0])), 0);
        for (number, answer) in [
            (BigUint::from(1_u8) << 2_046, Err(2_047)),
            (BigUint::from(1_u8) << 8_192, Err(8_193)),
        ] {
            let answer = answer.map_err(|bits| KeyError::RsaSize { bits, most: 8_192 });
            assert_eq!(checked(&number, &[1, 0, 1]), answer);
        }
    }

    #[test]
    fn exponents_that_are_small_even_or_long_are_refused() {
        let modulus = unfactored();
        for exponent in [&[1][..], &[3], &[], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
            assert_eq!(
                checked(&modulus, exponent),
                Err(KeyError::RsaExponent),
                "the exponent {exponent:?}"
            );
        }
        for exponent in [&[1, 0, 1][..], &[0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(checked(&modulus, exponent), Ok(()), "{exponent:?}");
        }
    }

    #[test]
    fn moduli_whose_factors_are_found_at_once_are_refused() {
        let mut factors = (1_u16..)
            .step_by(2)
            .take(1_000)
            .map(|add| (BigUint::from(1_u8) << 1_040) + add)
            .filter(|factor| !has_small_factor(factor));
        let mut factor = || factors.next().expect("most numbers without small factors");
        let (a, b) = (factor(), factor());
        let rest = unfactored();
        for (what, modulus) in [
            ("even", modulus(0)),
            ("a multiple of 3", &rest * 3_u8),
            ("a multiple of 751", &rest * 751_u16),
            ("a square", &a * &a),
            ("two near each other", &a * b),
            ("all bits", (BigUint::from(1_u8) << 2_048) - 1_u8),
        ] {
            assert_eq!(
                checked(&modulus, &[1, 0, 1]),
                Err(KeyError::RsaModulus),
                "{what}"
            );
        }
    }
}
