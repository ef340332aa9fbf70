//! B50: in a server that runs handlers on tasks of its own, work that is given its request's scope
//! is checked. Work that has none is reported, and refused with an answer where the layer requires a
//! scope.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResult, ClientNotification, ClientRequest, ContentBlock,
        Extensions, ServerInfo, ServerResult,
    },
    service::{NotificationContext, RequestContext},
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use salvo::{
    Depot, FlowCtrl, Handler, Listener, Router, conn::TcpListener as SalvoListener,
    http::body::ReqBody, prelude::TowerLayerCompat,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_user_scope::{
    Scoped, TrustedHeader, UserContext, UserScopeExt, UserScopeLayer, audit::AuditEvent,
    authorize::Authorize, factory::ProvideFactory, middleware::StrategyList,
    scope::InstrumentScope, testing::Recorder,
};

/// What a request's factory answers: whose it is.
struct Desk(String);

/// The first user's handle, kept by mistake.
type Kept = Arc<Mutex<Option<Scoped<Desk>>>>;

fn layer(
    requires_scope: bool,
    events: &Recorder,
) -> UserScopeLayer<
    impl StrategyList<Pending: Send> + Send + Sync + 'static + use<>,
    impl ProvideFactory<Future: Send> + Send + Sync + 'static + use<>,
    impl Authorize<Future: Send> + Send + Sync + 'static + use<>,
> {
    let builder = UserScopeLayer::builder()
        .strategy(TrustedHeader::new("x-user").only_if(|_| true))
        .factory(|user| Desk(user.user_id().map_or_else(String::new, ToString::to_string)))
        .observer(events.clone());
    let builder = if requires_scope {
        builder.require_scope()
    } else {
        builder
    };
    builder.build().expect("a valid configuration")
}

/// Returns how many places were reported since the last call, where factories are used outside every
/// scope.
fn places_outside(events: &Recorder) -> usize {
    let events = events.take().into_iter();
    let outside =
        events.filter(|event| matches!(event, AuditEvent::FactoryUsedOutsideScope { .. }));
    outside.count()
}

/// Answers with whose factory it was given, and with that of whoever came first.
#[derive(Clone, Default)]
struct Tools {
    first: Kept,
}

impl Tools {
    /// Panics where the factory may not be used, as handlers do.
    fn own(desk: &Scoped<Desk>) -> String {
        let in_scope = UserContext::current().is_some();
        format!("{} in scope: {in_scope}", desk.0)
    }

    fn first(&self, desk: &Scoped<Desk>) -> String {
        let first = self.first.lock().expect("no panic in here");
        let first = first.clone().unwrap_or_else(|| desk.clone());
        match Scoped::try_get(&first) {
            Ok(desk) => desk.0.clone(),
            Err(_) => "refused".to_owned(),
        }
    }

    fn keep(&self, desk: &Scoped<Desk>) {
        let mut first = self.first.lock().expect("no panic in here");
        first.get_or_insert(Scoped::keep(desk));
    }
}

impl ServerHandler for Tools {
    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let head = context.extensions.get::<Parts>().expect("of a request");
        let desk = head.scoped::<Desk>().expect("inside the layer");
        self.keep(desk);
        let answer = match &*call.name {
            "own" => Self::own(desk),
            _ => self.first(desk),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(answer)]))
    }
}

/// Runs what a handler does for a request in the scope of the request's user, and answers where it
/// panics.
struct InUserScope<H>(H);

impl<H> InUserScope<H> {
    /// The session's task has the head of each request, and no scope.
    fn user(extensions: &Extensions) -> Result<UserContext, ErrorData> {
        let head = extensions.get::<Parts>();
        let user = head.and_then(|head| head.user_context().ok()).cloned();
        user.ok_or_else(|| ErrorData::internal_error("the request could not be prepared", None))
    }
}

