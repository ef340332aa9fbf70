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
use thiserror::Error;

use super::{
    error::LimitError,
    fields::Fields,
    quota::Quota,
    store::{LimitStore, OnUnavailable, TakeAllFuture, Taken},
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

/// A store has fewer answers than it was asked for.
#[derive(Debug, Error)]
#[error("the store has not answered for this limit")]
struct NoAnswerError;

/// Asks one store after the other, each about all limits that are in it. What they granted is given back
/// where one refuses, or where the future is dropped.
pub(super) async fn ask_stores(
    asked: Vec<Asked>,
    local: Option<Box<dyn Any + Send + Sync>>,
    mut fields: Option<Fields>,
    time_limit: Option<Duration>,
) -> Result<Granted, Refusal> {
    let mut slots: Vec<Box<dyn Any + Send + Sync>> = local.into_iter().collect();
    let mut skipped = Vec::new();
    let mut rest = asked;
    while let Some(first) = rest.first() {
        let store = Arc::clone(&first.store);
        let in_store = |asked: &Asked| Arc::ptr_eq(&asked.store, &store);
        let (of_store, others): (Vec<_>, _) = rest.into_iter().partition(in_store);
        rest = others;
        let keys = of_store
            .iter()
            .map(|asked| (asked.key.clone(), asked.quota));
        let (answers, error) = match in_time(store.take_all(keys.collect()), time_limit).await {
            Ok(answers) => (answers, None),
            Err(unavailable) => (Vec::new(), Some(unavailable)),
        };
        let mut answers = answers.into_iter();
        let unavailable = || {
            let error = error.clone();
            error.unwrap_or_else(|| UnavailableError::new(NoAnswerError))
        };
        for asked in of_store {
            let (limit, quota) = (asked.limit, asked.quota);
            match (answers.next(), asked.on_unavailable) {
                (Some(taken), _) => {
                    slots.extend(taken.slot);
                    if let Err(wait) = taken.outcome {
                        return Err(Refusal::UsedUp(LimitError { limit, quota, wait }));
                    }
                    if let Some(fields) = &mut fields {
                        fields.add(&limit, quota, taken.left);
                    }
                }
                (None, OnUnavailable::Allow) => skipped.push((limit, unavailable())),
                (None, OnUnavailable::Refuse) => {
                    return Err(Refusal::Unavailable(limit, unavailable()));
                }
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
    mut answer: TakeAllFuture,
    time_limit: Option<Duration>,
) -> Result<Vec<Taken>, UnavailableError> {
    let mut deadline = pin!(Deadline::default());
    poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(answer),
        Poll::Pending => (deadline.as_mut())
            .poll(Awaited::Limit, cx, || time_limit)
            .map(|limit| Err(UnavailableError::timed_out(limit))),
    })
    .await
}
