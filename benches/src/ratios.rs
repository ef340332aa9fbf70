//! What is wanted of the figures.

use std::collections::HashMap;

use crate::{
    rounds::{median, paired},
    tokens::Kind,
};

/// Nanoseconds of each round, by the name of the case.
pub type Figures = HashMap<String, Vec<f64>>;

/// One figure of the table.
pub struct Ratio {
    /// What is told, as `a/b` where it is a quotient.
    pub name: String,
    /// What came out; nothing where a stand-in stands in for what is to be measured.
    pub value: Option<f64>,
    /// What it is to be.
    pub target: Option<Target>,
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Target {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most:.2}"),
            Self::AtLeast(least) => format!("≥ {least:.2}"),
        }
    }
}

/// All that can be told from the times.
#[must_use]
pub fn of_times(figures: &Figures) -> Vec<Ratio> {
    let mut all = vec![
        quotient(figures, "six_header", "by_hand", None),
        quotient(figures, "six_existing", "by_hand", None),
        quotient(figures, "six_fallback", "by_hand", None),
        quotient(figures, "header_alone", "by_hand", None),
        quotient(figures, "six_header", "by_hand_scoped", Some(1.65)),
        quotient(figures, "by_hand_scoped", "by_hand", None),
        Ratio {
            name: "six_header/by_hand beyond none".to_owned(),
            value: beyond(figures, "six_header", "none")
                .zip(beyond(figures, "by_hand", "none"))
                .map(|(ours, hand)| ours / hand),
            target: None,
        },
        Ratio {
            name: "each_absent_ns".to_owned(),
            value: beyond(figures, "header_after_5", "header_alone").map(|all| all / 5.0),
            target: Some(Target::AtMost(10.0)),
        },
    ];
    for which in ["extension", "existing", "session", "token", "api_key"] {
        all.push(Ratio {
            name: format!("absent_{which}_ns"),
            value: beyond(figures, &format!("header_after_{which}"), "header_alone"),
            target: Some(Target::AtMost(10.0)),
        });
    }
    all.push(Ratio {
        name: "access_check_ns".to_owned(),
        value: beyond(figures, "access_checked", "access_plain"),
        target: Some(Target::AtMost(3.0)),
    });
    all.push(Ratio {
        name: "before_response_ns".to_owned(),
        value: beyond(figures, "header_before_response", "header_alone"),
        target: Some(Target::AtMost(10.0)),
    });
    all.push(Ratio {
        name: "header_lookup_ns".to_owned(),
        value: figures.get("header_lookup").map(|times| median(times)),
        target: None,
    });
    all.push(Ratio {
        name: "metrics_ns".to_owned(),
        value: beyond(figures, "header_metrics", "header_observed"),
        target: Some(Target::AtMost(40.0)),
    });
    all.push(Ratio {
        // Two lines for each request: that it was accepted, and that its scope has closed.
        name: "audit_line_ns".to_owned(),
        value: beyond(figures, "header_audit_log", "header_observed").map(|both| both / 2.0),
        target: Some(Target::AtMost(300.0)),
    });
    all.push(Ratio {
        name: "observer_ns".to_owned(),
        value: beyond(figures, "header_observed", "header_alone"),
        target: None,
    });
    all.extend(of_growth(figures));
    all.push(quotient(
        figures,
        "header_users_1000000",
        "header_users_1",
        Some(1.1),
    ));
    all.push(quotient(
        figures,
        "by_hand_users_1000000",
        "by_hand_users_1",
        None,
    ));
    for peer in [
        "tower_http_add_extension",
        "tower_http_validate_request_header",
        "tower_http_async_require_authorization",
        "axum_from_fn",
    ] {
        all.push(quotient(figures, "six_header", peer, None));
    }
    for (peer, target) in [("tower_sessions", 0.6), ("axum_login", 0.35)] {
        all.push(quotient(figures, "session_alone", peer, Some(target)));
    }
    for kind in Kind::ALL {
        all.extend(of_tokens(figures, kind));
    }
    for hit in ["api_key_hit", "introspection_hit"] {
        all.push(quotient(figures, hit, "hs256_ours_hit", Some(1.1)));
    }
    all
}