impl<H: rmcp::Service<RoleServer>> rmcp::Service<RoleServer> for InUserScope<H> {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let user = Self::user(&context.extensions)?;
        let work = self.0.handle_request(request, context).in_scope(user);
        // rmcp answers nothing where a handler panics, and its client would wait.
        let done = AssertUnwindSafe(work).catch_unwind().await;
        done.unwrap_or_else(|_| Err(ErrorData::internal_error("the tool failed", None)))
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let user = Self::user(&context.extensions)?;
        let work = self.0.handle_notification(notification, context);
        work.in_scope(user).await
    }

    fn get_info(&self) -> ServerInfo {
        self.0.get_info()
    }
}

/// Serves the tools over HTTP until the test ends, and returns the address.
async fn serve_mcp<H>(
    handler: fn(Tools) -> H,
    requires_scope: bool,
    stateful: bool,
    events: &Recorder,
) -> String
where
    H: rmcp::Service<RoleServer>,
{
    let tools = Tools::default();
    let service: StreamableHttpService<H, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(handler(tools.clone())),
        Arc::default(),
        StreamableHttpServerConfig::default()
            .with_stateful_mode(stateful)
            .with_json_response(!stateful),
    );
    let router = axum::Router::new()
        .fallback_service(service)
        .layer(layer(requires_scope, events));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async { axum::serve(listener, router).await });
    format!("http://{address}/")
}

/// One user's session.
struct Session {
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
    address: String,
    user: &'static str,
    id: Option<String>,
}

impl Session {
    async fn open(address: &str, user: &'static str) -> Self {
        let mut session = Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            address: address.to_owned(),
            user,
            id: None,
        };
        let (id, _) = session
            .post(
                json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                    "protocolVersion": "2025-03-26", "capabilities": {},
                    "clientInfo": {"name": "test", "version": "1"},
                }}),
            )
            .await;
        session.id = id;
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        session.post(initialized).await;
        session
    }

    async fn call(&self, tool: &str) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": tool, "arguments": {},
        }});
        // A limit for a call that hangs, and no measure of one that does not.
        let answer = tokio::time::timeout(Duration::from_secs(60), self.post(call)).await;
        let (_, answer) = answer.expect("a call is answered");
        answer.expect("an answer")
    }

    /// Returns the text that a tool answered, or the message of an error.
    async fn text(&self, tool: &str) -> String {
        let answer = self.call(tool).await;
        let text = answer.pointer("/result/content/0/text");
        let text = text.or_else(|| answer.pointer("/error/message"));
        let text = text.and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn post(&self, message: Value) -> (Option<String>, Option<Value>) {
        let mut request = Request::post(&self.address)
            .header("x-user", self.user)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        if let Some(id) = &self.id {
            request = request.header("mcp-session-id", id);
        }
        let request = request.body(Full::from(message.to_string()));
        let response = self.client.request(request.expect("a request")).await;
        let (head, body) = response.expect("an answer").into_parts();
        assert!(head.status.is_success(), "{}", head.status);
        let id = head.headers.get("mcp-session-id");
        let id = id.map(|id| id.to_str().expect("ASCII").to_owned());
        let body = body.collect().await.expect("a body").to_bytes();
        let text = std::str::from_utf8(&body).expect("UTF-8");
        let mut messages = text
            .lines()
            .map(|line| line.strip_prefix("data:").unwrap_or(line));
        let answer = messages.find_map(|line| serde_json::from_str(line).ok());
        (id, answer)
    }
}

#[tokio::test]
async fn b50_an_mcp_tool_that_is_given_its_scope_is_checked() {
    for stateful in [false, true] {
        for requires_scope in [false, true] {
            let case = format!("stateful: {stateful}, requires scope: {requires_scope}");
            let events = Recorder::new();
            let address = serve_mcp(InUserScope, requires_scope, stateful, &events).await;
            let alice = Session::open(&address, "alice").await;
            let bob = Session::open(&address, "bob").await;
            assert_eq!(alice.text("own").await, "alice in scope: true", "{case}");
            assert_eq!(bob.text("own").await, "bob in scope: true", "{case}");
            assert_eq!(alice.text("first").await, "alice", "{case}");
            assert_eq!(bob.text("first").await, "refused", "{case}");
            assert_eq!(places_outside(&events), 0, "{case}");
        }
    }
}

