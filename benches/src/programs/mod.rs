//! What can be run: `bench time`, `bench threads`, `bench load` and `bench serve`.
//!
//! One binary, because each one that is linked takes its time.

pub mod load;
pub mod serve;
pub mod threads;
pub mod time;

/// The number that follows an option.
fn number_after(option: &str, arguments: &[String]) -> Option<usize> {
    let mut rest = arguments.iter().skip_while(|argument| *argument != option);
    rest.nth(1)?.parse().ok()
}
