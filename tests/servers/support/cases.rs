//! The table of scenarios: one request in each row, with its result on every server.

use tower_user_scope::{
    context::{CorrelationErrorKind, IdErrorKind},
    strategy::{InvalidErrorKind, StripReason, UntrustedReason},
};

use super::{Rules, Why, app::Who};

/// The principal and its strategy, or the status and the reason.
pub(crate) type Expected = Result<(&'static str, &'static str), (u16, Why)>;

/// One request and its expected result.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) rules: Rules,
    pub(crate) sent: &'static [(&'static str, &'static str)],
    pub(crate) expected: Expected,
    /// The identity headers that the handler still sees. It sees no others.
    pub(crate) kept: &'static [&'static str],
    /// The headers that are removed, with the reasons.
    pub(crate) stripped: &'static [(&'static str, StripReason)],
    /// Whether a strategy has to wait.
    pub(crate) waits: bool,
}

const CASE: Case = Case {
    name: "",
    rules: Rules::DEFAULT,
    sent: &[],
    expected: Err((401, Why::Nobody)),
    kept: &[],
    stripped: &[],
    waits: false,
};

/// The layer of a service whose proxies are elsewhere: a peer on loopback is not a proxy.
const PROXIES_ELSEWHERE: Rules = Rules {
    trusts: "10.0.0.0/8",
    ..Rules::DEFAULT
};
const UNANIMOUS: Rules = Rules {
    unanimous: true,
    ..Rules::DEFAULT
};
const ANONYMOUS_FALLBACK: Rules = Rules {
    fallback: Who::Anonymous,
    ..Rules::DEFAULT
};
const SERVICE_FALLBACK: Rules = Rules {
    fallback: Who::Service("internal"),
    ..Rules::DEFAULT
};
const PROXIES_ELSEWHERE_AND_FALLBACK: Rules = Rules {
    trusts: PROXIES_ELSEWHERE.trusts,
    ..SERVICE_FALLBACK
};

const SPOOFED: StripReason = StripReason::Untrusted(UntrustedReason::PeerNotListed);

const NOT_ACCEPTED: Expected = Err((401, Why::NotAccepted("trusted_header")));
const STORE_IS_DOWN: Expected = Err((503, Why::Unavailable("api_key")));
const UNKNOWN_KEY: InvalidErrorKind = InvalidErrorKind::Rejected("api_key_unknown");
const A_SPACE_AT_1: CorrelationErrorKind =
    CorrelationErrorKind::Id(IdErrorKind::ForbiddenCharacter { at: 1 });

const fn bad_header(reason: InvalidErrorKind) -> Expected {
    Err((400, Why::Invalid("trusted_header", reason)))
}

