//! A connection to Redis that several requests share.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tokio::{sync::Mutex, time::Instant};

use crate::outcome::UnavailableError;

/// For how long no attempt to connect is made after one has failed.
const PAUSE: Duration = Duration::from_millis(250);

/// A connection, which is made when it is needed, and made anew after an error.
pub(super) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts the connections.
    number: u64,
    failed: Option<(Instant, RedisError)>,
}

/// A connection with its number.
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    number: u64,
}

impl Link {
    /// Neither connecting nor an answer takes longer than the limit.
    pub(super) fn new(client: Client, limit: Duration) -> Self {
        Self {
            client,
            config: config(limit, limit),
            state: Mutex::default(),
        }
    }

    /// Returns the connection. While it can't be made, requests fail at once instead of waiting for one
    /// another.
    pub(super) async fn connect(&self) -> Result<Connected, UnavailableError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.clone() {
            let number = state.number;
            return Ok(Connected { connection, number });
        }
        if let Some((since, error)) = &state.failed {
            if since.elapsed() < PAUSE {
                return Err(UnavailableError::new(error.clone()));
            }
        }
        match connect(&self.client, &self.config).await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                state.number += 1;
                state.failed = None;
                let number = state.number;
                Ok(Connected { connection, number })
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(UnavailableError::new(error))
            }
        }
    }

    /// Gives the connection up, unless the error is the answer of a server that is well.
    pub(super) async fn answered<T>(
        &self,
        number: u64,
        answer: RedisResult<T>,
    ) -> Result<T, UnavailableError> {
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let is_well = matches!(
            error.kind(),
            ErrorKind::Extension | ErrorKind::Server(ServerErrorKind::ResponseError)
        );
        if !is_well {
            let mut state = self.state.lock().await;
            if state.number == number {
                state.connection = None;
            }
        }
        Err(UnavailableError::new(error))
    }
}

impl Connected {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

pub(super) fn config(connect: Duration, answer: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect))
        .set_response_timeout(Some(answer))
}

pub(super) async fn connect(
    client: &Client,
    config: &AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    client
        .get_multiplexed_async_connection_with_config(config)
        .await
}
