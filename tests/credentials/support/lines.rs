//! What is logged.

use std::{
    io,
    sync::{Arc, Mutex, Once, PoisonError},
};

use tracing::{Level, subscriber::DefaultGuard};

/// The lines that this thread logs, at every level.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Collects the lines for as long as the guard lives.
    pub(crate) fn collect() -> (Self, DefaultGuard) {
        // With a subscriber for this thread alone, `tracing` disables a line for good that another
        // thread reaches first, so every thread has one.
        static ALL_THREADS: Once = Once::new();
        ALL_THREADS.call_once(|| {
            tracing::subscriber::set_global_default(tracing_subscriber::registry())
                .expect("no other test sets one");
            tracing::callsite::rebuild_interest_cache();
        });
        let lines = Self::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(move || written.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
