//! The language model, which all users share. It knows no user: what it may know is in the prompt.
//!
//! [`Model`] is what the agents need of it. A real one is a client for a provider's API; the one
//! here computes its answers, so that the program needs no network and each run can be repeated.

use std::time::Duration;

use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};

/// A language model.
pub(crate) trait Model: Send + Sync {
    /// Returns the answer, word by word.
    fn answer(&self, prompt: &str) -> BoxStream<'static, Result<String, ModelError>>;
}

/// The model did not answer.
#[derive(Debug)]
pub(crate) struct ModelError;

/// A model whose answer is the prompt, with how long it is. The word `FAIL` makes it fail.
pub(crate) struct Deterministic {
    /// How long each word takes.
    pub(crate) delay: Duration,
}

impl Model for Deterministic {
    fn answer(&self, prompt: &str) -> BoxStream<'static, Result<String, ModelError>> {
        let delay = self.delay;
        let count = prompt.split_whitespace().count();
        let answer = format!("In {count} words: {prompt}");
        let words: Vec<_> = answer.split_inclusive(' ').map(str::to_owned).collect();
        stream::iter(words)
            .then(move |word| {
                tokio::time::sleep(delay).map(|()| match word.trim_end() {
                    "FAIL" => Err(ModelError),
                    _ => Ok(word),
                })
            })
            .boxed()
    }
}
