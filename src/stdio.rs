//! The stdio transport: one JSON-RPC message a line, in on stdin and out on stdout, into the same
//! `mcp` as HTTP. One thread reads; what may take long is answered by workers, started as they are
//! needed, everything else at once by the reader; whoever answers writes whole lines, one at a
//! time. Nothing but messages of the protocol ever goes to stdout.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::auth::Caller;
use crate::base::deadline::Deadline;
use crate::base::sys;
use crate::mcp::{self, Line, Outlet, Pipe, invalid_request};
use crate::tools::{CallContext, Client, NoContact};

/// Requests that may wait for a worker.
const QUEUE_LENGTH: usize = 1024;
const READ_BYTES: usize = 65_536;
/// How often the end of the last answers is looked for.
const LAST_ANSWERS_CHECK: Duration = Duration::from_millis(5);

/// Bounds of the transport.
#[derive(Clone, Copy, Debug)]
pub struct StdioLimits {
    /// Longest line, without its end.
    pub max_line_bytes: usize,
    /// Lines that are answered at a time.
    pub workers: usize,
    /// All lines together that are being answered or wait for it.
    pub buffer_bytes: usize,
}

/// Where messages go.
struct Out {
    file: Mutex<File>,
    /// Told once the client has gone.
    gone: Sender<()>,
    is_gone: AtomicBool,
}

/// A server on this process's stdin and stdout.
#[derive(Debug)]
pub struct StdioServer {
    shared: Arc<Shared>,
    _notifier: mcp::Notifier,
}

struct Shared {
    mcp: mcp::Server,
    caller: Caller,
    pipe: Arc<Pipe>,
    limits: StdioLimits,
    out: Arc<Out>,
    lines: AtomicU64,
    /// Lines that workers have, or will have, to answer.
    pending: AtomicUsize,
    pending_bytes: AtomicUsize,
    /// Workers that wait for a line which is not yet promised to them.
    idle: AtomicUsize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl StdioServer {
    /// Starts to serve the one client, who is `caller`. What is returned beside it speaks, or is
    /// closed, when the client has gone.
    ///
    /// # Errors
    /// When stdin or stdout is no open file, or the system gives no thread.
    pub fn start(
        mcp: mcp::Server,
        caller: Caller,
        limits: StdioLimits,
    ) -> io::Result<(Self, Receiver<()>)> {
        // Without the buffers and locks of std, which know nothing of lines as we mean them.
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (gone, is_gone) = bounded(1);
        let out = Arc::new(Out {
            file: Mutex::new(output),
            gone,
            is_gone: AtomicBool::new(false),
        });
        let pipe = Arc::new(Pipe::new(Arc::clone(&out) as Arc<dyn Outlet>));
        let notifier = mcp.watch(Some(Arc::clone(&pipe)))?;
        let shared = Arc::new(Shared {
            mcp,
            caller,
            pipe,
            limits,
            out,
            lines: AtomicU64::new(0),
            pending: AtomicUsize::new(0),
            pending_bytes: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
        });
        let reader = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("stdio".to_owned())
            .spawn(move || read_all(&reader, BufReader::with_capacity(READ_BYTES, input)))?;
        let server = Self {
            shared,
            _notifier: notifier,
        };
        Ok((server, is_gone))
    }

    /// Ends what tells the client of changes, with its last word; that too is an answer under way,
    /// as the client may not read it.
    pub fn end_streams(&self) {
        let shared = Arc::clone(&self.shared);
        shared.pending.fetch_add(1, Ordering::AcqRel);
        let ended = std::thread::Builder::new()
            .name("stdio-end".to_owned())
            .spawn(move || {
                shared.mcp.end_streams();
                shared.pending.fetch_sub(1, Ordering::AcqRel);
            });
        if let Err(error) = ended {
            log::warn!("no thread to end subscriptions: {error}");
            self.shared.pending.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether there are answers under way, and somebody who may read them.
    pub fn owes_answers(&self) -> bool {
        let pending = self.shared.pending.load(Ordering::Acquire);
        pending > 0 && !sys::has_no_reader(io::stdout().as_fd())
    }

    /// Waits for the answers under way; whether all were given in time.
    pub fn finish(&self, deadline: Deadline) -> bool {
        while self.shared.pending.load(Ordering::Acquire) > 0 {
            if deadline.remaining().is_none() {
                return false;
            }
            std::thread::sleep(LAST_ANSWERS_CHECK);
        }
        true
    }
}

fn read_all(shared: &Arc<Shared>, input: impl BufRead) {
    let mut lines = Lines::new(input, shared.limits.max_line_bytes);
    let mut pool = Pool::new(Arc::clone(shared));
    loop {
        match lines.next() {
            Ok(Some(Read::Line(bytes))) => {
                let line = shared.mcp.take_line(bytes);
                if !line.may_take_long() {
                    shared.answer(&line);
                } else if let Err(refused) = pool.submit(line) {
                    shared.write(refused.refusal("busy: too many requests wait; try again later"));
                }
            }
            Ok(Some(Read::TooLong)) => shared.write(invalid_request(&format!(
                "a line may have {} bytes (MCP_HTTP_MAX_REQUEST_BYTES)",
                shared.limits.max_line_bytes
            ))),
            Ok(None) => break,
            Err(error) => {
                log::warn!("stdin cannot be read: {error}");
                break;
            }
        }
    }
    shared.out.client_gone();
}

impl Shared {
    fn answer(&self, line: &Line) {
        let number = self.lines.fetch_add(1, Ordering::Relaxed);
        let context = CallContext {
            caller: &self.caller,
            request_id: &format!("stdio-{number}"),
            cancel: &self.mcp.new_cancel(),
            client: &Client::MUTE,
            contact: &NoContact,
        };
        let answered = catch_unwind(AssertUnwindSafe(|| {
            self.mcp.answer_line(line, &self.pipe, &context)
        }));
        match answered {
            Ok(Some(text)) => self.write(text),
            Ok(None) => {}
            Err(_) => {
                log::error!("stdio-{number}: a defect of the server; the panic stands above");
                self.write(line.refusal("internal error; the server's log has more"));
            }
        }
    }

    fn write(&self, text: String) {
        self.out.write(text);
    }
}

impl Out {
    fn write(&self, text: String) {
        let mut line = text.into_bytes();
        // What authors wrote is passed on as it is, and may be spread over lines: outside of
        // strings, where JSON has no line ends, they are but white space.
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&line).and_then(|()| file.flush()) {
            log::debug!("stdout cannot be written: {error}");
            self.client_gone();
        }
    }

    fn client_gone(&self) {
        self.is_gone.store(true, Ordering::Release);
        // Full means that it was told.
        let _ = self.gone.try_send(());
    }
}

impl std::fmt::Debug for Out {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Out").finish_non_exhaustive()
    }
}

/// A pipe has no queue that messages could be left out of: who does not read is waited for.
impl Outlet for Out {
    fn send(&self, message: &str) -> bool {
        self.write(message.to_owned());
        self.is_open()
    }

