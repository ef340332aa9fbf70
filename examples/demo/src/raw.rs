//! Requests as text: those of the scenarios, and what is pasted into the page.

use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};

/// The most header fields that a pasted request may have.
const MOST_FIELDS: usize = 64;

/// Reads a request in the form of HTTP/1.1 (RFC 9112): a request line, header fields, an empty
/// line, and a body. Lines may end with `\n` alone.
///
/// # Errors
/// What is wrong with it, for whoever pasted it.
pub(crate) fn parse(text: &str) -> Result<Request<String>, String> {
    let text = text.trim_start().replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let head = format!("{head}\n\n");
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head.as_bytes()) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err("The request is not complete.".to_owned()),
        Err(error) => return Err(format!("This is not an HTTP/1.1 request: {error}.")),
    }
    let mut request = Request::new(body.to_owned());
    let method = parsed.method.unwrap_or_default();
    *request.method_mut() = method
        .parse::<Method>()
        .map_err(|_| format!("`{method}` is not a method."))?;
    let path = parsed.path.unwrap_or_default();
    *request.uri_mut() = path
        .parse::<Uri>()
        .map_err(|_| format!("`{path}` is not a path."))?;
    for field in parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        match (name, value) {
            (Ok(name), Ok(value)) => request.headers_mut().append(name, value),
            _ => return Err(format!("The field `{}` is not a header field.", field.name)),
        };
    }
    Ok(request)
}
