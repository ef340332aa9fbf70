//! The report for other programs.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use super::{Finding, IsolationReport};

impl IsolationReport {
    /// Returns the report as JSON: the counts, the seed, and each finding with its `kind`,
    /// `message` and place.
    #[must_use]
    pub fn to_json(&self) -> String {
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        let report = json!({
            "seed": self.seed,
            "sent": self.sent,
            "completed": self.completed,
            "succeeded": self.succeeded,
            "cancelled": self.cancelled,
            "failed": self.failed,
            "command": self.command(),
            "findings": findings,
        });
        report.to_string()
    }

    /// Returns the report in the form of `JUnit`, which CI servers show: a test suite of this name
    /// with a failed test for each cause, or one test that passed.
    #[must_use]
    pub fn to_junit(&self, name: &str) -> String {
        let groups = self.groups();
        let (name, tests) = (Xml(name), groups.len().max(1));
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{name}\" tests=\"{tests}\" \
             failures=\"{}\">\n  <properties><property name=\"seed\" value=\"{}\"/></properties>\n",
            groups.len(),
            self.seed,
        );
        if groups.is_empty() {
            let _ = writeln!(xml, "  <testcase classname=\"{name}\" name=\"isolation\"/>");
        }
        for (first, count) in groups {
            let (message, kind) = (first.to_string(), first.kind());
            let route = first
                .location()
                .map(super::Location::route)
                .unwrap_or_default();
            let _ = writeln!(
                xml,
                "  <testcase classname=\"{name}\" name=\"{kind} {}\"><failure type=\"{kind}\" \
                 message=\"{}\">{count} of this cause; seed {}</failure></testcase>",
                Xml(&route),
                Xml(&message),
                self.seed,
            );
        }
        xml.push_str("</testsuite>\n");
        xml
    }
}

fn finding(finding: &Finding) -> Value {
    let mut value = json!({ "kind": finding.kind(), "message": finding.to_string() });
    if let Some(location) = finding.location() {
        value["request"] = location.request().into();
        value["step"] = location.step().into();
        value["status"] = location.status().map(|status| status.as_u16()).into();
        value["place"] = location.place().into();
        value["excerpt"] = location.excerpt().into();
    }
    value
}

/// Text in an attribute of XML, which may not hold control characters.
struct Xml<'a>(&'a str);

impl fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => {
                write!(f, "{}", char.escape_default())
            }
            char => f.write_char(char),
        })
    }
}
