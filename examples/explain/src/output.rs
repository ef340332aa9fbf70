//! An explanation for a terminal, and as JSON. Neither has a credential or the query of a URL.

use std::{error::Error, iter};

use http::request::Parts;
use serde_json::{Value, json};
use tower_user_scope::{
    PeerAddr, Principal, Rejection, UserContext, audit::AuditEvent, explain::Explanation,
    strategy::Verdict,
};

use crate::advice;

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const DIM: &str = "2";
const BOLD: &str = "1";

fn paint(text: &str, colour: &str, coloured: bool) -> String {
    if coloured {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn of_request(head: &Parts) -> String {
    let peer = head.extensions.get::<PeerAddr>();
    let peer = peer.map_or_else(
        || "an unknown peer".to_owned(),
        |peer| peer.0.ip().to_string(),
    );
    format!("{} {} from {peer}", head.method, head.uri.path())
}

fn kind(principal: &Principal) -> &'static str {
    match principal {
        Principal::User(_) => "user",
        Principal::Service(_) => "service",
        Principal::Visitor(_) => "visitor",
        _ => "anonymous",
    }
}

fn of_context(context: &UserContext) -> String {
    let who = match context.principal() {
        Principal::User(id) => format!("user {id}"),
        Principal::Service(name) => format!("service {name}"),
        other => kind(other).to_owned(),
    };
    let evidence = context.evidence();
    format!(
        "goes on as {who}, {} by {}",
        evidence.as_str(),
        context.strategy()
    )
}

/// Returns what did not answer, where that is why a request is refused.
fn cause(refused: &Rejection) -> Option<String> {
    let causes = iter::successors(refused.source(), |&error| error.source());
    let cause = causes.last().map(ToString::to_string);
    cause.filter(|_| refused.status().is_server_error())
}

/// The reason of the refusal, what it means, and what to do.
fn advised(
    explanation: &Explanation,
) -> Option<(&'static str, Option<advice::Advice>, Vec<String>)> {
    let refused = explanation.answer().err()?;
    let changes = explanation.steps().iter().filter_map(|step| match step {
        AuditEvent::HeaderStripped { reason, .. } => advice::of_removed_header(reason.as_str()),
        _ => None,
    });
    let reason = refused.reason();
    Some((reason, advice::of_refusal(reason), changes.collect()))
}

pub(crate) fn text(head: &Parts, explanation: &Explanation, coloured: bool) -> String {
    let mut lines = vec![paint(&of_request(head), BOLD, coloured)];
    for step in explanation.steps() {
        let colour = match step {
            AuditEvent::Consulted { verdict, .. } => match verdict {
                Verdict::Found => GREEN,
                Verdict::Absent => DIM,
                Verdict::Invalid => RED,
                _ => YELLOW,
            },
            _ => YELLOW,
        };
        lines.push(format!("  {}", paint(&step.to_string(), colour, coloured)));
    }
    match explanation.answer() {
        Ok(context) => lines.push(paint(&of_context(context), GREEN, coloured)),
        Err(refused) => {
            // The last line of an explanation is the answer.
            let whole = explanation.to_string();
            let answer = whole.lines().last().unwrap_or_default();
            lines.push(paint(answer, RED, coloured));
            lines.extend(cause(refused).map(|cause| format!("  cause: {cause}")));
        }
    }
    if let Some((reason, advice, changes)) = advised(explanation) {
        if let Some(advice) = advice {
            lines.push(format!("  {reason}: {}", advice.means));
            lines.push(format!("  do: {}", advice.what_to_do));
        }
        lines.extend(changes.into_iter().map(|change| format!("  do: {change}")));
    }
    lines.join("\n")
}

pub(crate) fn json(head: &Parts, explanation: &Explanation) -> Value {
    let steps = explanation.steps().iter();
    let steps: Vec<_> = steps
        .map(|step| match step {
            AuditEvent::Consulted {
                strategy, verdict, ..
            } => {
                json!({ "strategy": strategy, "verdict": verdict.as_str() })
            }
            other => json!({ "event": other.to_string() }),
        })
        .collect();
    let answer = match explanation.answer() {
        Ok(context) => json!({
            "accepted": true,
            "principal": kind(context.principal()),
            "user": context.user_id().map(ToString::to_string),
            "evidence": context.evidence().as_str(),
            "strategy": context.strategy(),
        }),
        Err(refused) => {
            let (reason, advice, changes) = advised(explanation).unwrap_or_default();
            let whole = explanation.to_string();
            json!({
                "accepted": false,
                "status": refused.status().as_u16(),
                "reason": reason,
                "detail": whole.lines().last(),
                "cause": cause(refused),
                "means": advice.as_ref().map(|advice| &advice.means),
                "do": advice.iter().map(|advice| &advice.what_to_do).chain(&changes).collect::<Vec<_>>(),
            })
        }
    };
    json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "peer": head.extensions.get::<PeerAddr>().map(|peer| peer.0.ip()),
        "steps": steps,
        "answer": answer,
    })
}
