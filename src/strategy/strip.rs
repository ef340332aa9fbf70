//! Removes the header of a credential, and headers that an upstream would treat as equal.

use http::{HeaderName, request::Parts};

use crate::{
    header_set,
    stripped::{StripReason, Stripped, UntrustedReason},
};

/// Why a sender is not trusted, and what would be.
pub(crate) struct Untrusted<'a> {
    pub(crate) reason: UntrustedReason,
    /// The networks of trusted proxies, where that is what the peer is not in.
    pub(crate) wanted: Option<&'a str>,
}

#[inline]
pub(crate) fn fold_alike(ours: &HeaderName, sent: &HeaderName) -> bool {
    header_set::fold_alike(ours.as_str().as_bytes(), sent.as_str().as_bytes())
}

/// Removes `name`, unless it is believed, and every name that folds into it.
#[inline]
pub(crate) fn strip_alike<'s>(
    head: &mut Parts,
    name: &HeaderName,
    believed: bool,
    trust: impl FnOnce(&Parts) -> Result<(), Untrusted<'s>>,
    stripped: &mut dyn FnMut(Stripped<'_>),
) {
    let is_removed = |sent: &HeaderName| {
        sent.as_str().len() == name.as_str().len()
            && if sent == name {
                !believed
            } else {
                fold_alike(name, sent)
            }
    };
    if head.headers.keys().any(is_removed) {
        strip(head, name, is_removed, trust, stripped);
    }
}

#[cold]
fn strip<'s>(
    head: &mut Parts,
    name: &HeaderName,
    is_removed: impl Fn(&HeaderName) -> bool,
    trust: impl FnOnce(&Parts) -> Result<(), Untrusted<'s>>,
    stripped: &mut dyn FnMut(Stripped<'_>),
) {
    let (own, wanted) = match trust(head) {
        Ok(()) => (StripReason::Unused, None),
        Err(untrusted) => (StripReason::Untrusted(untrusted.reason), untrusted.wanted),
    };
    let names: Vec<HeaderName> = head
        .headers
        .keys()
        .filter(|sent| is_removed(sent))
        .cloned()
        .collect();
    for sent in names {
        head.headers.remove(&sent);
        let reason = if sent == *name {
            own
        } else {
            StripReason::LookAlike
        };
        let removed = Stripped::new(&sent, reason);
        stripped(match wanted {
            Some(wanted) if reason == own => removed.with_wanted(wanted),
            _ => removed,
        });
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::fold_alike;

    #[test]
    fn names_fold_alike_only_where_a_cgi_upstream_would_make_them_one() {
        for (sent, alike) in [
            ("x-user-id", true),
            ("x_user_id", true),
            ("x-user_id", true),
            ("x.user~id", true),
            ("x-user-ids", false),
            ("xxuser-id", false),
            ("x-user1id", false),
            ("y-user-id", false),
        ] {
            let ours = HeaderName::from_static("x-user-id");
            let name = HeaderName::try_from(sent).expect("a header name");
            assert_eq!(fold_alike(&ours, &name), alike, "{sent}");
        }
    }
}
