//! The report of keys of a published set that can't be used.

use std::fmt;

use super::KeyError;

/// The keys that were left out of a set; `Display` is one line, however many there are.
#[derive(Debug)]
pub(super) struct Skipped {
    /// How many keys the set was read from.
    pub(super) total: usize,
    /// How many of them are beyond the limit and were not read.
    pub(super) unread: usize,
    left_out: usize,
    /// The ids and errors of the first [`SHOWN`](Self::SHOWN).
    shown: Vec<(Option<String>, KeyError)>,
}

impl Skipped {
    const SHOWN: usize = 4;
    const LONGEST_ID: usize = 40;

    pub(super) fn new(total: usize, unread: usize) -> Self {
        Self {
            total,
            unread,
            left_out: 0,
            shown: Vec::new(),
        }
    }

    /// Adds a key, unless it is declared for another purpose, which is normal.
    pub(super) fn add(&mut self, id: Option<&str>, error: KeyError) {
        if error == KeyError::NotForVerifying {
            return;
        }
        self.left_out += 1;
        if self.shown.len() < Self::SHOWN {
            let id = id.map(|id| id.chars().take(Self::LONGEST_ID).collect());
            self.shown.push((id, error));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left_out == 0 && self.unread == 0
    }

    /// Returns why the first key was left out.
    pub(super) fn first(&self) -> Option<&KeyError> {
        self.shown.first().map(|(_, error)| error)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.left_out + self.unread;
        write!(f, "{all} of {} keys are left out", self.total)?;
        let mut separator = ": ";
        for (id, error) in &self.shown {
            match id {
                Some(id) => write!(f, "{separator}{id:?}: {error}")?,
                None => write!(f, "{separator}one without an id: {error}")?,
            }
            separator = "; ";
        }
        let more = self.left_out - self.shown.len();
        if more > 0 {
            write!(f, "{separator}{more} more for such reasons")?;
        }
        if self.unread > 0 {
            let read = self.total - self.unread;
            write!(f, "{separator}only the first {read} are looked at")?;
        }
        Ok(())
    }
}
