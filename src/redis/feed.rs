//! Revocations of all replicas, in a stream of Redis.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use redis::{
    AsyncCommands, Client, ErrorKind, RedisResult, Script, ServerErrorKind, Value,
    aio::MultiplexedConnection, cmd, streams::StreamInfoStreamReply,
};
use thiserror::Error;

use super::link::{self, Link};
use crate::{
    open_scopes::{FeedFuture, Follower, OpenScopes, RevocationFeed},
    outcome::UnavailableError,
};

const CALL_LIMIT: Duration = Duration::from_secs(2);
/// How long Redis waits for a message before it says that there is none. By that the connection is known
/// to be alive.
const BLOCK: Duration = Duration::from_secs(1);
const BATCH: usize = 256;

/// Carries revocations between replicas in a stream of Redis 6.2 or later, or of Valkey.
///
/// The stream is the record and the channel: each replica waits for its next entry (`XREAD BLOCK`) on a
/// connection of its own, and goes on from its last one after a break. A break is noticed within four
/// seconds. The record has at most [`MAX_RECORDED`](Self::MAX_RECORDED) messages of at most
/// [`OpenScopes::MAX_MESSAGE`] bytes, and each goes when its time is over, by the server's clock. While
/// it is full, messages wait at the replica that has revoked.
///
/// Redis keeps the record as well as its persistence does: what it loses in a crash reaches the
/// replicas that were connected, and not those that were away. `appendonly yes` with
/// `appendfsync always` loses nothing.
///
/// ```
/// use std::time::Duration;
/// use tower_user_scope::{
///     open_scopes::{OnFeedLost, OpenScopes},
///     redis::RedisFeed,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = redis::Client::open("redis://127.0.0.1/")?;
/// // As long as the longest life of a token.
/// let open = OpenScopes::new(Duration::from_secs(3_600))
///     .with_feed(RedisFeed::new(client, "shop:revocations"), OnFeedLost::Refuse);
/// # let _ = open;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisFeed {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    key: String,
    publishes: Link,
    publish: Script,
}

/// The record has as many messages as it may have.
#[derive(Debug, Error)]
#[error("the record has {} messages already", RedisFeed::MAX_RECORDED)]
struct RecordFullError;

/// An entry without a number.
#[derive(Debug, Error)]
#[error("an entry of the record has no number")]
struct OddEntryError;

impl RedisFeed {
    /// How many messages are recorded at a time.
    pub const MAX_RECORDED: usize = OpenScopes::MAX_REVOCATIONS;

    /// Creates a feed whose stream has this key, the same on all replicas of a service. It connects when
    /// it is used.
    pub fn new(client: Client, key: impl Into<String>) -> Self {
        let shared = Arc::new(Shared {
            publishes: Link::new(client.clone(), CALL_LIMIT),
            publish: Script::new(include_str!("publish.lua")),
            client,
            key: key.into(),
        });
        Self { shared }
    }
}

impl RevocationFeed for RedisFeed {
    fn publish(
        &self,
        message: String,
        keep_for: Duration,
    ) -> FeedFuture<Result<(), UnavailableError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.publish(message, keep_for).await })
    }

    fn follow(&self, follower: Follower) -> FeedFuture<UnavailableError> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let Err(error) = shared.follow(follower).await;
            error
        })
    }
}

impl Shared {
    async fn publish(&self, message: String, keep_for: Duration) -> Result<(), UnavailableError> {
        let mut connected = self.publishes.connect().await?;
        let mut call = self.publish.key(&self.key);
        // Not more than numbers of Lua can hold exactly.
        let keep_ms = keep_for.as_millis().min(1 << 50);
        let call = call
            .arg(message)
            .arg(keep_ms.to_string())
            .arg(RedisFeed::MAX_RECORDED);
        let answer = call.invoke_async(&mut connected.connection).await;
        let is_recorded = self.publishes.answered(connected.number(), answer).await?;
        if is_recorded {
            Ok(())
        } else {
            Err(UnavailableError::new(RecordFullError))
        }
    }

    async fn follow(&self, mut follower: Follower) -> Result<Infallible, UnavailableError> {
        let config = link::config(CALL_LIMIT, BLOCK + CALL_LIMIT);
        let mut connection = link::connect(&self.client, &config)
            .await
            .map_err(UnavailableError::new)?;
        let mut after = self.position(&mut connection, &follower).await?;
        let mut is_up_to_date = false;
        loop {
            let mut read = cmd("XREAD");
            read.arg("COUNT").arg(BATCH);
            if is_up_to_date {
                read.arg("BLOCK").arg(BLOCK.as_millis().to_string());
            }
            read.arg("STREAMS").arg(&self.key).arg(after.to_string());
            let streams: Option<Streams> = read
                .query_async(&mut connection)
                .await
                .map_err(UnavailableError::new)?;
            let mut entries = streams
                .into_iter()
                .flatten()
                .flat_map(|(_, entries)| entries)
                .peekable();
            is_up_to_date = entries.peek().is_none();
            if is_up_to_date {
                follower.is_up_to_date();
            }
            for (id, fields) in entries {
                // Redis numbers the entries.
                after = EntryId::parse(&id).ok_or_else(|| UnavailableError::new(OddEntryError))?;
                (follower.deliver(message(&fields), id)).map_err(UnavailableError::new)?;
            }
        }
    }

    /// Returns after which entry to go on.
    async fn position(
        &self,
        connection: &mut MultiplexedConnection,
        follower: &Follower,
    ) -> Result<EntryId, UnavailableError> {
        let known = follower.position().and_then(|id| EntryId::parse(&id));
        let Some(known) = known else {
            return Ok(EntryId::default());
        };
        let record: RedisResult<StreamInfoStreamReply> = connection.xinfo_stream(&self.key).await;
        let last = match record {
            Ok(record) => EntryId::parse(&record.last_generated_id),
            // There is no record.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError) => None,
            Err(error) => return Err(UnavailableError::new(error)),
        };
        // A record that ends before what is known has lost its end, or is another one: its new entries
        // may come before what is known too.
        let goes_on = last.is_some_and(|last| last >= known);
        Ok(if goes_on { known } else { EntryId::default() })
    }
}

/// The answer of `XREAD`: the entries of each stream, with their fields and values in turn.
type Streams = Vec<(Value, Vec<(String, Vec<Value>)>)>;

/// Returns the message of an entry; an empty text, which is not a message, if it has none.
fn message(fields: &[Value]) -> &str {
    let mut pairs = fields.chunks_exact(2);
    let message = pairs.find_map(|pair| match pair {
        [Value::BulkString(name), Value::BulkString(value)] if name == b"message" => Some(value),
        _ => None,
    });
    message
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .unwrap_or_default()
}

/// Redis' number of an entry.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct EntryId {
    time: u64,
    number: u64,
}

impl EntryId {
    fn parse(text: &str) -> Option<Self> {
        let (time, number) = text.split_once('-')?;
        Some(Self {
            time: time.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.time, self.number)
    }
}

/// Without the client, whose address may have a password.
impl fmt::Debug for RedisFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisFeed")
            .field("key", &self.shared.key)
            .finish_non_exhaustive()
    }
}
