//! Revocations as messages between replicas.
//!
//! What arrives is input from outside: it is bounded, of one version, and without unknown fields.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Revocation, revocation::Whom};
use crate::{
    context::{IdError, IdRules, Principal, ServiceName, Subject, VisitorId},
    lifetime::EndReason,
};

/// The longest message, in bytes.
pub(super) const MAX_LEN: usize = 16 * 1024;
const VERSION: u8 = 1;

/// A revocation on its way.
pub(super) struct Message {
    /// Which registry has sent it.
    pub(super) origin: u64,
    pub(super) revoked_at: SystemTime,
    pub(super) revocation: Revocation,
}

/// Why a message was not understood, without any of its text.
#[derive(Debug, Error)]
pub(super) enum MessageError {
    #[error("it has {0} bytes")]
    TooLong(usize),
    #[error("it is not JSON of the expected form, at column {0}")]
    Malformed(usize),
    #[error("it is of version {0}")]
    Version(u8),
    #[error("it has an id that is not valid: {0}")]
    Id(#[from] IdError),
}

/// The form on the wire; times are those of `serde`: whole seconds and nanoseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u8,
    origin: u64,
    revoked_at: SystemTime,
    whom: WireWhom,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued_before: Option<SystemTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    except_session_sha256: Option<[u8; 32]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only_session: Option<String>,
    reason: WireReason,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum WireWhom {
    User {
        id: String,
        tenant: Option<String>,
    },
    Service {
        name: String,
        tenant: Option<String>,
    },
    Visitor {
        id: String,
        tenant: Option<String>,
    },
    Session {
        id: String,
    },
    Token {
        id: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireReason {
    LoggedOut,
    Revoked,
}

/// The version alone, whatever else there is.
#[derive(Deserialize)]
struct OfVersion {
    version: u8,
}

impl Message {
    /// Returns the text; `None` where the revocation says nothing to other replicas, because its
    /// subject is that of one request.
    pub(super) fn encode(&self) -> Option<Result<String, MessageError>> {
        let revocation = &self.revocation;
        let whom = match &revocation.whom {
            Whom::Subject(subject) => {
                let tenant = subject.tenant_id().map(ToString::to_string);
                match subject.principal() {
                    Principal::User(id) => {
                        let id = id.to_string();
                        WireWhom::User { id, tenant }
                    }
                    Principal::Service(name) => {
                        let name = name.to_string();
                        WireWhom::Service { name, tenant }
                    }
                    Principal::Visitor(id) => {
                        let id = id.to_string();
                        WireWhom::Visitor { id, tenant }
                    }
                    Principal::Anonymous => return None,
                }
            }
            Whom::Session(id) => WireWhom::Session { id: id.to_string() },
            Whom::Token(id) => WireWhom::Token { id: id.to_string() },
        };
        let wire = Wire {
            version: VERSION,
            origin: self.origin,
            revoked_at: writable(self.revoked_at),
            whom,
            issued_before: revocation.issued_before.map(writable),
            except_session_sha256: revocation.except_session,
            only_session: revocation.only_session.as_deref().map(str::to_owned),
            reason: match revocation.reason {
                EndReason::LoggedOut => WireReason::LoggedOut,
                _ => WireReason::Revoked,
            },
        };
        let text = serde_json::to_string(&wire).map_err(|error| malformed(&error));
        Some(text.and_then(|text| match text.len() {
            len if len > MAX_LEN => Err(MessageError::TooLong(len)),
            _ => Ok(text),
        }))
    }

    pub(super) fn decode(text: &str) -> Result<Self, MessageError> {
        if text.len() > MAX_LEN {
            return Err(MessageError::TooLong(text.len()));
        }
        let wire: Wire = match serde_json::from_str::<OfVersion>(text) {
            Ok(OfVersion { version: VERSION }) => serde_json::from_str(text),
            Ok(OfVersion { version }) => return Err(MessageError::Version(version)),
            Err(error) => Err(error),
        }
        .map_err(|error| malformed(&error))?;
        let mut revocation = Revocation::new(wire.whom.whom()?);
        revocation.issued_before = wire.issued_before;
        revocation.except_session = wire.except_session_sha256;
        revocation.only_session = wire.only_session.map(Into::into);
        revocation.reason = match wire.reason {
            WireReason::LoggedOut => EndReason::LoggedOut,
            WireReason::Revoked => EndReason::Revoked,
        };
        Ok(Self {
            origin: wire.origin,
            revoked_at: wire.revoked_at,
            revocation,
        })
    }

    /// Until when it is remembered: not longer than by the replica that sent it, whatever its clock
    /// says. `None` is for ever.
    pub(super) fn remembered_until(
        &self,
        now: SystemTime,
        keep_for: Duration,
    ) -> Option<SystemTime> {
        self.revoked_at.min(now).checked_add(keep_for)
    }
}

impl WireWhom {
    fn whom(self) -> Result<Whom, IdError> {
        // Placeholders are refused where users are found, by rules that an application may change.
        let rules = IdRules::new().placeholders::<[&str; 0]>([]);
        let (principal, tenant) = match self {
            Self::User { id, tenant } => (rules.user_id(&id)?.into(), tenant),
            Self::Service { name, tenant } => (ServiceName::try_from(name)?.into(), tenant),
            Self::Visitor { id, tenant } => (Principal::from(VisitorId::try_from(id)?), tenant),
            Self::Session { id } => return Ok(Whom::Session(id.into())),
            Self::Token { id } => return Ok(Whom::Token(id.into())),
        };
        let subject = Subject::new(principal);
        Ok(Whom::Subject(match tenant {
            Some(tenant) => subject.with_tenant_id(rules.tenant_id(&tenant)?),
            None => subject,
        }))
    }
}

/// What was issued before 1970 was issued before everything that counts.
fn writable(time: SystemTime) -> SystemTime {
    time.max(SystemTime::UNIX_EPOCH)
}

/// Without the error's text, which may quote the message.
fn malformed(error: &serde_json::Error) -> MessageError {
    MessageError::Malformed(error.column())
}
