//! One request through each middleware, interleaved in one process: ratios, not times.
//!
//! Every round runs every case once, so that whatever the machine does meets all of them alike;
//! the median over the rounds is what is printed. Allocations are counted, not estimated.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::Instant,
};

use futures::{executor::block_on, task::noop_waker_ref};
use http::{Request, Response};
use tower::Service;
use tower_http::add_extension::AddExtensionLayer;
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, FromExtension, Outcome, PeerAddr, Reads, TrustedHeader, UserContext,
    UserScopeLayer, from_fn,
};

/// Counts what the system's allocator is asked for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const WARM_UP: u32 = 2_000;
const PER_ROUND: u32 = 2_000;
const ROUNDS: usize = 300;

/// The inner service: looks at what it was given and answers nothing.
#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(())))
    }
}

#[derive(Clone)]
struct HandContext {
    user_id: String,
}

#[derive(Clone)]
struct HandFactory {
    context: HandContext,
}

/// The practical limit: the same work inline, trust decided at compile time.
#[derive(Clone)]
struct ByHand(Inner);

impl Service<Request<()>> for ByHand {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<()>) -> Self::Future {
        let user_id = request
            .headers()
            .get("x-user-id")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        if let Some(user_id) = user_id {
            let context = HandContext { user_id };
            let factory = HandFactory {
                context: context.clone(),
            };
            black_box(&factory.context.user_id);
            request.extensions_mut().insert(context);
            request
                .extensions_mut()
                .insert(std::sync::Arc::new(factory));
        }
        self.0.call(request)
    }
}

struct Factory {
    _user: UserContext,
}

fn request() -> Request<()> {
    let mut request = Request::new(());
    let headers = request.headers_mut();
    for (name, value) in [
        ("host", "example.com"),
        ("user-agent", "bench/1"),
        ("accept", "*/*"),
        ("x-user-id", "alice"),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    request
        .extensions_mut()
        .insert(PeerAddr(SocketAddr::from(([10, 0, 0, 1], 4711))));
    request
}

type Case = (&'static str, Box<dyn FnMut(Request<()>)>);

fn case<S>(name: &'static str, mut service: S) -> Case
where
    S: Service<Request<()>, Error = Infallible> + 'static,
{
    let run = move |request| {
        let mut cx = Context::from_waker(noop_waker_ref());
        let _ = service.poll_ready(&mut cx);
        let _ = black_box(block_on(service.call(request)));
    };
    (name, Box::new(run))
}

fn header() -> TrustedHeader<tower_user_scope::strategy::Trusting> {
    TrustedHeader::new("x-user-id").only_if(|_| true)
}

fn absent() -> impl tower_user_scope::Strategy {
    from_fn(Reads::header("x-absent"), |head| {
        black_box(head.headers.get("x-absent"));
        Outcome::Absent
    })
}

fn cases() -> Vec<Case> {
    let make = |user: &UserContext| Factory {
        _user: user.clone(),
    };
    let alone = UserScopeLayer::builder()
        .strategy(header())
        .factory(make)
        .build();
    let by_address = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["10.0.0.0/8"])
                .expect("a network"),
        )
        .factory(make)
        .build();
    let first = UserScopeLayer::builder()
        .strategy(header())
        .strategy(FromExtension::<String>::new(|user| user.parse()))
        .strategy(ExistingContext::new())
        .strategy(absent())
        .strategy(absent())
        .strategy(absent())
        .factory(make)
        .build();
    let last = UserScopeLayer::builder()
        .strategy(FromExtension::<String>::new(|user| user.parse()))
        .strategy(ExistingContext::new())
        .strategy(absent())
        .strategy(absent())
        .strategy(absent())
        .strategy(header())
        .factory(make)
        .build();
    vec![
        case("none", Inner),
        case("by_hand", ByHand(Inner)),
        case("add_extension", AddExtensionLayer::new(7_u64).layer(Inner)),
        case("header_alone", alone.expect("valid").layer(Inner)),
        case("header_by_address", by_address.expect("valid").layer(Inner)),
        case("list_of_6_first", first.expect("valid").layer(Inner)),
        case("list_of_6_last", last.expect("valid").layer(Inner)),
    ]
}

fn main() {
    let mut cases = cases();
    // For a profiler: one case alone, and no clock.
    if let Some(only) = std::env::args().nth(1) {
        let template = request();
        for (_, run) in cases.iter_mut().filter(|(name, _)| *name == only) {
            for _ in 0..WARM_UP {
                run(template.clone());
            }
        }
        return;
    }
    let mut times = vec![Vec::with_capacity(ROUNDS); cases.len()];
    let template = request();
    for _ in 0..ROUNDS {
        for (index, (_, run)) in cases.iter_mut().enumerate() {
            for _ in 0..WARM_UP / 20 {
                run(template.clone());
            }
            let begun = Instant::now();
            for _ in 0..PER_ROUND {
                run(template.clone());
            }
            times[index].push(begun.elapsed().as_nanos() as f64 / f64::from(PER_ROUND));
        }
    }
    let medians: Vec<f64> = times
        .iter_mut()
        .map(|case| {
            case.sort_by(f64::total_cmp);
            case[ROUNDS / 2]
        })
        .collect();
    println!(
        "{:<20} {:>8} {:>10} {:>8}",
        "case", "ns", "to by_hand", "allocs"
    );
    for (index, (name, run)) in cases.iter_mut().enumerate() {
        let request = template.clone();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        run(request);
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        println!(
            "{name:<20} {:>8.0} {:>10.2} {allocations:>8}",
            medians[index],
            medians[index] / medians[1]
        );
    }
    for (index, (name, _)) in cases.iter().enumerate() {
        println!("ratio {name}/by_hand {:.3}", medians[index] / medians[1]);
    }
}