/// What one thing more costs, in nanoseconds.
fn of_growth(figures: &Figures) -> Vec<Ratio> {
    let slope = |name: &str, case: &str, many: u32, few: u32, target: Option<f64>| Ratio {
        name: name.to_owned(),
        value: beyond(figures, &format!("{case}_{many}"), &format!("{case}_{few}"))
            .map(|all| all / f64::from(many - few)),
        target: target.map(Target::AtMost),
    };
    let bare_header = slope("bare_header_ns", "bare_headers", 100, 0, None);
    let with_layer = slope("header_and_layer_ns", "headers", 100, 0, None);
    let header = Ratio {
        name: "each_header_ns".to_owned(),
        value: with_layer
            .value
            .zip(bare_header.value)
            .map(|(with, bare)| with - bare),
        target: None,
    };
    let networks = |many: &str, target| Ratio {
        name: format!("{many}_ns"),
        value: beyond(figures, many, "networks_1"),
        target,
    };
    vec![
        header,
        slope("each_cookie_ns", "cookies", 50, 0, Some(20.0)),
        networks("networks_1000", Some(Target::AtMost(60.0))),
        networks("networks_10000", None),
        slope("each_key_ns", "keys", 100, 1, None),
        slope("each_issuer_ns", "issuers", 100, 1, None),
        slope("each_boxed_strategy_ns", "strategies", 50, 0, Some(10.0)),
    ]
}

fn of_tokens(figures: &Figures, kind: Kind) -> Vec<Ratio> {
    let name = kind.name();
    let peers = ["jwt_authorizer", "axum_jwt_auth", "tower_oauth2"];
    let fastest = peers
        .into_iter()
        .filter_map(|peer| Some((median(figures.get(&format!("{name}_{peer}"))?), peer)))
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
        .map_or("jwt_authorizer", |(_, peer)| peer);
    let hit = if kind == Kind::Hs256 { 0.33 } else { 0.05 };
    let bare = format!("{name}_jsonwebtoken");
    let mut all = vec![
        quotient(figures, &format!("{name}_ours_miss"), &bare, Some(1.10)),
        quotient(
            figures,
            &format!("{name}_ours_hit"),
            &format!("{name}_{fastest}"),
            Some(hit),
        ),
    ];
    all.extend(peers.map(|peer| quotient(figures, &format!("{name}_{peer}"), &bare, None)));
    all
}

fn quotient(figures: &Figures, above: &str, below: &str, at_most: Option<f64>) -> Ratio {
    Ratio {
        name: format!("{above}/{below}"),
        value: figures
            .get(above)
            .zip(figures.get(below))
            .map(|(above, below)| paired(above, below, |above, below| above / below)),
        target: at_most.map(Target::AtMost),
    }
}

fn beyond(figures: &Figures, of: &str, than: &str) -> Option<f64> {
    Some(paired(figures.get(of)?, figures.get(than)?, |of, than| {
        of - than
    }))
}

/// Prints the table of what is wanted, and a line for each that a program can read.
pub fn print(ratios: &[Ratio]) {
    println!("| figure | value | target | |");
    println!("| --- | ---: | ---: | --- |");
    for ratio in ratios {
        let value = ratio
            .value
            .map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let target = ratio.target.map_or_else(String::new, Target::text);
        let verdict = match (ratio.value, ratio.target) {
            (None, _) => "not measured",
            (Some(value), Some(target)) if target.is_reached(value) => "reached",
            (Some(_), Some(_)) => "not reached",
            (Some(_), None) => "",
        };
        println!("| {} | {value} | {target} | {verdict} |", ratio.name);
    }
    println!();
    for ratio in ratios {
        if let Some(value) = ratio.value {
            println!(
                "ratio {} {value:.3}",
                ratio.name.replace(", ", "_").replace(' ', "_")
            );
        }
    }
}
