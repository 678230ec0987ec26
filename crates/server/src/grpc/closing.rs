//! Streams that end with their connection.
//!
//! Owns the end of streams whose services have no access to the connection: health and reflection. Without it a client that watches
//! the daemon's health would be cut off with an error when the connection reaches its age, and delay the drain until then.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;

/// A body that ends with the status of success when its connection is about to close.
struct Closing {
    body: Body,
    about_to_close: Pin<Box<WaitForCancellationFutureOwned>>,
    over: bool,
}

/// Ends `body` when `closing` fires, if it has not ended before.
pub(super) fn with(closing: CancellationToken, body: Body) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(Closing {
        body,
        about_to_close: Box::pin(closing.cancelled_owned()),
        over: false,
    })
}

impl http_body::Body for Closing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.about_to_close.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.over = true;
        let success = HeaderValue::from_static("0");
        let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, success)]);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }
}
