//! Whether the issuer and the audience of a [`Jwt`](super::Jwt) were chosen: parameters of its type,
//! so that one without them is not a strategy.

/// The choice was not made yet.
#[derive(Debug)]
pub struct Unstated {
    _private: (),
}

/// The choice was made.
#[derive(Debug)]
pub struct Stated {
    _private: (),
}
