//! Two browser profiles at the same time: each has its own user's threads, runs and events, and nothing
//! of the other's, wherever a page could have it.

use serde::Deserialize;
use thirtyfour::{prelude::*, testing::run_browser_test};
use tokio::{process::Command, time::timeout};

use crate::support::{Backend, LIMIT, skip, start};

/// Keeps all that the page receives, before its own script runs.
const RECORDER: &str = "
    window.received = [];
    const keep = (text) => window.received.push(String(text));
    const ask = window.fetch;
    window.fetch = async (...request) => {
        const response = await ask(...request);
        keep(await response.clone().text());
        return response;
    };
    for (const name of ['WebSocket', 'EventSource']) {
        window[name] = class extends window[name] {
            constructor(...arguments_) {
                super(...arguments_);
                this.addEventListener('message', (message) => keep(message.data));
            }
        };
    }";

/// All that a page has.
#[derive(Debug, Deserialize)]
struct Page {
    document: String,
    storage: String,
    received: String,
    requests: String,
}

impl Page {
    async fn of(driver: &WebDriver) -> WebDriverResult<Self> {
        let script = "
            return {
                document: document.documentElement.outerHTML
                    + [...document.querySelectorAll('input')].map((input) => input.value),
                storage: JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie]),
                received: (window.received ?? []).join('\\n'),
                requests: performance.getEntries().map((entry) => entry.name).join('\\n'),
            };";
        driver.execute(script, Vec::new()).await?.convert()
    }

    /// Has what is this user's, and nothing of the other.
    fn assert_is_of(&self, own: &str, others: [&str; 2]) {
        assert!(self.document.contains(own), "{self:?}");
        assert!(self.received.contains(own), "{self:?}");
        for place in [
            &self.document,
            &self.storage,
            &self.received,
            &self.requests,
        ] {
            for other in others {
                assert!(!place.contains(other), "{other} is in {self:?}");
            }
        }
        // The session's cookie is not for scripts.
        assert_eq!(self.storage, r#"[{},{},""]"#);
    }
}

/// A browser with a profile of its own.
async fn browser(port: &str) -> WebDriverResult<WebDriver> {
    let mut chromium = DesiredCapabilities::chrome();
    for argument in [
        "--headless=new",
        // Root in a container has none.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1280,1400",
    ] {
        chromium.add_arg(argument)?;
    }
    WebDriver::new(format!("http://127.0.0.1:{port}"), chromium).await
}

async fn record(driver: &WebDriver) -> WebDriverResult<()> {
    let script = serde_json::json!({ "source": RECORDER });
    let devtools = driver.cdp();
    devtools
        .send_raw("Page.addScriptToEvaluateOnNewDocument", script)
        .await?;
    Ok(())
}

async fn fill(driver: &WebDriver, id: &str, text: &str) -> WebDriverResult<()> {
    let input = driver.query(By::Id(id)).and_displayed().first().await?;
    input.clear().await?;
    input.send_keys(text).await
}

async fn press(driver: &WebDriver, css: &str) -> WebDriverResult<()> {
    let button = driver.query(By::Css(css)).and_displayed().first().await?;
    button.click().await
}

/// Waits for a text on the page.
async fn until(driver: &WebDriver, id: &str, text: &str) -> WebDriverResult<()> {
    let text = text.to_owned();
    let has_text = move |found: &str| found.contains(&text);
    let found = driver.query(By::Id(id)).with_text(has_text).first().await;
    found.map(|_| ())
}

async fn enter(driver: &WebDriver, url: &str, name: &str, how: &str) -> WebDriverResult<()> {
    driver.goto(url).await?;
    fill(driver, "name", name).await?;
    fill(driver, "password", "correct horse").await?;
    press(driver, &format!("button[value='{how}']")).await?;
    until(driver, "events-state", "Connected.").await
}

/// Adds a thread with this title, and lets an agent work on it.
async fn run(driver: &WebDriver, title: &str, task: &str) -> WebDriverResult<()> {
    fill(driver, "title", title).await?;
    press(driver, "#new-thread button").await?;
    until(driver, "thread-title", title).await?;
    fill(driver, "input", task).await?;
    press(driver, "#new-run button").await?;
    until(driver, "runs", "done").await?;
    until(driver, "events", "done").await
}

#[tokio::test]
async fn two_profiles_share_nothing() {
    let found = Command::new("chromedriver").arg("--version").output().await;
    if found.is_err() {
        return skip("two profiles", "chromedriver", "REQUIRE_BROWSER");
    }
    let backend = Backend::start(&["--model-delay", "5"]).await;
    let mut driver = Command::new("chromedriver");
    driver.arg("--port=0");
    let (_driver, ports) = start(driver, &[("started successfully on port ", '.')]).await;
    let (port, url) = (&ports[0], &backend.url);
    let tested = run_browser_test(browser(port), async |alice: WebDriver| {
        run_browser_test(browser(port), async |bob: WebDriver| {
            walk(&alice, &bob, url).await
        })
        .await
    });
    timeout(3 * LIMIT, tested)
        .await
        .expect("the browsers answer")
        .expect("the test passes");
}

async fn walk(alice: &WebDriver, bob: &WebDriver, url: &str) -> WebDriverResult<()> {
    let of_alice = ["alice-profile", "canary-of-alice"];
    let of_bob = ["bob-profile", "canary-of-bob"];
    tokio::try_join!(record(alice), record(bob))?;

    // Log-in, runs and events, at the same time.
    tokio::try_join!(
        async {
            enter(alice, url, of_alice[0], "/sign-up").await?;
            run(
                alice,
                "canary-of-alice in a title",
                "canary-of-alice in a task",
            )
            .await
        },
        async {
            enter(bob, url, of_bob[0], "/sign-up").await?;
            run(bob, "canary-of-bob in a title", "canary-of-bob in a task").await
        },
    )?;
    Page::of(alice).await?.assert_is_of(of_alice[1], of_bob);
    Page::of(bob).await?.assert_is_of(of_bob[1], of_alice);

    // After a reload each has what is its own again, from the database.
    for (driver, own, others) in [(alice, of_alice[1], of_bob), (bob, of_bob[1], of_alice)] {
        driver.refresh().await?;
        until(driver, "events-state", "Connected.").await?;
        press(driver, "#threads button").await?;
        until(driver, "runs", &format!("{own} in a task")).await?;
        Page::of(driver).await?.assert_is_of(own, others);
    }

    // A second tab of alice's, over server-sent events; bob listens over them, too.
    let first = alice.window().await?;
    let second = alice.new_tab().await?;
    alice.switch_to_window(second.clone()).await?;
    alice.goto(url).await?;
    until(alice, "events-state", "Connected.").await?;
    press(alice, "#transport option[value='events']").await?;
    until(alice, "events-state", "Connected.").await?;
    press(bob, "#transport option[value='events']").await?;
    until(bob, "events-state", "Connected.").await?;

    // She logs out in the first one. Both tabs forget her, and bob goes on.
    alice.switch_to_window(first.clone()).await?;
    press(alice, "#log-out").await?;
    for tab in [first, second] {
        alice.switch_to_window(tab).await?;
        alice
            .query(By::Id("password"))
            .and_displayed()
            .first()
            .await?;
        let page = Page::of(alice).await?;
        for gone in [of_alice[0], of_alice[1], of_bob[0], of_bob[1]] {
            assert!(!page.document.contains(gone), "{page:?}");
        }
    }
    run(bob, "canary-of-bob goes on", "canary-of-bob again").await?;
    Page::of(bob).await?.assert_is_of(of_bob[1], of_alice);
    Ok(())
}
