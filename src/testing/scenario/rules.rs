//! What an application says about its responses and its log-in.

use std::fmt;

use bytes::Bytes;
use http::Request;

use super::places::of_all_items;
use crate::testing::{TestUser, isolation::SharedPaths};

type Authenticate = Box<dyn Fn(&TestUser, Request<Bytes>) -> Request<Bytes>>;
pub(super) type Ask = Box<dyn Fn(&str) -> Request<Bytes>>;

/// What an application says about its responses and its log-in.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) authenticate: Option<Authenticate>,
    /// How a thing of a kind is asked for by its id.
    pub(super) foreign: Vec<(String, Ask)>,
    /// Places that may depend on others.
    pub(super) may_differ: Vec<String>,
    /// Paths whose responses may depend on others and show their ids.
    pub(super) shared: SharedPaths,
}

impl Rules {
    pub(super) fn authenticated(&self, user: &TestUser, request: Request<Bytes>) -> Request<Bytes> {
        match &self.authenticate {
            Some(authenticate) => authenticate(user, request),
            None => request,
        }
    }

    pub(super) fn may_differ(&self, place: &str) -> bool {
        let is_field = |rule: &str| {
            ["header ", "trailer "].iter().any(|kind| {
                place
                    .strip_prefix(kind)
                    .is_some_and(|name| name.eq_ignore_ascii_case(rule))
            })
        };
        let mut rules = self.may_differ.iter();
        rules.any(|rule| rule == place || *rule == of_all_items(place) || is_field(rule))
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("may_differ", &self.may_differ)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