/// The parts of B20, B21, B22, B23, B24, B25 and B26 that one request can show.
pub(crate) const CASES: &[Case] = &[
    // Identity headers.
    Case {
        name: "a trusted header from a trusted proxy",
        sent: &[("x-user-id", "alice")],
        expected: Ok(("alice", "trusted_header")),
        kept: &["x-user-id"],
        ..CASE
    },
    Case {
        name: "the same, spoofed from an untrusted peer",
        rules: PROXIES_ELSEWHERE,
        sent: &[("x-user-id", "alice")],
        expected: NOT_ACCEPTED,
        stripped: &[("x-user-id", SPOOFED)],
        ..CASE
    },
    Case {
        name: "spoofed beside a session: the session counts and the header does not get through",
        rules: PROXIES_ELSEWHERE,
        sent: &[("x-user-id", "alice"), ("x-session-of", "bob")],
        expected: Ok(("bob", "extension")),
        stripped: &[("x-user-id", SPOOFED)],
        ..CASE
    },
    Case {
        name: "spoofed where a fallback would act",
        rules: PROXIES_ELSEWHERE_AND_FALLBACK,
        sent: &[("x-user-id", "alice")],
        expected: NOT_ACCEPTED,
        stripped: &[("x-user-id", SPOOFED)],
        ..CASE
    },
    Case {
        name: "a name that CGI would fold into the header's",
        sent: &[("x_user_id", "alice")],
        expected: NOT_ACCEPTED,
        stripped: &[("x_user_id", StripReason::LookAlike)],
        ..CASE
    },
    Case {
        name: "the look-alike beside the header: only the header gets through",
        sent: &[("x-user-id", "alice"), ("x_user_id", "mallory")],
        expected: Ok(("alice", "trusted_header")),
        kept: &["x-user-id"],
        stripped: &[("x_user_id", StripReason::LookAlike)],
        ..CASE
    },
    Case {
        name: "the header twice, with two users",
        sent: &[("x-user-id", "alice"), ("x-user-id", "bob")],
        expected: bad_header(InvalidErrorKind::Repeated),
        stripped: &[("x-user-id", StripReason::Unused)],
        ..CASE
    },
    Case {
        name: "the header twice, with one user",
        sent: &[("x-user-id", "alice"), ("x-user-id", "alice")],
        expected: bad_header(InvalidErrorKind::Repeated),
        stripped: &[("x-user-id", StripReason::Unused)],
        ..CASE
    },
    Case {
        name: "two users joined by a comma",
        sent: &[("x-user-id", "alice, bob")],
        expected: bad_header(InvalidErrorKind::Repeated),
        stripped: &[("x-user-id", StripReason::Unused)],
        ..CASE
    },
    Case {
        name: "a placeholder",
        sent: &[("x-user-id", "undefined")],
        expected: bad_header(InvalidErrorKind::Id(IdErrorKind::Placeholder)),
        stripped: &[("x-user-id", StripReason::Unused)],
        ..CASE
    },
    Case {
        name: "an empty header",
        sent: &[("x-user-id", "")],
        expected: bad_header(InvalidErrorKind::Id(IdErrorKind::Empty)),
        stripped: &[("x-user-id", StripReason::Unused)],
        ..CASE
    },
    Case {
        name: "a bad header beside a good session: never skipped for it",
        sent: &[("x-user-id", "null"), ("x-session-of", "bob")],
        expected: bad_header(InvalidErrorKind::Id(IdErrorKind::Placeholder)),
        stripped: &[("x-user-id", StripReason::Unused)],
        ..CASE
    },
    // Values of the layers around the layer.
    Case {
        name: "what an auth middleware left",
        sent: &[("x-session-of", "bob")],
        expected: Ok(("bob", "extension")),
        ..CASE
    },
    Case {
        name: "what it left, of a type that nobody asked for",
        sent: &[("x-other-session", "bob")],
        ..CASE
    },
    Case {
        name: "the context of an outer layer",
        sent: &[("x-job-of", "dave")],
        expected: Ok(("dave", "existing_context")),
        ..CASE
    },
    Case {
        name: "the header before the session, in the order of the list",
        sent: &[("x-session-of", "bob"), ("x-user-id", "alice")],
        expected: Ok(("alice", "trusted_header")),
        kept: &["x-user-id"],
        ..CASE
    },
    // No credential.
    Case {
        name: "nobody, and no fallback",
        ..CASE
    },
    Case {
        name: "nobody, and an anonymous fallback",
        rules: ANONYMOUS_FALLBACK,
        expected: Ok(("anonymous", "anonymous_fallback")),
        ..CASE
    },
    Case {
        name: "nobody, and a service for a fallback",
        rules: SERVICE_FALLBACK,
        expected: Ok(("service internal", "service_fallback")),
        ..CASE
    },
    // Several credentials.
    Case {
        name: "two who disagree, under the unanimous rule",
        rules: UNANIMOUS,
        sent: &[("x-user-id", "alice"), ("x-session-of", "bob")],
        expected: Err((401, Why::Conflict("trusted_header", "extension"))),
        stripped: &[("x-user-id", StripReason::Unused)],
        ..CASE
    },
    Case {
        name: "two who disagree, one of whom has to be waited for",
        rules: UNANIMOUS,
        sent: &[("x-user-id", "alice"), ("x-api-key", "key-of-bob")],
        expected: Err((401, Why::Conflict("trusted_header", "api_key"))),
        stripped: &[("x-user-id", StripReason::Unused)],
        waits: true,
        ..CASE
    },
    Case {
        name: "two who agree: the one with proof has found it",
        rules: UNANIMOUS,
        sent: &[("x-user-id", "alice"), ("x-api-key", "key-of-alice")],
        expected: Ok(("alice", "api_key")),
        kept: &["x-user-id"],
        waits: true,
        ..CASE
    },
    // A strategy that has to wait.
    Case {
        name: "a key in a store",
        sent: &[("x-api-key", "key-of-carol")],
        expected: Ok(("carol", "api_key")),
        waits: true,
        ..CASE
    },
    Case {
        name: "a key that the store does not know",
        sent: &[("x-api-key", "guessed")],
        expected: Err((401, Why::Invalid("api_key", UNKNOWN_KEY))),
        waits: true,
        ..CASE
    },
    Case {
        name: "a store that is down",
        sent: &[("x-api-key", "key-lost")],
        expected: STORE_IS_DOWN,
        waits: true,
        ..CASE
    },
    Case {
        name: "a store that is down, where a fallback would act",
        rules: SERVICE_FALLBACK,
        sent: &[("x-api-key", "key-lost")],
        expected: STORE_IS_DOWN,
        waits: true,
        ..CASE
    },
    // Errors after resolution.
    Case {
        name: "somebody else's thread",
        sent: &[("x-user-id", "bob"), ("x-thread-id", "thread-of-alice")],
        expected: Err((
            403,
            Why::Forbidden("trusted_header", "thread_of_somebody_else"),
        )),
        ..CASE
    },
    Case {
        name: "one's own thread",
        sent: &[("x-user-id", "alice"), ("x-thread-id", "thread-of-alice")],
        expected: Ok(("alice", "trusted_header")),
        kept: &["x-user-id"],
        ..CASE
    },
    Case {
        name: "a bad correlation id",
        sent: &[("x-user-id", "alice"), ("x-thread-id", "a b")],
        expected: Err((400, Why::Correlation("thread_id", A_SPACE_AT_1))),
        ..CASE
    },
    Case {
        name: "a factory that fails",
        sent: &[("x-user-id", "frank")],
        expected: Err((500, Why::FactoryFailed)),
        ..CASE
    },
    Case {
        name: "a factory that fails after a wait",
        sent: &[("x-api-key", "key-of-frank")],
        expected: Err((500, Why::FactoryFailed)),
        waits: true,
        ..CASE
    },
    Case {
        name: "a factory whose database is down",
        sent: &[("x-user-id", "fiona")],
        expected: Err((503, Why::FactoryUnavailable)),
        ..CASE
    },
];

/// All headers that could name a user to a handler.
pub(crate) const IDENTITY_HEADERS: [&str; 2] = ["x-user-id", "x_user_id"];
