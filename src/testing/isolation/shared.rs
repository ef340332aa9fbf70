//! Paths that users share.

/// Paths whose responses may show ids of others, and may depend on others.
#[derive(Debug, Default)]
pub(in crate::testing) struct SharedPaths(Vec<String>);

impl SharedPaths {
    pub(in crate::testing) fn add(&mut self, path: impl Into<String>) {
        self.0.push(path.into());
    }

    /// Returns whether a request, such as `GET /feed`, has one of the paths.
    pub(in crate::testing) fn have(&self, request: &str) -> bool {
        let path = request.split_once(' ').map_or(request, |(_, path)| path);
        self.0.iter().any(|shared| shared == path)
    }
}
