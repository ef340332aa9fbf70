//! The W3C `traceparent` header, read only for its ids.

use std::fmt;

/// The ids of a W3C `traceparent` header (Trace Context, section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

/// `00-` + 32 + `-` + 16 + `-` + 2.
const LEN: usize = 55;

impl TraceParent {
    /// The id of the whole trace; never zero.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The id of the caller's span; never zero.
    #[must_use]
    pub fn parent_id(&self) -> u64 {
        self.parent_id
    }

    /// Whether the caller may have recorded the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// Reads a header value. Versions above 00 may go on after the part that is known
    /// (section 3.2.4); version `ff`, zero ids and capital letters are no `traceparent`.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let known = value.get(..LEN)?;
        let version = hex(known.get(..2)?)?;
        match (version, value.get(LEN)) {
            (0xff, _) | (0, Some(_)) => return None,
            (_, Some(next)) if *next != b'-' => return None,
            _ => {}
        }
        if [2, 35, 52].iter().any(|dash| known[*dash] != b'-') {
            return None;
        }
        let parent_id = u64::try_from(hex(&known[36..52])?).ok()?;
        let flags = u8::try_from(hex(&known[53..])?).ok()?;
        let trace_id = hex(&known[3..35])?;
        (trace_id != 0 && parent_id != 0).then_some(Self {
            trace_id,
            parent_id,
            flags,
        })
    }
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceParent")
            .field("trace_id", &format_args!("{:032x}", self.trace_id))
            .field("parent_id", &format_args!("{:016x}", self.parent_id))
            .field("flags", &format_args!("{:02x}", self.flags))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::TraceParent;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_example_of_the_specification_is_read() {
        let parent = TraceParent::parse(GOOD.as_bytes()).expect("the specification's own example");
        assert_eq!(parent.trace_id(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(parent.parent_id(), 0xb7ad_6b71_6920_3331);
        assert!(parent.is_sampled());
    }

    #[test]
    fn a_later_version_may_go_on_after_what_is_known() {
        let longer = format!("01{}-what-comes-later", &GOOD[2..]);
        assert!(TraceParent::parse(longer.as_bytes()).is_some());
    }

    #[test]
    fn everything_else_is_no_trace_parent() {
        for (bad, why) in [
            (String::new(), "empty"),
            (GOOD[..54].to_owned(), "too short"),
            (format!("{GOOD}-00"), "version 00 with more behind it"),
            (format!("01{}00", &GOOD[2..]), "a later version, undivided"),
            (format!("ff{}", &GOOD[2..]), "the forbidden version"),
            (GOOD.to_uppercase(), "capital letters"),
            (GOOD.replace('-', "_"), "other separators"),
            (
                format!("{}_{}", &GOOD[..2], &GOOD[3..]),
                "another first separator",
            ),
            (
                format!("{}_{}", &GOOD[..35], &GOOD[36..]),
                "another second separator",
            ),
            (
                format!("{}_{}", &GOOD[..52], &GOOD[53..]),
                "another third separator",
            ),
            (
                GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
                "a zero trace",
            ),
            (
                GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
                "a zero parent",
            ),
            (GOOD.replace("b7ad", "b7xd"), "what is no digit"),
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{why}: {bad:?}");
        }
    }
}
