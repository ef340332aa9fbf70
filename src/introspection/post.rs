//! How the introspection endpoint is called.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::jwt::{FetchError, HttpsFetch, body, send};

/// The longest answer that is read, in bytes.
pub(super) const MAX_ANSWER_LEN: usize = 1 << 16;

/// Posts forms to the introspection endpoint.
///
/// An implementation must not follow redirects, because it would send the token and the client's
/// secret to another place; it must verify certificates, and read at most 64 KiB. A longer answer
/// is refused.
///
/// ```
/// use bytes::Bytes;
/// use tower_user_scope::{introspection::{FormRequest, PostForm}, jwt::FetchError};
/// # struct Mesh;
/// # impl Mesh {
/// #     async fn call(&self, _: &str, _: String) -> Result<(u16, Bytes), std::io::Error> {
/// #         Ok((200, Bytes::new()))
/// #     }
/// # }
///
/// /// The client of a service mesh, which authenticates the service by its certificate.
/// struct ThroughMesh(Mesh);
///
/// impl PostForm for ThroughMesh {
///     async fn post(&self, request: FormRequest) -> Result<Bytes, FetchError> {
///         let answer = self.0.call(request.url(), request.body().to_owned()).await;
///         match answer.map_err(FetchError::transport)? {
///             (200, body) => Ok(body),
///             (status, _) => Err(FetchError::Status(status)),
///         }
///     }
/// }
/// ```
pub trait PostForm {
    /// Posts the form, and returns the body of a 200.
    ///
    /// # Errors
    /// [`FetchError`] if there is no such body. A panic counts as an error.
    ///
    /// # Cancel safety
    /// The future is dropped after the time limit, and when nobody waits for its answer.
    fn post(&self, request: FormRequest) -> impl Future<Output = Result<Bytes, FetchError>> + Send;
}

/// A form for an introspection endpoint. `Debug` shows neither the token nor a secret.
pub struct FormRequest {
    pub(super) url: String,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) body: String,
}

impl FormRequest {
    /// Returns the URL of the endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the value of `Authorization`, if the client authenticates itself there.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Returns the body, of type `application/x-www-form-urlencoded`. It contains the token.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }
}

impl fmt::Debug for FormRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormRequest(..)")
    }
}

impl PostForm for HttpsFetch {
    async fn post(&self, request: FormRequest) -> Result<Bytes, FetchError> {
        let (client, url) = self.client(request.url())?;
        let mut call = client
            .post(url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = request.authorization {
            call = call.header(header::AUTHORIZATION, authorization);
        }
        let mut response = send(call.body(request.body), &url).await?;
        match response.status() {
            StatusCode::OK => body(&mut response, MAX_ANSWER_LEN).await,
            status => Err(FetchError::Status(status.as_u16())),
        }
    }
}

/// A [`PostForm`] without its type.
pub(super) type Post = dyn Fn(FormRequest) -> Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send>>
    + Send
    + Sync;

pub(super) fn boxed(post: impl PostForm + Send + Sync + 'static) -> Arc<Post> {
    let post = Arc::new(post);
    Arc::new(move |request| {
        let post = Arc::clone(&post);
        Box::pin(async move { post.post(request).await })
    })
}
