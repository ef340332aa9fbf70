//! Each button shows the leak by hand, in red, and the refusal with the layer, in green.

use thirtyfour::prelude::*;

use crate::support::{Service, on_the_page, prefer, press, service};

const RED: &str = "rgb(179, 20, 30)";
const GREEN: &str = "rgb(20, 104, 58)";

struct Case {
    scenario: &'static str,
    leaks_by_hand: bool,
    /// The status and the reason of each refusal with the layer.
    refused: &'static [(&'static str, &'static str)],
}

const fn case(
    scenario: &'static str,
    leaks_by_hand: bool,
    refused: &'static [(&'static str, &'static str)],
) -> Case {
    Case {
        scenario,
        leaks_by_hand,
        refused,
    }
}

const UNBELIEVED: &str = "a credential was sent that strategy `trusted_header` does not accept";

const CASES: &[Case] = &[
    case("ordinary", false, &[]),
    case(
        "spoofed-header",
        true,
        &[("401", UNBELIEVED), ("401", "no credential was found")],
    ),
    case(
        "repeated-header",
        true,
        &[("400", "was sent more than once")],
    ),
    case(
        "forged-token",
        true,
        &[("401", "was rejected: token_unknown")],
    ),
    case(
        "broken-token",
        true,
        &[
            ("401", "was rejected: token_unknown"),
            ("401", "was rejected: token_unknown"),
        ],
    ),
    case(
        "two-credentials",
        true,
        &[("401", "found different principals")],
    ),
    case("two-at-once", true, &[]),
    case("cancelled", true, &[("401", "no credential was found")]),
    case("kept-factory", true, &[("500", "was built for request")]),
];

#[tokio::test]
async fn every_button_shows_the_leak_by_hand_and_what_the_layer_does_instead() {
    on_the_page("buttons", async |page| {
        // The colours of the assertions.
        prefer(&page, "prefers-color-scheme", "light").await?;
        let mut found = Vec::new();
        for button in page.find_all(By::Css("button[data-scenario]")).await? {
            found.push(button.attr("data-scenario").await?.unwrap_or_default());
        }
        let expected: Vec<_> = CASES.iter().map(|case| case.scenario).collect();
        assert_eq!(
            found, expected,
            "a button without a case, or a case without a button"
        );

        for case in CASES {
            press(&page, case.scenario).await?;
            leaks_in_red(case, &service(&page, "by-hand").await?);
            holds_in_green(case, &service(&page, "with-layer").await?);
            let announced = page.find(By::Id("announced")).await?;
            let announced = announced.prop("textContent").await?.unwrap_or_default();
            let leak = announced.contains("By hand: Leaked: Bob read what is Alice's.");
            assert_eq!(leak, case.leaks_by_hand, "{announced}");
        }
        Ok(())
    })
    .await;
}

fn leaks_in_red(case: &Case, by_hand: &Service) {
    let name = case.scenario;
    let leaks: Vec<_> = by_hand
        .steps
        .iter()
        .filter(|step| step.is("leak"))
        .collect();
    assert_eq!(
        !leaks.is_empty(),
        case.leaks_by_hand,
        "{name}: {by_hand:#?}"
    );
    if !case.leaks_by_hand {
        return;
    }
    assert_eq!(
        by_hand.verdict, "Leaked: Bob read what is Alice's.",
        "{name}"
    );
    assert_eq!(by_hand.verdict_colour, RED, "{name}");
    for leak in leaks {
        assert!(leak.is("bob"), "{name}: {leak:?}");
        assert!(leak.text.contains("200 LEAK"), "{name}: {leak:?}");
        assert!(leak.text.contains("Contoso"), "{name}: {leak:?}");
        assert_eq!(leak.border, RED, "{name}");
    }
}

fn holds_in_green(case: &Case, with_layer: &Service) {
    let name = case.scenario;
    assert_eq!(with_layer.verdict_colour, GREEN, "{name}: {with_layer:#?}");
    for step in &with_layer.steps {
        assert!(!step.is("leak"), "{name}: {step:?}");
        let others = if step.is("bob") { "Contoso" } else { "doctor" };
        assert!(!step.text.contains(others), "{name}: {step:?}");
    }
    let refused: Vec<_> = with_layer
        .steps
        .iter()
        .filter(|step| step.is("refused"))
        .collect();
    assert_eq!(refused.len(), case.refused.len(), "{name}: {with_layer:#?}");
    for (step, (status, reason)) in refused.iter().zip(case.refused) {
        assert!(
            step.text.contains(&format!("{status} REFUSED")),
            "{name}: {step:?}"
        );
        assert!(step.text.contains(reason), "{name}: {step:?}");
        assert_eq!(step.border, GREEN, "{name}");
    }
    if name == "cancelled" {
        let closed = with_layer
            .steps
            .iter()
            .any(|step| step.text.contains("scope cancelled"));
        assert!(closed, "{with_layer:#?}");
    }
}