    fn send_spare(&self, message: &str) -> bool {
        self.send(message)
    }

    fn send_once(&self, _: &str, message: &str) -> bool {
        self.send(message)
    }

    fn is_open(&self) -> bool {
        !self.is_gone.load(Ordering::Acquire)
    }
}

/// The workers; only the reader gives them lines.
struct Pool {
    shared: Arc<Shared>,
    queue: Sender<Line>,
    waiting: Receiver<Line>,
    started: usize,
}

impl Pool {
    fn new(shared: Arc<Shared>) -> Self {
        let (queue, waiting) = bounded(QUEUE_LENGTH);
        Self {
            shared,
            queue,
            waiting,
            started: 0,
        }
    }

    /// Hands a line to a worker, or gives it back when there are too many.
    fn submit(&mut self, line: Line) -> Result<(), Line> {
        let (shared, bytes) = (&self.shared, line.size_bytes());
        let held = shared.pending_bytes.load(Ordering::Acquire);
        if self.queue.is_full() || held + bytes > shared.limits.buffer_bytes {
            return Err(line);
        }
        let promise = |idle: usize| idle.checked_sub(1);
        let promised = shared
            .idle
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, promise);
        if promised.is_err() && !self.start_worker() && self.started == 0 {
            return Err(line);
        }
        let shared = &self.shared;
        shared.pending.fetch_add(1, Ordering::AcqRel);
        shared.pending_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.queue.try_send(line).map_err(|refused| {
            // Cannot be: there is one sender, and there was room.
            shared.pending.fetch_sub(1, Ordering::AcqRel);
            shared.pending_bytes.fetch_sub(bytes, Ordering::AcqRel);
            refused.into_inner()
        })
    }

