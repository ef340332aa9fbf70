//! One small application on four real servers, and a client for each.
//!
//! `app` is the application: the layer under test, the layers around it, and a handler that reports
//! what reached it. `audit` keeps the typed events. [`Server`] starts a server, and [`Client`] sends
//! it the same request in its protocol.

#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod app;
pub(crate) mod audit;
pub(crate) mod axum;
pub(crate) mod bare;
pub(crate) mod cases;
pub(crate) mod client;
pub(crate) mod hyper;
pub(crate) mod tonic;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use ::tonic::Code;
use http::StatusCode;
use tokio::{net::TcpListener, task::AbortHandle};

pub(crate) use self::{
    app::{Office, Rules},
    audit::Why,
    client::{Client, Sent},
    tonic::whoami::{Seen, Whose},
};

/// A server of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// axum's `serve`, over HTTP/1.1.
    Axum,
    /// hyper's own HTTP/1.1 connections.
    HyperHttp1,
    /// hyper's own HTTP/2 connections, by prior knowledge.
    HyperHttp2,
    /// tonic, called by the generated client for one message.
    TonicUnary,
    /// The same, for a stream of messages.
    TonicStreaming,
    /// No server: the stack is called directly.
    Bare,
}

/// A server that runs until it is dropped.
pub(crate) struct Running {
    server: Server,
    address: SocketAddr,
    bare: Option<bare::Stack>,
    pub(crate) office: Arc<Office>,
    task: Option<AbortHandle>,
}

impl Server {
    pub(crate) const ALL: [Self; 6] = [
        Self::Axum,
        Self::HyperHttp1,
        Self::HyperHttp2,
        Self::TonicUnary,
        Self::TonicStreaming,
        Self::Bare,
    ];

    /// Returns the number of messages for one request.
    pub(crate) fn answers(self) -> u64 {
        match self {
            Self::TonicStreaming => client::STREAMED.into(),
            _ => 1,
        }
    }

    pub(crate) async fn start(self, rules: &Rules) -> Running {
        let office = Office::open(rules);
        if self == Self::Bare {
            return Running {
                server: self,
                address: app::LOOPBACK,
                bare: Some(bare::stack(rules, &office)),
                office,
                task: None,
            };
        }
        let listener = TcpListener::bind(app::LOOPBACK)
            .await
            .expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound listener");
        let (rules, shared) = (*rules, Arc::clone(&office));
        let task = match self {
            Self::Axum => tokio::spawn(axum::serve(listener, rules, shared)),
            Self::HyperHttp1 => {
                tokio::spawn(hyper::serve(listener, hyper::Version::Http1, rules, shared))
            }
            Self::HyperHttp2 => {
                tokio::spawn(hyper::serve(listener, hyper::Version::Http2, rules, shared))
            }
            _ => tokio::spawn(tonic::serve(listener, rules, shared)),
        };
        Running {
            server: self,
            address,
            bare: None,
            office,
            task: Some(task.abort_handle()),
        }
    }
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a new connection.
    pub(crate) async fn connect(&self) -> Client {
        match (self.server, &self.bare) {
            (Server::Axum | Server::HyperHttp1, _) => Client::http1(self.address).await,
            (Server::HyperHttp2, _) => Client::http2(self.address).await,
            (Server::TonicUnary, _) => Client::Grpc(Client::grpc(self.address).await),
            (Server::TonicStreaming, _) => Client::GrpcStreaming(Client::grpc(self.address).await),
            (Server::Bare, Some(stack)) => Client::Bare(stack.clone()),
            (Server::Bare, None) => unreachable!("a bare stack is started as one"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The response: the user that the handler saw, or a refusal.
pub(crate) type Answer = Result<Seen, Refusal>;

/// A refusal in the server's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Http(StatusCode),
    Grpc(Code),
}

impl Refusal {
    /// Returns whether this is a refusal with this status.
    pub(crate) fn says(&self, status: u16) -> bool {
        match self {
            Self::Http(said) => said.as_u16() == status,
            Self::Grpc(said) => Some(*said) == grpc_code(status),
        }
    }
}

/// The gRPC status of a refusal (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
pub(crate) fn grpc_code(status: u16) -> Option<Code> {
    Some(match status {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        500 => Code::Internal,
        503 => Code::Unavailable,
        _ => return None,
    })
}

impl Seen {
    /// Returns the user of the request, if context, factory, handle and current scope agree.
    pub(crate) fn whose(&self) -> Result<&Whose, String> {
        match (&self.context, &self.factory, &self.handle, &self.scope) {
            (Some(context), Some(factory), Some(handle), Some(scope))
                if [factory, handle, scope] == [context; 3] =>
            {
                Ok(context)
            }
            _ => Err(format!(
                "the handler held what belongs to several: {self:?}"
            )),
        }
    }

    /// Returns the number of values of a header that reached the handler.
    pub(crate) fn values_of(&self, header: &str) -> u32 {
        self.headers.get(header).copied().unwrap_or(0)
    }
}

/// Waits until the condition holds. A test that would hang fails.
pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), happens)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}
