//! The demo's program, a browser, and what tests read of a page.
//!
//! Without a browser a test says that it is skipped, or fails if `REQUIRE_BROWSER` is set.
//! `.ci/browser` installs what is needed.

use std::{env, future::Future, io::Write, path::PathBuf, process::Stdio, time::Duration};

use serde::Deserialize;
use thirtyfour::{prelude::*, testing::run_browser_test};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Nothing here takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Where `.ci/browser` puts axe-core.
pub(crate) fn axe_core() -> Option<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("target/ci/browser/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(file).ok()
}

/// Says that a test is skipped, where that is allowed.
pub(crate) fn skip(test: &str, missing: &str) {
    let line = format!("SKIPPED {test}: {missing} is not installed");
    assert!(env::var_os("REQUIRE_BROWSER").is_none(), "{line}");
    // Past the capture of the test harness, which hides what passing tests print.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Starts a program that prints where it listens, and returns the word between two texts.
async fn start(mut program: Command, before: &str, after: char) -> (Child, String) {
    let mut child = program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it has a pipe")).lines();
    let found = async {
        while let Some(line) = lines.next_line().await.expect("it prints text") {
            if let Some((_, rest)) = line.split_once(before) {
                let word = rest.split(after).next().unwrap_or_default().to_owned();
                // The pipe stays open, or the program would fail with its next line.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return word;
            }
        }
        panic!("the program ended before it listened");
    };
    let word = timeout(LIMIT, found).await.expect("it listens in time");
    (child, word)
}

/// Runs a test on the demo's page, whose first scenario has been played.
pub(crate) async fn on_the_page<F, Fut>(test: &str, body: F)
where
    F: FnOnce(WebDriver) -> Fut,
    Fut: Future<Output = WebDriverResult<()>>,
{
    let mut driver = Command::new("chromedriver");
    let found = driver.arg("--version").stdout(Stdio::null()).status().await;
    if found.is_err() {
        return skip(test, "chromedriver");
    }
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.arg("--no-browser");
    let (_demo, url) = start(demo, "The demo is at ", ' ').await;
    let mut driver = Command::new("chromedriver");
    driver.arg("--port=0");
    let (_driver, port) = start(driver, "started successfully on port ", '.').await;

    let mut chromium = DesiredCapabilities::chrome();
    for argument in [
        "--headless=new",
        // Root in a container has none.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1280,1400",
        "--force-device-scale-factor=1",
        "--hide-scrollbars",
    ] {
        chromium.add_arg(argument).expect("an argument");
    }
    let session = WebDriver::new(format!("http://127.0.0.1:{port}"), chromium);
    let tested = run_browser_test(session, async |page: WebDriver| {
        page.goto(&url).await?;
        shown(&page, "ordinary").await?;
        body(page).await
    });
    timeout(2 * LIMIT, tested)
        .await
        .expect("the browser answers")
        .expect("the test passes");
}

/// Waits until the page shows what came of a scenario.
pub(crate) async fn shown(page: &WebDriver, scenario: &str) -> WebDriverResult<()> {
    let result = format!("#result[data-shown='{scenario}']");
    page.query(By::Css(result)).first().await.map(|_| ())
}

pub(crate) async fn press(page: &WebDriver, scenario: &str) -> WebDriverResult<()> {
    let button = format!("button[data-scenario='{scenario}']");
    page.find(By::Css(button)).await?.click().await?;
    shown(page, scenario).await
}

/// Sets a media feature, such as `prefers-color-scheme`, and no other.
pub(crate) async fn prefer(page: &WebDriver, feature: &str, value: &str) -> WebDriverResult<()> {
    let features = serde_json::json!({"features": [{"name": feature, "value": value}]});
    let devtools = page.cdp();
    devtools
        .send_raw("Emulation.setEmulatedMedia", features)
        .await?;
    Ok(())
}

/// What the page shows of one service.
#[derive(Debug, Deserialize)]
pub(crate) struct Service {
    pub(crate) verdict: String,
    pub(crate) verdict_colour: String,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) classes: Vec<String>,
    pub(crate) text: String,
    pub(crate) border: String,
}

impl Step {
    pub(crate) fn is(&self, class: &str) -> bool {
        self.classes.iter().any(|found| found == class)
    }
}

/// Reads what the page shows of `by-hand` or `with-layer`.
pub(crate) async fn service(page: &WebDriver, id: &str) -> WebDriverResult<Service> {
    let script = "
        const service = document.getElementById(arguments[0]);
        const verdict = service.querySelector('.verdict');
        return {
            verdict: verdict.innerText,
            verdict_colour: getComputedStyle(verdict).color,
            steps: [...service.querySelectorAll('.step')].map((step) => ({
                classes: [...step.classList],
                text: step.innerText,
                border: getComputedStyle(step).borderTopColor,
            })),
        };";
    page.execute(script, vec![id.into()]).await?.convert()
}
