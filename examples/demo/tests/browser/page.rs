//! The rest of the page: the feed, the box for `explain`, the keyboard, and assistive technology.

use thirtyfour::prelude::*;

use crate::support::{axe_core, on_the_page, prefer, press, service, shown, skip};

#[tokio::test]
async fn the_feed_has_a_line_for_each_audit_event_without_a_name() {
    on_the_page("feed", async |page| {
        let connected = page.query(By::Id("feed-state")).with_text("Connected.");
        connected.first().await?;
        press(&page, "spoofed-header").await?;
        for line in [
            "trusted_header: removes x-user-id, secret_missing",
            "refused with 401",
        ] {
            let text = format!("//*[@id='feed']/p[contains(., '{line}')]");
            page.query(By::XPath(text)).first().await?;
        }
        let feed = page.find(By::Id("feed")).await?.text().await?;
        assert!(!feed.contains("alice") && !feed.contains("bob"), "{feed}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pasted_request_is_explained_as_text() {
    let cases = [
        (
            "GET /notes HTTP/1.1\nx-user-id: alice",
            "trusted_header: removes x-user-id, secret_missing",
        ),
        (
            "GET /notes HTTP/1.1\nauthorization: Bearer bob.Zw81mNpd",
            "goes on as a user, proved by token",
        ),
        (
            "GET /notes HTTP/1.1\nauthorization: Bearer bob.Zw81mNpd\nx-user-id: alice\n\
             x-gateway-secret: demo-gateway-secret",
            "found different principals",
        ),
        ("hello", "This is not an HTTP/1.1 request"),
        (
            "GET <b>/notes</b> HTTP/1.1",
            "`<b>/notes</b>` is not a path.",
        ),
    ];
    on_the_page("explain", async |page| {
        let request = page.find(By::Id("request")).await?;
        for (text, expected) in cases {
            request.clear().await?;
            request.send_keys(text).await?;
            page.find(By::Css("#explain button")).await?.click().await?;
            let contains = move |text: &str| text.contains(expected);
            let explained = page.query(By::Id("explanation")).with_text(contains);
            explained.first().await?;
        }
        Ok(())
    })
    .await;
}

/// What has the focus: its scenario, else its id, else its class.
async fn focused(page: &WebDriver) -> WebDriverResult<String> {
    let script = "
        const on = document.activeElement;
        const name = on.dataset.scenario || on.id || on.className || on.tagName;
        const outline = getComputedStyle(on).outlineStyle;
        return on === document.body ? 'body' : outline === 'none' ? name + ', invisibly' : name;";
    page.execute(script, Vec::new()).await?.convert()
}

async fn type_key(page: &WebDriver, key: impl Into<TypingData>) -> WebDriverResult<()> {
    page.action_chain().send_keys(key).perform().await
}

#[tokio::test]
async fn the_page_works_by_keyboard_alone() {
    on_the_page("keyboard", async |page| {
        let mut walked = Vec::new();
        // One more than there are, so that a trap or a stray stop is seen.
        for _ in 0..15 {
            type_key(&page, Key::Tab).await?;
            walked.push(focused(&page).await?);
            if walked.last().is_some_and(|on| on == "forged-token") {
                type_key(&page, Key::Enter).await?;
                shown(&page, "forged-token").await?;
            }
        }
        let expected = [
            "skip",
            "ordinary",
            "spoofed-header",
            "repeated-header",
            "forged-token",
            "broken-token",
            "two-credentials",
            "two-at-once",
            "cancelled",
            "kept-factory",
            "feed",
            "request",
            "BUTTON",
            "plot",
            "body",
        ];
        assert_eq!(walked, expected);
        let by_hand = service(&page, "by-hand").await?;
        assert!(by_hand.verdict.starts_with("Leaked"), "{by_hand:?}");

        // The first link goes to the result.
        type_key(&page, Key::Tab).await?;
        type_key(&page, Key::Enter).await?;
        page.query(By::Css("#result:focus")).first().await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn axe_core_finds_nothing_in_either_colour_scheme() {
    let Some(axe) = axe_core() else {
        return skip("accessibility", "axe-core");
    };
    on_the_page("accessibility", async |page| {
        // Colours are measured when nothing moves.
        for (scheme, scenario) in [("light", "kept-factory"), ("dark", "cancelled")] {
            prefer(&page, "prefers-color-scheme", scheme).await?;
            press(&page, scenario).await?;
            page.execute(&axe, Vec::new()).await?;
            let run = "
                const done = arguments[arguments.length - 1];
                Promise.all(document.getAnimations().map((moves) => moves.finished))
                    .then(() => axe.run())
                    .then((found) => done(found.violations.map((rule) =>
                        `${rule.impact}: ${rule.id}: ${rule.nodes.map((node) => node.html).join(' ')}`)))
                    .catch((error) => done([String(error)]));";
            let found: Vec<String> = page.execute_async(run, Vec::new()).await?.convert()?;
            assert!(found.is_empty(), "{scheme}: {found:#?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nothing_moves_where_the_user_asks_for_that() {
    on_the_page("motion", async |page| {
        let script = "return getComputedStyle(document.querySelector('.step')).animationName;";
        for (preference, animation) in [("no-preference", "appear"), ("reduce", "none")] {
            prefer(&page, "prefers-reduced-motion", preference).await?;
            let found: String = page.execute(script, Vec::new()).await?.convert()?;
            assert_eq!(found, animation, "{preference}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_page_runs_no_script_but_its_own() {
    on_the_page("scripts", async |page| {
        let script = "
            const inserted = document.createElement('script');
            inserted.textContent = 'window.wasRun = true';
            document.head.append(inserted);
            return window.wasRun === true;";
        let was_run: bool = page.execute(script, Vec::new()).await?.convert()?;
        assert!(!was_run);
        Ok(())
    })
    .await;
}
