//! Whether the issuer and the audience of a [`Jwt`](super::Jwt) were chosen: parameters of its type,
//! so that one without them is not a strategy.

/// The issuer is still to be chosen: by [`Jwt::issuer`](super::Jwt::issuer).
#[derive(Debug)]
pub struct WantsIssuer {
    _private: (),
}

/// The issuer was chosen.
#[derive(Debug)]
pub struct HasIssuer {
    _private: (),
}

/// The audience is still to be chosen: by [`Jwt::audience`](super::Jwt::audience).
#[derive(Debug)]
pub struct WantsAudience {
    _private: (),
}

/// The audience was chosen.
#[derive(Debug)]
pub struct HasAudience {
    _private: (),
}