    fn start_worker(&mut self) -> bool {
        if self.started >= self.shared.limits.workers {
            return false;
        }
        let (shared, waiting) = (Arc::clone(&self.shared), self.waiting.clone());
        let spawned = std::thread::Builder::new()
            .name("stdio-worker".to_owned())
            .spawn(move || work(&shared, &waiting));
        match spawned {
            Ok(_) => self.started += 1,
            Err(ref error) => log::warn!("no thread for one more worker: {error}"),
        }
        spawned.is_ok()
    }
}

fn work(shared: &Shared, waiting: &Receiver<Line>) {
    while let Ok(line) = waiting.recv() {
        shared.answer(&line);
        shared
            .pending_bytes
            .fetch_sub(line.size_bytes(), Ordering::AcqRel);
        drop(line);
        shared.pending.fetch_sub(1, Ordering::AcqRel);
        shared.idle.fetch_add(1, Ordering::AcqRel);
    }
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    /// A line that is not blank, without its end.
    Line(Vec<u8>),
    /// A line that was longer than allowed, and is gone.
    TooLong,
}

/// Lines of bounded length.
struct Lines<R> {
    input: R,
    max_bytes: usize,
}

impl<R: BufRead> Lines<R> {
    fn new(input: R, max_bytes: usize) -> Self {
        Self { input, max_bytes }
    }

    /// The next line that is not blank; `None` at the end. The last one needs no line end.
    fn next(&mut self) -> io::Result<Option<Read>> {
        loop {
            match self.next_line()? {
                Some(Read::Line(line)) if line.trim_ascii().is_empty() => {}
                other => return Ok(other),
            }
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Read>> {
        let (mut line, mut is_too_long, mut began) = (Vec::new(), false, false);
        loop {
            let bytes = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let is_at_end = bytes.is_empty();
            let length = bytes.iter().position(|byte| *byte == b'\n');
            let part = bytes.get(..length.unwrap_or(bytes.len())).unwrap_or(bytes);
            began |= !is_at_end;
            // One more than allowed may be the carriage return of the line's end.
            is_too_long |= line.len() + part.len() > self.max_bytes.saturating_add(1);
            if is_too_long {
                line = Vec::new();
            } else {
                line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(length.is_some());
            self.input.consume(used);
            if is_at_end && !began {
                return Ok(None);
            }
            if is_at_end || length.is_some() {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                let is_too_long = is_too_long || line.len() > self.max_bytes;
                return Ok(Some(if is_too_long {
                    Read::TooLong
                } else {
                    Read::Line(line)
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `input` through a buffer of `chunk` bytes.
    fn read(input: &[u8], max_bytes: usize, chunk: usize) -> Vec<String> {
        let mut lines = Lines::new(BufReader::with_capacity(chunk, input), max_bytes);
        std::iter::from_fn(|| lines.next().unwrap())
            .map(|read| match read {
                Read::Line(line) => String::from_utf8(line).unwrap(),
                Read::TooLong => "<too long>".to_owned(),
            })
            .collect()
    }

    #[test]
    fn lines_however_they_come() {
        let check = |input: &str, expected: &[&str]| {
            for chunk in 1..=input.len() + 1 {
                assert_eq!(
                    read(input.as_bytes(), 5, chunk),
                    expected,
                    "{input:?} {chunk}"
                );
            }
        };
        check("", &[]);
        check("\n\r\n  \n", &[]);
        check("a\nb\r\nc", &["a", "b", "c"]);
        check("12345\n123456\n1\n", &["12345", "<too long>", "1"]);
        check("12345\r\n123456\r\n1", &["12345", "<too long>", "1"]);
        check("12345\r", &["12345"]);
        check("1234\r\r\n", &["1234\r"]);
        check("1234567890123\n1", &["<too long>", "1"]);
        check("1234567890123", &["<too long>"]);
        check("       \n1", &["<too long>", "1"]);
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let endless = io::repeat(b'x');
        let input = BufReader::new(io::Read::take(endless, 50_000_000));
        let mut lines = Lines::new(input, 1000);
        assert_eq!(lines.next().unwrap(), Some(Read::TooLong));
        assert_eq!(lines.next().unwrap(), None);
    }
}
