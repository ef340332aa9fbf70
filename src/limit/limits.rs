//! The limits of a layer.

use std::{any::Any, sync::Arc};

use http::request::Parts;

use super::{
    config::{Answer, Limit},
    error::LimitError,
    fields::Fields,
    slots::Slot,
    take::{Asked, Granted, Refusal, TakeAll, ask_stores},
};
use crate::{config_error::ConfigError, context::UserContext, maybe_future::MaybeFuture};

/// The limits of a layer, in the order in which they are asked.
#[derive(Default)]
pub(crate) struct Limits {
    all: Vec<Limit>,
    /// Whether responses say what is left.
    are_returned: bool,
}

impl Limits {
    pub(crate) fn add(&mut self, limit: Limit) {
        self.all.push(limit);
    }

    pub(crate) fn set_returned(&mut self) {
        self.are_returned = true;
    }

    /// Whether responses say what is left of a limit.
    pub(crate) fn are_returned(&self) -> bool {
        self.are_returned && !self.all.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Checks the configuration, and makes what counts in this process.
    pub(crate) fn prepare(&mut self) -> Result<(), ConfigError> {
        for limit in &mut self.all {
            limit.prepare()?;
        }
        self.all.sort_by_key(Limit::place);
        let mut names: Vec<&str> = self.all.iter().map(|limit| &*limit.name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ConfigError::LimitReused {
                name: pair[0].to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Counts a request. What has to be waited for is limits in stores.
    pub(crate) fn take(
        &self,
        context: &UserContext,
        head: &Parts,
        time_limit: Option<std::time::Duration>,
    ) -> MaybeFuture<TakeAll> {
        let mut slots = Taken::default();
        let mut stores = Vec::new();
        let mut fields = self.are_returned.then(Fields::default);
        for limit in &self.all {
            match limit.take(context, head) {
                Answer::Passed => {}
                Answer::Counted(slot, left) => {
                    slots.extend(slot);
                    if let Some(fields) = &mut fields {
                        fields.add(&limit.name, limit.quota, Some(left));
                    }
                }
                Answer::UsedUp(wait) => {
                    return MaybeFuture::Ready(Err(Refusal::UsedUp(LimitError {
                        limit: Arc::clone(&limit.name),
                        quota: limit.quota,
                        wait,
                    })));
                }
                Answer::Ask(store, on_unavailable, key) => stores.push(Asked {
                    limit: Arc::clone(&limit.name),
                    quota: limit.quota,
                    store,
                    on_unavailable,
                    key,
                }),
            }
        }
        if stores.is_empty() {
            return MaybeFuture::Ready(Ok(Granted {
                slots: slots.into_held(),
                skipped: Vec::new(),
                fields: fields.and_then(Fields::into_headers),
            }));
        }
        let slots = slots.into_held();
        MaybeFuture::Future(Box::pin(ask_stores(stores, slots, fields, time_limit)))
    }
}

/// Slots of limits of this process. Most layers have one such limit.
#[derive(Default)]
enum Taken {
    #[default]
    None,
    One(Slot),
    Several(Vec<Slot>),
}

impl Taken {
    fn extend(&mut self, slot: Option<Slot>) {
        let Some(slot) = slot else { return };
        *self = match std::mem::take(self) {
            Self::None => Self::One(slot),
            Self::One(first) => Self::Several(vec![first, slot]),
            Self::Several(mut slots) => {
                slots.push(slot);
                Self::Several(slots)
            }
        };
    }

    fn into_held(self) -> Option<Box<dyn Any + Send + Sync>> {
        Some(match self {
            Self::None => return None,
            Self::One(slot) => Box::new(slot),
            Self::Several(slots) => Box::new(slots),
        })
    }
}
