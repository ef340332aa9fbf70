//! A metric for each value of a label, and a limit on their number.

use std::sync::OnceLock;

/// A `T` for each value of a label up to a number, and one for all other values together.
///
/// Series of a metric are never freed, so a label must not have more values than somebody expects.
pub(super) struct ByLabel<T> {
    slots: Box<[OnceLock<(&'static str, T)>]>,
    others: OnceLock<T>,
}

impl<T> ByLabel<T> {
    pub(super) fn with_max(values: usize) -> Self {
        Self {
            slots: (0..values).map(|_| OnceLock::new()).collect(),
            others: OnceLock::new(),
        }
    }

    /// Returns what belongs to this value, and makes it if the value is seen for the first time.
    pub(super) fn get(&self, value: &'static str, make: impl Fn(&'static str) -> T) -> &T {
        for slot in &self.slots {
            let (known, result) = slot.get_or_init(|| (value, make(value)));
            if *known == value {
                return result;
            }
        }
        self.others.get_or_init(|| make("other"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_beyond_the_limit_are_one() {
        let by_label = ByLabel::with_max(2);
        for (value, made) in [
            ("a", "a"),
            ("b", "b"),
            ("c", "other"),
            ("a", "a"),
            ("d", "other"),
        ] {
            assert_eq!(*by_label.get(value, |value| value), made);
        }
    }
}
