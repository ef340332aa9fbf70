//! Which RSA public keys are worth verifying with.

use super::KeyError;

/// Each with the subgroup that 65,537 generates modulo it small enough to tell: a modulus from
/// the faulty generator of CVE-2017-15361 is in all of them, another one in all with a
/// probability below 2^-27 (Nemec et al., "The Return of Coppersmith's Attack", 2017).
const ROCA_PRIMES: [u64; 17] = [
    11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
];

pub(super) fn check(modulus: &[u8], exponent: &[u8]) -> Result<(), KeyError> {
    let bits = bits(modulus);
    if !(2_048..=8_192).contains(&bits) {
        return Err(KeyError::RsaSize { bits });
    }
    let exponent = significant(exponent);
    let value = exponent
        .iter()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    if exponent.len() > 4 || value < 65_537 || value % 2 == 0 {
        return Err(KeyError::RsaExponent);
    }
    if ROCA_PRIMES
        .iter()
        .all(|prime| is_power_of_65537(remainder(modulus, *prime), *prime))
    {
        return Err(KeyError::RsaRoca);
    }
    Ok(())
}

fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

fn bits(number: &[u8]) -> usize {
    let number = significant(number);
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
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

    #[test]
    fn sizes_are_counted_without_leading_zeros() {
        assert_eq!(bits(&[0, 0, 1]), 1);
        assert_eq!(bits(&[0x80, 0]), 16);
        assert_eq!(bits(&[0]), 0);
    }

    #[test]
    fn exponents_that_are_small_even_or_long_are_refused() {
        let modulus = [0xff_u8; 256];
        for exponent in [&[1][..], &[3], &[0, 3], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
            assert_eq!(
                check(&modulus, exponent),
                Err(KeyError::RsaExponent),
                "the exponent {exponent:?}"
            );
        }
        assert_eq!(check(&modulus, &[1, 0, 1]), Ok(()));
    }
}
