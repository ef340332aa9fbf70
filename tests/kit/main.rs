//! What the kit for other people's tests finds, and what it has nothing to say about.

mod testing_kit;
