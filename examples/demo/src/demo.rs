//! Both services, and what the page shows of them.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, http::request::Parts};
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::{net::TcpListener, sync::Mutex};
use tower_user_scope::PeerAddr;

use crate::{
    agents::{Database, Model, Pinned},
    by_hand::{self, Shared},
    feed::Feed,
    play::{BoxError, Played, Service},
    raw,
    scenarios::{SCENARIOS, Scenario},
    with_layer,
};

type Explain = dyn Fn(Parts) -> BoxFuture<'static, String> + Send + Sync;

/// The two services, which run.
pub(crate) struct Demo {
    by_hand: Service,
    with_layer: Service,
    feed: Feed,
    explain: Box<Explain>,
    /// One scenario at a time, as each begins with an empty service.
    playing: Mutex<()>,
}

/// A scenario in both services.
#[derive(Debug, Serialize)]
pub(crate) struct Both {
    by_hand: Played,
    with_layer: Played,
}

async fn start_by_hand() -> Result<Service, BoxError> {
    let (database, model) = (Arc::<Database>::default(), Arc::<Model>::default());
    let shared = Shared::new(Arc::clone(&database), Arc::clone(&model));
    let pinned = Pinned::default();
    Ok(Service {
        address: serve(by_hand::app(shared.clone(), pinned.clone())).await?,
        database,
        model,
        feed: None,
        forget: Box::new(move || {
            shared.forget();
            pinned.clear();
        }),
    })
}

async fn start_with_layer(feed: &Feed) -> Result<(Service, Box<Explain>), BoxError> {
    let (database, model) = (Arc::<Database>::default(), Arc::<Model>::default());
    let layer = with_layer::layer(Arc::clone(&database), Arc::clone(&model), feed.clone())?;
    let pinned = Pinned::default();
    let service = Service {
        address: serve(with_layer::app(layer.clone(), pinned.clone())).await?,
        database,
        model,
        feed: Some(feed.clone()),
        forget: Box::new(move || pinned.clear()),
    };
    let explain: Box<Explain> = Box::new(move |head| {
        let layer = layer.clone();
        Box::pin(async move { layer.explain(&head).await.to_string() })
    });
    Ok((service, explain))
}

impl Demo {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let feed = Feed::new();
        let (with_layer, explain) = start_with_layer(&feed).await?;
        Ok(Self {
            by_hand: start_by_hand().await?,
            with_layer,
            feed,
            explain,
            playing: Mutex::default(),
        })
    }

    /// Returns where the services are: by hand, and with the layer.
    pub(crate) fn addresses(&self) -> [SocketAddr; 2] {
        [self.by_hand.address, self.with_layer.address]
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Plays a scenario in both services.
    pub(crate) async fn play(&self, scenario: &Scenario) -> Result<Both, BoxError> {
        let _playing = self.playing.lock().await;
        Ok(Both {
            by_hand: self.by_hand.play(scenario).await?,
            with_layer: self.with_layer.play(scenario).await?,
        })
    }

    /// Returns what the layer would do with a request from the gateway's address.
    pub(crate) async fn explain(&self, request: &str) -> Result<String, String> {
        let (mut head, _) = raw::parse(request)?.into_parts();
        let peer = SocketAddr::from(([127, 0, 0, 1], 0));
        head.extensions.insert(PeerAddr(peer));
        Ok((self.explain)(head).await)
    }

    /// Plays each scenario and prints a row for it; `false` where one did not end as it should.
    pub(crate) async fn check(&self) -> Result<bool, BoxError> {
        let mut all_as_expected = true;
        println!("{:<32} {:<12} with the layer", "scenario", "by hand");
        for scenario in SCENARIOS {
            let both = self.play(scenario).await?;
            let expected: Vec<_> = scenario.steps.iter().map(|step| step.with_layer).collect();
            let statuses: Vec<_> = both
                .with_layer
                .steps
                .iter()
                .map(|seen| seen.status)
                .collect();
            println!(
                "{:<32} {:<12} {}",
                scenario.title,
                word(&both.by_hand),
                word(&both.with_layer)
            );
            if both.by_hand.leaked != scenario.leaks_by_hand
                || both.with_layer.leaked
                || statuses != expected
            {
                println!("  ^ expected {expected:?} with the layer, got {both:#?}");
                all_as_expected = false;
            }
        }
        Ok(all_as_expected)
    }
}

fn word(played: &Played) -> &'static str {
    match played {
        Played { leaked: true, .. } => "leaked",
        Played { refused: true, .. } => "refused",
        _ => "no leak",
    }
}

/// Serves a router on a free port of this machine.
pub(crate) async fn serve(app: Router) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // With the peer's address, by which the layer knows the gateway.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}
