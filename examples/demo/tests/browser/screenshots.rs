//! The picture of the README. `SCREENSHOTS=1 cargo test -p demo screenshots` makes it anew.

use std::{env, fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{on_the_page, prefer, press};

/// What a picture in the README may have.
const MOST_BYTES: usize = 150 * 1024;

#[tokio::test]
async fn screenshots_are_made_on_request() {
    if env::var_os("SCREENSHOTS").is_none() {
        return;
    }
    on_the_page("screenshots", async |page| {
        prefer(&page, "prefers-reduced-motion", "reduce").await?;
        press(&page, "two-credentials").await?;
        let bottom = "
            document.activeElement.blur();
            return document.getElementById('result').getBoundingClientRect().bottom;";
        let bottom: f64 = page.execute(bottom, Vec::new()).await?.convert()?;
        let picture = json!({
            "format": "webp",
            "quality": 90,
            "clip": {"x": 0, "y": 0, "width": 1280, "height": bottom + 24.0, "scale": 1},
        });
        let devtools = page.cdp();
        let taken = devtools.send_raw("Page.captureScreenshot", picture).await?;
        let bytes = STANDARD.decode(taken["data"].as_str().expect("a picture"));
        let bytes = bytes.expect("base64");
        assert!(bytes.len() < MOST_BYTES, "{} bytes", bytes.len());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("page.webp");
        fs::write(file, bytes).expect("the picture is written");
        Ok(())
    })
    .await;
}
