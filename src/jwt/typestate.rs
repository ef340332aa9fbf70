//! Whether the issuer and the audience of a [`Jwt`](super::Jwt) were chosen: parameters of its type,
//! so that one without them is not a strategy.

/// Not said yet.
#[derive(Debug)]
pub struct Unstated {
    _private: (),
}

/// Said.
#[derive(Debug)]
pub struct Stated {
    _private: (),
}
