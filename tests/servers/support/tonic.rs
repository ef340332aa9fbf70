//! tonic's transport with the generated service.
//!
//! `tonic-prost-build` generates `proto/whoami.rs` from `proto/whoami.proto`. It is in the repository,
//! so that a fresh machine needs no `protoc`. A test generates it again and fails if it is outdated.

use std::{pin::Pin, sync::Arc};

use ::tonic::{
    Request, Response, Status, async_trait,
    transport::server::{Server, TcpIncoming},
};
use futures::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tower::util::MapRequestLayer;
use tower_user_scope::UserScopeExt;

use self::whoami::{
    Question, Seen,
    who_am_i_server::{WhoAmI, WhoAmIServer},
};
use super::app::{self, Desk, Office, Rules};

#[allow(
    warnings,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub(crate) mod whoami {
    include!("proto/whoami.rs");
}

pub(super) async fn serve(listener: TcpListener, rules: Rules, office: Arc<Office>) {
    Server::builder()
        .layer(MapRequestLayer::new(app::outer::<::tonic::body::Body>))
        .layer(app::layer(&rules, &office))
        .add_service(WhoAmIServer::new(Handler))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .expect("tonic serves");
}

struct Handler;

#[async_trait]
impl WhoAmI for Handler {
    async fn ask(&self, request: Request<Question>) -> Result<Response<Seen>, Status> {
        let (desk, context) = (request.scoped::<Desk>()?, request.user_context()?);
        let headers = request.metadata().as_ref();
        Ok(Response::new(app::look(desk, context, headers, 0).await))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<Seen, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Question>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let desk = request.scoped::<Desk>()?.clone();
        let context = request.user_context()?.clone();
        let headers = request.metadata().clone().into_headers();
        let times = request.into_inner().times;
        let looks = stream::unfold(0, move |done| {
            let (desk, context, headers) = (desk.clone(), context.clone(), headers.clone());
            async move {
                if done == times {
                    return None;
                }
                let seen = app::look(&desk, &context, &headers, 0).await;
                Some((Ok(seen), done + 1))
            }
        });
        Ok(Response::new(looks.boxed()))
    }
}
