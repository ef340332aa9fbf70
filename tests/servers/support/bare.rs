//! No server: the stack as a test calls it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_http::add_extension::AddExtensionLayer;
use tower_user_scope::{MissingScopeError, PeerAddr, middleware::ResponseBody};

use super::{
    app::{self, Office, Rules},
    hyper::handle,
};

pub(crate) type Stack = BoxCloneSyncService<
    Request<Full<Bytes>>,
    Response<ResponseBody<Full<Bytes>>>,
    MissingScopeError,
>;

pub(super) fn stack(rules: &Rules, office: &Arc<Office>) -> Stack {
    let stack = ServiceBuilder::new()
        .layer(AddExtensionLayer::new(PeerAddr(app::LOOPBACK)))
        .map_request(app::outer::<Full<Bytes>>)
        .layer(app::layer(rules, office))
        .service_fn(handle);
    BoxCloneSyncService::new(stack)
}
