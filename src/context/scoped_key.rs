//! The keys under which an application keeps what belongs to one user.

use super::{Principal, TenantId, UserContext};

impl UserContext {
    /// A key for something kept by user: `name:kind:tenant:id`, the same for every request of
    /// one [`Subject`](super::Subject) and never the same for two of them.
    ///
    /// `%` and `:` within a part are escaped, so ids that contain the separator stay apart. Each
    /// anonymous request has a key of its own, which no other request ever has, on other replicas
    /// neither: do not keep anything under it for longer than the request's own work
    /// ([`Subject::is_of_one_request`](super::Subject::is_of_one_request)).
    #[must_use]
    pub fn scoped_key(&self, name: &str) -> String {
        let visit;
        let id = match self.principal() {
            Principal::User(id) => id.as_str(),
            Principal::Service(name) => name.as_str(),
            Principal::Visitor(id) => id.as_str(),
            Principal::Anonymous => {
                visit = self.subject().visit().map(|visit| visit.to_string());
                visit.as_deref().unwrap_or_default()
            }
        };
        let mut key = String::with_capacity(name.len() + id.len() + 12);
        push_escaped(&mut key, name);
        for part in [
            self.principal().kind(),
            self.tenant_id().map_or("", TenantId::as_str),
            id,
        ] {
            key.push(':');
            push_escaped(&mut key, part);
        }
        key
    }
}

fn push_escaped(key: &mut String, part: &str) {
    for c in part.chars() {
        match c {
            '%' => key.push_str("%25"),
            ':' => key.push_str("%3A"),
            c => key.push(c),
        }
    }
}
