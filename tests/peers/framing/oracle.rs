//! hyper's server on a connection in memory: which requests it finds in a stream of bytes.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::ReadBufCursor;
use hyper::service::service_fn;

/// A request whose end was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// In origin form.
    pub target: String,
    /// Of the target, else of the field.
    pub host: Option<String>,
    pub number: Option<String>,
    pub body: Vec<u8>,
}

/// Every request that is complete in `stream`, which stays open at its end, and whether the
/// connection was ended before that.
pub fn read(stream: &[u8]) -> (Vec<Seen>, bool) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request| note(request, Arc::clone(&seen)));
    let memory = Memory {
        unread: stream.to_vec(),
        start: 0,
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(memory, service);
    let ended = run(pin!(connection));
    let seen = seen.lock().unwrap().drain(..).collect();
    (seen, ended)
}

async fn note(
    request: hyper::Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<hyper::Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let field = |name| {
        let value: Option<&hyper::header::HeaderValue> = head.headers.get(name);
        value.map(|value| value.to_str().unwrap_or("not ASCII").to_owned())
    };
    let entry = Seen {
        method: head.method.to_string(),
        target: match head.uri.path_and_query().map(|target| target.as_str()) {
            // As it stands before a query without a path.
            Some(target) => target.to_owned(),
            None => "/".to_owned(),
        },
        host: match head.uri.authority() {
            Some(authority) => Some(authority.to_string()),
            None => field("host"),
        },
        number: field("x-gate-request"),
        body: Vec::new(),
    };
    if let Ok(body) = body.collect().await {
        let body = body.to_bytes().to_vec();
        seen.lock().unwrap().push(Seen { body, ..entry });
    }
    Ok(hyper::Response::new(Empty::new()))
}

/// Polls until nothing goes on any more; true when the future is complete.
fn run(mut future: Pin<&mut impl Future>) -> bool {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    while flag.0.swap(false, Ordering::Relaxed) {
        if future.as_mut().poll(&mut context).is_ready() {
            return true;
        }
    }
    false
}

/// A peer that has sent some bytes, sends no more, and takes every answer.
struct Memory {
    unread: Vec<u8>,
    start: usize,
}

impl hyper::rt::Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let here = &self.unread[self.start..];
        let bytes = here.len().min(room.remaining());
        if bytes == 0 {
            return Poll::Pending;
        }
        room.put_slice(&here[..bytes]);
        self.start += bytes;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
