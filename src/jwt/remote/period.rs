//! How often keys are fetched and how long they are kept.

use std::time::Duration;

use http::{HeaderMap, header};

use super::super::TokenConfigError;

/// For how long a document is fresh, if its server says so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Freshness(Option<Duration>);

impl Freshness {
    pub(super) fn of(max_age: Duration) -> Self {
        Self(Some(max_age))
    }

    /// Reads `Cache-Control: max-age` and `Age` (RFC 9111 sections 5.2.2.1 and 5.1).
    /// `no-store`, `no-cache` and `max-age=0` count as no answer: they would mean a fetch for each
    /// request.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let mut max_age = None;
        for value in headers.get_all(header::CACHE_CONTROL) {
            for directive in value.to_str().unwrap_or_default().split(',') {
                let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
                match name.trim().to_ascii_lowercase().as_str() {
                    "no-cache" | "no-store" => return Self(None),
                    "max-age" if max_age.is_none() => {
                        max_age = value.trim().trim_matches('"').parse::<u64>().ok();
                    }
                    _ => {}
                }
            }
        }
        let age = headers.get(header::AGE).and_then(|age| age.to_str().ok());
        let age = age.and_then(|age| age.trim().parse().ok()).unwrap_or(0);
        let left = max_age.filter(|seconds| *seconds > 0);
        Self(left.map(|seconds| Duration::from_secs(seconds.saturating_sub(age))))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Periods {
    /// `None` if the issuer may choose a longer one.
    pub(super) refresh: Option<Duration>,
    pub(super) refetch: Duration,
    pub(super) keep: Duration,
    pub(super) limit: Duration,
}

impl Periods {
    const REFRESH: Duration = Duration::from_secs(300);
    const LONGEST: Duration = Duration::from_secs(24 * 3_600);

    pub(super) fn new() -> Self {
        Self {
            refresh: None,
            refetch: Duration::from_secs(10),
            keep: Duration::from_secs(3_600),
            limit: Duration::from_secs(10),
        }
    }

    pub(super) fn validate(&self) -> Result<(), TokenConfigError> {
        let refresh = self.refresh();
        let all = [refresh, self.refetch, self.keep, self.limit];
        let fit = self.keep >= refresh && refresh >= self.refetch;
        if all.iter().any(Duration::is_zero) || !fit {
            return Err(TokenConfigError::Intervals);
        }
        Ok(())
    }

    fn refresh(&self) -> Duration {
        self.refresh.unwrap_or(Self::REFRESH)
    }

    /// Returns the time from a successful fetch to the next one.
    pub(super) fn after_success(&self, freshness: Freshness) -> Duration {
        let longest = match self.refresh {
            Some(refresh) => refresh,
            None => (self.keep / 2).clamp(Self::REFRESH, Self::LONGEST),
        };
        match freshness.0 {
            None => self.refresh(),
            Some(max_age) => max_age.min(longest).max(self.refetch),
        }
    }

    /// Returns the time from a failed fetch to the next one, which doubles with each failure up to the
    /// usual interval.
    pub(super) fn after_failures(&self, failures: u32) -> Duration {
        self.refetch
            .saturating_mul(1 << failures.min(8))
            .min(self.refresh())
    }

    /// Returns how late the result of a due fetch may be: it may begin late, and take the time limit.
    pub(super) fn grace(&self) -> Duration {
        self.limit.saturating_mul(2)
    }

    /// Returns how long after its begin an attempt counts as stalled. It should have ended by its time
    /// limit; its runtime does not run.
    pub(super) fn stalled_after(&self) -> Duration {
        self.limit
            .saturating_add(Duration::from_secs(1))
            .max(self.refetch)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_a_server_says_of_its_document_is_read() {
        for (cache_control, age, read) in [
            (&[][..], None, None),
            (&["max-age=60"], None, Some(60)),
            (&["public, MAX-AGE = 60 , must-revalidate"], None, Some(60)),
            (&["public", "max-age=\"60\""], None, Some(60)),
            (&["max-age=60, max-age=600"], None, Some(60)),
            (&["max-age=60"], Some("20"), Some(40)),
            (&["max-age=60"], Some("90"), Some(0)),
            (&["max-age=60"], Some("-1"), Some(60)),
            (&["max-age=0"], None, None),
            (&["max-age=-1"], None, None),
            (&["max-age=18446744073709551616"], None, None),
            (&["s-maxage=60"], None, None),
            (&["max-age=60, no-store"], None, None),
            (&["no-cache"], None, None),
        ] {
            let mut headers = HeaderMap::new();
            for value in cache_control {
                headers.append(header::CACHE_CONTROL, HeaderValue::from_static(value));
            }
            if let Some(age) = age {
                headers.insert(header::AGE, HeaderValue::from_static(age));
            }
            let found = Freshness::read(&headers).0;
            assert_eq!(found, read.map(s), "{cache_control:?} {age:?}");
        }
    }

    #[test]
    fn an_issuer_has_its_say_within_bounds() {
        let periods = Periods::new();
        let configured = Periods {
            refresh: Some(s(120)),
            ..periods
        };
        let for_ever = Periods {
            keep: Duration::MAX,
            ..periods
        };
        for (what, periods, max_age, due) in [
            ("nothing", periods, None, s(300)),
            ("shorter", periods, Some(s(60)), s(60)),
            ("too short", periods, Some(s(1)), s(10)),
            ("longer", periods, Some(s(600)), s(600)),
            ("too long", periods, Some(Duration::MAX), s(1_800)),
            ("nothing, configured", configured, None, s(120)),
            ("shorter, configured", configured, Some(s(60)), s(60)),
            ("longer, configured", configured, Some(s(600)), s(120)),
            (
                "too long, kept for ever",
                for_ever,
                Some(Duration::MAX),
                s(86_400),
            ),
        ] {
            let freshness = Freshness(max_age);
            assert_eq!(periods.after_success(freshness), due, "{what}");
        }
    }

    #[test]
    fn failures_are_tried_again_later_and_later() {
        let due: Vec<_> = (0..8)
            .map(|failures| Periods::new().after_failures(failures).as_secs())
            .collect();
        assert_eq!(due, [10, 20, 40, 80, 160, 300, 300, 300]);
    }
}
