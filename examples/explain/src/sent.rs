//! Requests as people have them: text, a line for curl, or a HAR file.

use http::{HeaderName, HeaderValue, Method, Request, Uri, header, request::Parts};
use serde::Deserialize;

/// The most header fields of a request as text.
const MOST_FIELDS: usize = 128;

/// Reads the heads of one or several requests. The beginning of the text says which form it has.
///
/// # Errors
/// What is wrong with it. The message has nothing of the text but names.
pub(crate) fn read(text: &str) -> Result<Vec<Parts>, String> {
    let text = text.trim_start();
    if text.starts_with("curl ") {
        Ok(vec![curl(text)?])
    } else if text.starts_with('{') {
        har(text)
    } else {
        Ok(vec![http1(text)?])
    }
}

/// Reads the form of HTTP/1.1 (RFC 9112): a request line, and header fields. Lines may end with `\n`.
fn http1(text: &str) -> Result<Parts, String> {
    let text = text.replace("\r\n", "\n");
    let head = text.split_once("\n\n").map_or(&*text, |(head, _)| head);
    let head = format!("{}\n\n", head.trim_end());
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head.as_bytes()) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err("the request is not complete".to_owned()),
        Err(error) => return Err(format!("this is no HTTP/1.1 request: {error}")),
    }
    let (method, path) = (
        parsed.method.unwrap_or_default(),
        parsed.path.unwrap_or_default(),
    );
    let mut parts = begin(method, path)?;
    for field in parsed.headers {
        add(&mut parts, field.name, field.value)?;
    }
    Ok(parts)
}

/// Reads a command line for curl, such as browsers copy. Options that change nothing of the head are
/// skipped.
fn curl(line: &str) -> Result<Parts, String> {
    let line = line.replace("\\\n", " ").replace("\\\r\n", " ");
    let words = shlex::split(&line).ok_or("a quote of the command line is not closed")?;
    let mut words = words.into_iter().skip(1);
    let (mut method, mut url, mut fields) = (None, None, Vec::new());
    while let Some(word) = words.next() {
        let (option, joined) = match word.as_bytes() {
            // `-Hname: value`
            [b'-', b'H' | b'X' | b'b' | b'A' | b'd', _, ..] => {
                (&word[..2], Some(word[2..].to_owned()))
            }
            _ => (&*word, None),
        };
        let mut value = || {
            let value = joined.clone().or_else(|| words.next());
            value.ok_or_else(|| format!("`{option}` has no value"))
        };
        match option {
            "-H" | "--header" => {
                let field = value()?;
                let (name, value) = field.split_once(':').ok_or("a header has no `:`")?;
                fields.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            "-b" | "--cookie" => fields.push(("cookie".to_owned(), value()?)),
            "-A" | "--user-agent" => fields.push(("user-agent".to_owned(), value()?)),
            "--oauth2-bearer" => {
                fields.push(("authorization".to_owned(), format!("Bearer {}", value()?)));
            }
            "-X" | "--request" => method = Some(value()?),
            "-I" | "--head" => method = Some("HEAD".to_owned()),
            "-d" | "--data" | "--data-raw" | "--data-binary" | "--data-urlencode" | "--json" => {
                value()?;
                method.get_or_insert_with(|| "POST".to_owned());
            }
            "-o" | "--output" | "-m" | "--max-time" | "--cacert" | "--cert" | "--resolve" => {
                value()?;
            }
            "--url" => url = Some(value()?),
            "-i" | "-s" | "-S" | "-sS" | "-v" | "-k" | "-L" | "-f" | "-g" | "--include"
            | "--silent" | "--show-error" | "--verbose" | "--insecure" | "--location"
            | "--fail" | "--globoff" | "--compressed" | "--http1.1" | "--http2" => {}
            unknown if unknown.starts_with('-') => {
                return Err(format!("curl's `{unknown}` is not known here"));
            }
            _ => url = Some(word),
        }
    }
    let url = url.ok_or("the command line has no URL")?;
    let mut parts = begin(method.as_deref().unwrap_or("GET"), &url)?;
    for (name, value) in fields {
        add(&mut parts, &name, value.as_bytes())?;
    }
    Ok(parts)
}

/// The part of an HTTP Archive 1.2 that says what was sent.
#[derive(Deserialize)]
struct Har {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    request: Recorded,
}

#[derive(Deserialize)]
struct Recorded {
    method: String,
    url: String,
    headers: Vec<Field>,
    #[serde(default)]
    cookies: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    value: String,
}

fn har(text: &str) -> Result<Vec<Parts>, String> {
    let har: Har = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("this is no HAR file: line {line}, column {column}")
    })?;
    let requests = har.log.entries.into_iter().map(|entry| entry.request);
    requests
        .map(|request| {
            let mut parts = begin(&request.method, &request.url)?;
            // The others are HTTP/2's own, such as `:authority`.
            let fields = request
                .headers
                .iter()
                .filter(|field| !field.name.starts_with(':'));
            for field in fields {
                add(&mut parts, &field.name, field.value.as_bytes())?;
            }
            if !parts.headers.contains_key(header::COOKIE) {
                for cookie in &request.cookies {
                    let pair = format!("{}={}", cookie.name, cookie.value);
                    add(&mut parts, "cookie", pair.as_bytes())?;
                }
            }
            Ok(parts)
        })
        .collect()
}

/// A head without fields, or with the `Host` that a URL names.
fn begin(method: &str, url: &str) -> Result<Parts, String> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method
        .parse::<Method>()
        .map_err(|_| "the method is not one")?;
    let uri = url.parse::<Uri>().map_err(|_| "the URL is not one")?;
    if let Some(authority) = uri.authority() {
        add(&mut parts, "host", authority.host().as_bytes())?;
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(|_| "the path is not one")?;
    Ok(parts)
}

fn add(parts: &mut Parts, name: &str, value: &[u8]) -> Result<(), String> {
    let known = HeaderName::from_bytes(name.as_bytes());
    let known = known.map_err(|_| format!("`{name}` is not the name of a header"))?;
    let value = HeaderValue::from_bytes(value);
    let value = value.map_err(|_| format!("the value of `{name}` is not one of a header"))?;
    if known == header::HOST {
        parts.headers.insert(known, value);
    } else {
        parts.headers.append(known, value);
    }
    Ok(())
}
