//! Parses `NumericDate` claims (RFC 7519 section 2): any JSON number of seconds since 1970.
//!
//! Issuers write fractions (`1795564283.5`) and exponents (`1.7e9`). The decimal digits are read, as
//! a binary fraction would be rounded.

/// The last second of the year 9999: no token lives longer, and no clock overflows.
const LAST_SECOND: u64 = 253_402_300_799;

/// The direction in which a fraction is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// To the second before: for `exp`, so that it ends early.
    Down,
    /// To the second after: for `nbf`, so that it begins late.
    Up,
}

/// Returns the whole seconds of a JSON number; `None` if it is not a number, or not between the
/// years 1970 and 9999.
pub(super) fn seconds(json: &str, round: Round) -> Option<u64> {
    let (negative, number) = match json.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, json),
    };
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, shift(exponent)),
        None => (number, 0),
    };
    // The JSON was parsed: what begins with a digit is a number.
    if !mantissa.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let point = i64::try_from(whole.len()).ok()?.saturating_add(exponent);
    let mut seconds = 0_u64;
    let mut has_fraction = false;
    let mut place = 0_i64;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = u64::from(digit.checked_sub(b'0')?);
        if place < point {
            seconds = within_range(seconds * 10 + digit)?;
        } else {
            has_fraction |= digit != 0;
        }
        place += 1;
    }
    // Each round multiplies by ten, so the range ends the loop.
    while seconds != 0 && place < point {
        seconds = within_range(seconds * 10)?;
        place += 1;
    }
    if negative && (seconds != 0 || has_fraction) {
        return None;
    }
    match round {
        Round::Up if has_fraction => within_range(seconds + 1),
        _ => Some(seconds),
    }
}

fn within_range(seconds: u64) -> Option<u64> {
    (seconds <= LAST_SECOND).then_some(seconds)
}

/// Parses an exponent, limited to what is out of range anyway.
fn shift(exponent: &str) -> i64 {
    const FAR: i64 = 1 << 40;
    match exponent.parse::<i64>() {
        Ok(shift) => shift.clamp(-FAR, FAR),
        Err(_) if exponent.starts_with('-') => -FAR,
        Err(_) => FAR,
    }
}

#[cfg(test)]
mod tests {
    use super::{Round, seconds};

    #[test]
    fn any_json_number_is_a_time_and_is_cut_towards_refusal() {
        for (json, down, up) in [
            ("0", Some(0), Some(0)),
            ("-0", Some(0), Some(0)),
            ("-0.0e5", Some(0), Some(0)),
            ("1795564283", Some(1_795_564_283), Some(1_795_564_283)),
            ("1795564283.0", Some(1_795_564_283), Some(1_795_564_283)),
            ("1795564283.000", Some(1_795_564_283), Some(1_795_564_283)),
            ("1795564283.5", Some(1_795_564_283), Some(1_795_564_284)),
            // More digits than a binary fraction has.
            (
                "1795564283.99999999999999999999",
                Some(1_795_564_283),
                Some(1_795_564_284),
            ),
            (
                "1795564283.00000000000000000001",
                Some(1_795_564_283),
                Some(1_795_564_284),
            ),
            ("1e9", Some(1_000_000_000), Some(1_000_000_000)),
            ("1E+9", Some(1_000_000_000), Some(1_000_000_000)),
            ("1.5e9", Some(1_500_000_000), Some(1_500_000_000)),
            ("1.0000000005e9", Some(1_000_000_000), Some(1_000_000_001)),
            ("17955642835e-1", Some(1_795_564_283), Some(1_795_564_284)),
            (
                "0.000000001795564283e18",
                Some(1_795_564_283),
                Some(1_795_564_283),
            ),
            ("1e-400", Some(0), Some(1)),
            ("0e999999999999999999999", Some(0), Some(0)),
            ("7e-999999999999999999999", Some(0), Some(1)),
            ("253402300799", Some(253_402_300_799), Some(253_402_300_799)),
            ("253402300799.5", Some(253_402_300_799), None),
            ("253402300800", None, None),
            // Milliseconds.
            ("1795564283000", None, None),
            ("1e400", None, None),
            ("1e999999999999999999999", None, None),
            ("18446744073709551616", None, None),
            ("-1", None, None),
            ("-0.5", None, None),
            ("-1e-400", None, None),
            ("\"1795564283\"", None, None),
            ("true", None, None),
            ("[1795564283]", None, None),
            ("{}", None, None),
        ] {
            assert_eq!(seconds(json, Round::Down), down, "{json}, down");
            assert_eq!(seconds(json, Round::Up), up, "{json}, up");
        }
    }
}
