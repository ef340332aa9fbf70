//! Where in which response something was seen.

use std::fmt;

use http::StatusCode;

/// Where in which response something was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    pub(in crate::testing) step: usize,
    pub(in crate::testing) request: String,
    pub(in crate::testing) status: Option<StatusCode>,
    pub(in crate::testing) place: String,
    pub(in crate::testing) excerpt: String,
}

impl Location {
    /// Returns which request of its reader it was, from 1 on.
    #[must_use]
    pub fn step(&self) -> usize {
        self.step
    }

    /// Returns the request's method and path.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Returns the response's status, if there was a response.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns the place in the response: `status`, `header x-total`, `body`, `$.items[0].name`,
    /// `line 3, word 1`, `trailer grpc-message`.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Returns what was seen and what stands around it, with escapes for what is not printable.
    #[must_use]
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }

    /// Returns the request without what differs from one user to the next.
    pub(in crate::testing) fn route(&self) -> String {
        route(&self.request)
    }
}

/// Returns a method and path with `{}` for each segment that has a digit.
pub(in crate::testing) fn route(request: &str) -> String {
    let segments = request.split('/').map(|segment| {
        if segment.bytes().any(|byte| byte.is_ascii_digit()) {
            "{}"
        } else {
            segment
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.request)?;
        if let Some(status) = self.status {
            write!(f, " ({})", status.as_u16())?;
        }
        write!(f, ", response {}", self.step)?;
        if !self.place.is_empty() {
            write!(f, ", at {}", self.place)?;
        }
        Ok(())
    }
}
