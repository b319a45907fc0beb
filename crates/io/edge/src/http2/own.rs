//! Answers of the edge's own to requests by HTTP/2.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::answer::AnswerBody;
use crate::http1::answer::METHODS;

/// An answer of the edge's own.
pub(super) fn own((status, text): (u16, impl Into<Cow<'static, str>>)) -> Response<AnswerBody> {
    let text = match text.into() {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    let location = HeaderValue::from_maybe_shared(text.clone());
    let mut response = Response::new(AnswerBody::own(text));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if let (308, Ok(location)) = (status, location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if status == 503 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == 405 {
        let offered = HeaderValue::from_static(METHODS);
        response.headers_mut().insert(header::ALLOW, offered);
    }
    response
}
