//! The body of an answer, which keeps its request open.
//!
//! Owns the link between the two: a request counts as open until its answer is written or given up, so that an answer which
//! the peer does not read is counted. Next: `pool`, which counts.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::pool::OpenRequest;

/// An answer's body. Its request is open until it is written or given up.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    body: Body,
    _request: Option<OpenRequest>,
}

impl AnswerBody {
    /// The body of the answer to a request.
    pub(crate) fn of(request: OpenRequest, body: Body) -> Self {
        Self {
            body,
            _request: Some(request),
        }
    }

    /// The body of the answer to a request that was not opened.
    pub(crate) fn uncounted(body: Body) -> Self {
        Self {
            body,
            _request: None,
        }
    }
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
