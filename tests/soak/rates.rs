//! B14: the rates of this crate decide as `governor` does, request by request.

use std::{convert::Infallible, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter, clock::FakeRelativeClock};
use http::{Request, Response, request::Parts};
use tower::{Service, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, UserId, UserScopeLayer, from_fn,
    limit::{Limit, Rate},
};

/// A small generator, so that a failure names the seed that repeats it.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        // Knuth's MMIX constants.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[tokio::test(start_paused = true)]
async fn b14_random_schedules_pass_the_same_requests_as_governor() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let interval = Duration::from_millis(1 + random.below(50));
        let most = u32::try_from(1 + random.below(20)).expect("small");
        let burst = u32::try_from(1 + random.below(20)).expect("small");
        let rate = Rate::new(most, interval * most).with_burst(burst);
        let layer = UserScopeLayer::builder()
            .strategy(from_fn(
                CredentialSource::predicate(|_| true),
                |_: &Parts| Identity::proved("alice".parse::<UserId>().expect("an id")).into(),
            ))
            .limit(Limit::rate("requests", rate))
            .context_only()
            .build()
            .expect("a valid configuration");
        let mut service = layer.layer(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(()))
        }));
        let clock = FakeRelativeClock::default();
        let quota = Quota::with_period(interval).expect("not zero");
        let quota = quota.allow_burst(NonZeroU32::new(burst).expect("not zero"));
        let governor = RateLimiter::direct_with_clock(quota, clock.clone());
        for number in 0..200 {
            let step = Duration::from_millis(random.below(2 * 50));
            clock.advance(step);
            tokio::time::advance(step).await;
            for _ in 0..random.below(4) {
                let Ok(response) = service.call(Request::new(())).await;
                assert_eq!(
                    response.status().is_success(),
                    governor.check().is_ok(),
                    "request {number} of seed {seed}: {rate:?}"
                );
            }
        }
    }
}