/// Answers where a tool panics, and gives it no scope.
struct Unscoped<H>(H);

impl<H: rmcp::Service<RoleServer>> rmcp::Service<RoleServer> for Unscoped<H> {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let work = AssertUnwindSafe(self.0.handle_request(request, context));
        let done = work.catch_unwind().await;
        done.unwrap_or_else(|_| Err(ErrorData::internal_error("the tool failed", None)))
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.0.handle_notification(notification, context).await
    }

    fn get_info(&self) -> ServerInfo {
        self.0.get_info()
    }
}

#[tokio::test]
async fn b50_an_mcp_tool_without_a_scope_is_reported_once_for_each_place() {
    for stateful in [false, true] {
        let events = Recorder::new();
        let address = serve_mcp(Unscoped, false, stateful, &events).await;
        let alice = Session::open(&address, "alice").await;
        let bob = Session::open(&address, "bob").await;
        assert_eq!(alice.text("own").await, "alice in scope: false");
        assert_eq!(bob.text("own").await, "bob in scope: false");
        assert_eq!(places_outside(&events), 1, "stateful: {stateful}");
        // What no check refuses is not passed over in silence.
        assert_eq!(bob.text("first").await, "alice");
        assert_eq!(places_outside(&events), 1, "stateful: {stateful}");
    }
}

#[tokio::test]
async fn b50_an_mcp_tool_without_a_scope_is_refused_with_an_answer_where_one_is_required() {
    for stateful in [false, true] {
        let strict = serve_mcp(Unscoped, true, stateful, &Recorder::new()).await;
        let alice = Session::open(&strict, "alice").await;
        assert_eq!(alice.text("own").await, "the tool failed");
        assert_eq!(alice.text("first").await, "refused", "by `try_get`");
    }
}

#[salvo::async_trait]
impl Handler for Tools {
    async fn handle(
        &self,
        request: &mut salvo::Request,
        _: &mut Depot,
        response: &mut salvo::Response,
        _: &mut FlowCtrl,
    ) {
        let desk = request.extensions().scoped::<Desk>();
        let desk = desk.expect("inside the layer").clone();
        self.keep(&desk);
        tokio::task::yield_now().await;
        response.render(format!(
            "{}; first: {}",
            Self::own(&desk),
            self.first(&desk)
        ));
    }
}

async fn ask_salvo(address: &str, user: &str) -> (StatusCode, String) {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(address).header("x-user", user);
    let request = request.body(Full::default()).expect("a request");
    let response: Response<_> = client.request(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (head.status, String::from_utf8(body.into()).expect("UTF-8"))
}

/// salvo's `hoop` calls the layer on the task of a buffer, and polls its future on the
/// connection's: the handler is in scope.
#[tokio::test]
async fn b50_a_handler_behind_a_hoop_of_salvo_is_in_scope() {
    for requires_scope in [false, true] {
        let events = Recorder::new();
        let hoop = layer(requires_scope, &events);
        let router = Router::new()
            .hoop(hoop.compat::<ReqBody>())
            .get(Tools::default());
        let acceptor = SalvoListener::new("127.0.0.1:0").bind().await;
        let address = salvo::conn::Acceptor::holdings(&acceptor)[0]
            .local_addr
            .clone();
        let address = address.into_std().expect("an address of IP");
        tokio::spawn(salvo::Server::new(acceptor).serve(router));
        let address = format!("http://{address}/");
        for (user, answer) in [
            ("alice", "alice in scope: true; first: alice"),
            ("bob", "bob in scope: true; first: refused"),
            ("alice", "alice in scope: true; first: alice"),
        ] {
            let expected = (StatusCode::OK, answer.to_owned());
            assert_eq!(ask_salvo(&address, user).await, expected);
        }
        assert_eq!(places_outside(&events), 0);
        let unknown = ask_salvo(&address, "").await;
        assert_eq!(unknown.0, StatusCode::BAD_REQUEST, "the layer decides");
    }
}
