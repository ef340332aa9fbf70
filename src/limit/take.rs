//! What comes of counting a request, and the limits that have to be waited for.

use std::{
    any::Any,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::HeaderMap;

use super::{
    error::LimitError,
    fields::Fields,
    quota::Quota,
    store::{LimitStore, OnUnavailable, TakeFuture, Taken},
};
use crate::{
    outcome::UnavailableError,
    time_limit::{Awaited, Deadline},
};

/// A request that is within its limits.
pub(crate) struct Granted {
    /// Dropped when the scope closes.
    pub(crate) slots: Option<Box<dyn Any + Send + Sync>>,
    /// Limits that were not checked, because their store is down.
    pub(crate) skipped: Vec<(Arc<str>, UnavailableError)>,
    /// What the response says of the limits, if it does.
    pub(crate) fields: Option<Box<HeaderMap>>,
}

/// A request that is above a limit, or whose limit could not be checked.
pub(crate) enum Refusal {
    UsedUp(LimitError),
    Unavailable(Arc<str>, UnavailableError),
}

/// Waits for the stores of limits.
pub(crate) type TakeAll = Pin<Box<dyn Future<Output = Result<Granted, Refusal>> + Send>>;

/// A limit that is counted in a store.
pub(super) struct Asked {
    pub(super) limit: Arc<str>,
    pub(super) quota: Quota,
    pub(super) store: Arc<dyn LimitStore + Send + Sync>,
    pub(super) on_unavailable: OnUnavailable,
    pub(super) key: String,
}

/// Asks one store after the other. What they granted is given back where one refuses, or where the
/// future is dropped.
pub(super) async fn ask_stores(
    asked: Vec<Asked>,
    local: Option<Box<dyn Any + Send + Sync>>,
    mut fields: Option<Fields>,
    time_limit: Option<Duration>,
) -> Result<Granted, Refusal> {
    let mut slots: Vec<Box<dyn Any + Send + Sync>> = local.into_iter().collect();
    let mut skipped = Vec::new();
    for Asked {
        limit,
        quota,
        store,
        on_unavailable,
        key,
    } in asked
    {
        match (
            in_time(store.take(key, quota), time_limit).await,
            on_unavailable,
        ) {
            (
                Ok(Taken {
                    outcome: Ok(()),
                    slot,
                    left,
                }),
                _,
            ) => {
                slots.extend(slot);
                if let Some(fields) = &mut fields {
                    fields.add(&limit, quota, left);
                }
            }
            (
                Ok(Taken {
                    outcome: Err(wait), ..
                }),
                _,
            ) => {
                return Err(Refusal::UsedUp(LimitError { limit, quota, wait }));
            }
            (Err(unavailable), OnUnavailable::Allow) => skipped.push((limit, unavailable)),
            (Err(unavailable), OnUnavailable::Refuse) => {
                return Err(Refusal::Unavailable(limit, unavailable));
            }
        }
    }
    let slots: Option<Box<dyn Any + Send + Sync>> = match slots.len() {
        0 | 1 => slots.pop(),
        _ => Some(Box::new(slots)),
    };
    Ok(Granted {
        slots,
        skipped,
        fields: fields.and_then(Fields::into_headers),
    })
}

async fn in_time(
    mut answer: TakeFuture,
    time_limit: Option<Duration>,
) -> Result<Taken, UnavailableError> {
    let mut deadline = pin!(Deadline::default());
    poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(answer),
        Poll::Pending => (deadline.as_mut())
            .poll(Awaited::Limit, cx, || time_limit)
            .map(|limit| Err(UnavailableError::timed_out(limit))),
    })
    .await
}
