//! What to do about a refusal, as the tables of the guide on operating have it.

const GUIDE: &str = include_str!("../../../src/guide/operating.md");

pub(crate) struct Advice {
    pub(crate) means: String,
    pub(crate) what_to_do: String,
}

/// Returns the advice for a word that is `error.type` in the log, and `reason` in metrics and audit log.
pub(crate) fn of_refusal(reason: &str) -> Option<Advice> {
    row("| word | status | means | do |", reason).and_then(|cells| match &*cells {
        [_, _, means, what_to_do] => Some(Advice {
            means: plain(means),
            what_to_do: plain(what_to_do),
        }),
        _ => None,
    })
}

/// Returns the change that helps where an identity header was removed for this reason.
pub(crate) fn of_removed_header(reason: &str) -> Option<String> {
    let cells = row("| `reason` of `identity header removed` | change |", reason)?;
    cells.last().map(|change| plain(change))
}

/// Finds the row of a table whose first cell has this word.
fn row(head: &str, word: &str) -> Option<Vec<&'static str>> {
    let (_, table) = GUIDE.split_once(head)?;
    let (table, _) = table.split_once("\n\n")?;
    let rows = table.lines().skip(2).map(|row| {
        let row = row.trim_matches('|');
        row.split(" | ").map(str::trim).collect::<Vec<_>>()
    });
    let quoted = format!("`{word}`");
    rows.into_iter()
        .find(|cells| cells.first().is_some_and(|cell| cell.contains(&quoted)))
}

/// The text of a cell without the targets of its links.
fn plain(cell: &str) -> String {
    let mut parts = cell.split("](");
    let mut text = parts.next().unwrap_or_default().replace('[', "");
    for part in parts {
        let rest = part.split_once(')').map_or("", |(_, rest)| rest);
        text.push_str(&rest.replace('[', ""));
    }
    text
}
