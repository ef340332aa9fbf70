//! Who does parts of this job today.

pub mod layers;
pub mod sessions;
pub mod tokens;
