//! The end of the program: everything that waits can wait for it, too.

use tokio::sync::watch;

/// When the program ends. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Sender<bool>);

impl Shutdown {
    /// Creates one that begins by Ctrl-C, or by the signal that supervisors send.
    pub(crate) fn by_signals() -> Result<Self, ctrlc::Error> {
        let shutdown = Self(watch::Sender::new(false));
        let signalled = shutdown.clone();
        ctrlc::set_handler(move || signalled.begin())?;
        Ok(shutdown)
    }

    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn begins(&self) {
        // An error would mean that the sender is gone, and `self` has it.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}
