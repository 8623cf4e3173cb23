//! The server's own counts, as atomics, and their text form. No label here takes a value that a
//! caller can invent: routes, kinds and outcomes are closed sets.

pub mod exposition;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use exposition::Exposition;

/// Upper bounds of the duration buckets, in seconds.
const BOUNDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];

/// A histogram of durations.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            buckets,
            count: AtomicU64::new(0),
            sum_micros: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some((_, bucket)) = BOUNDS
            .iter()
            .zip(&self.buckets)
            .find(|(bound, _)| seconds <= **bound)
        {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn snapshot(&self) -> exposition::HistogramSample {
        let mut running = 0;
        let cumulative = BOUNDS.iter().zip(&self.buckets).map(|(bound, bucket)| {
            running += bucket.load(Ordering::Relaxed);
            (*bound, running)
        });
        let cumulative = cumulative.collect();
        // Read after the buckets, which are counted first: the total is never below the last
        // bucket.
        let count = self.count.load(Ordering::Relaxed).max(running);
        let sum = Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)).as_secs_f64();
        exposition::HistogramSample {
            cumulative,
            count,
            sum,
        }
    }
}

/// What kind of tool was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// A tool of ours.
    BuiltIn,
    /// A tool made at run time.
    Dynamic,
    /// Code of a prompt.
    Prompt,
    /// Code of a resource.
    Resource,
    /// `run_js_ephemeral`.
    RunJs,
    /// Commands or code in a sandbox.
    Sandbox,
}

impl CallKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "builtin",
            Self::Dynamic => "dynamic",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::RunJs => "run_js_ephemeral",
            Self::Sandbox => "sandbox",
        }
    }
}

/// A stretch of one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the call to a ready sandbox: the wait for a slot and the start.
    Acquire,
    /// From the job's sending to its end.
    Run,
    /// Both.
    Total,
}

/// Why requests are not let in. Each is shown from the start, so that the first one is a change.
pub const AUTH_DENIALS: [&str; 12] = [
    "missing",
    "malformed",
    "unknown_key",
    "algorithm",
    "signature",
    "expired",
    "not_yet_valid",
    "issuer",
    "audience",
    "claims",
    "scope",
    "keys_unavailable",
];

/// How questions to clients end. Each is shown from the start.
pub const QUESTION_ENDINGS: [&str; 4] = ["answered", "refused", "timeout", "abandoned"];

/// Everything that is counted while serving.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    request_duration: [(&'static str, Histogram); 3],
    calls: Mutex<BTreeMap<(CallKind, &'static str), u64>>,
    acquire: Histogram,
    run: Histogram,
    total: Histogram,
    reaped: AtomicU64,
    panics: AtomicU64,
    authenticated: AtomicU64,
    auth_denied: Mutex<BTreeMap<&'static str, u64>>,
    questions: Mutex<BTreeMap<&'static str, u64>>,
    notifications_dropped: AtomicU64,
    audit_written: AtomicU64,
    audit_failed: AtomicU64,
    audit_bytes: AtomicU64,
    audit_syncs: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            requests: Mutex::default(),
            request_duration: ["mcp", "ops", "other"].map(|route| (route, Histogram::default())),
            calls: Mutex::default(),
            acquire: Histogram::default(),
            run: Histogram::default(),
            total: Histogram::default(),
            reaped: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            authenticated: AtomicU64::new(0),
            auth_denied: Mutex::new(AUTH_DENIALS.map(|reason| (reason, 0)).into()),
            questions: Mutex::new(QUESTION_ENDINGS.map(|ending| (ending, 0)).into()),
            notifications_dropped: AtomicU64::new(0),
            audit_written: AtomicU64::new(0),
            audit_failed: AtomicU64::new(0),
            audit_bytes: AtomicU64::new(0),
            audit_syncs: AtomicU64::new(0),
        }
    }
}

fn count<K: Ord>(counts: &Mutex<BTreeMap<K, u64>>, key: K) {
    *counts
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .entry(key)
        .or_default() += 1;
}

impl Metrics {
    /// How long this process has been up.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts one HTTP request; `route` is one of `mcp`, `ops`, `other`.
    pub fn count_request(&self, route: &'static str, status: u16, duration: Duration) {
        count(&self.requests, (route, status));
        if let Some((_, histogram)) = self
            .request_duration
            .iter()
            .find(|(name, _)| *name == route)
        {
            histogram.observe(duration);
        }
    }

    /// Counts one tool call; `outcome` is `ok`, `input_required` or a failure kind's name.
    pub fn count_call(&self, kind: CallKind, outcome: &'static str) {
        count(&self.calls, (kind, outcome));
    }

    /// Counts a phase of an execution.
    pub fn observe_phase(&self, phase: Phase, duration: Duration) {
        match phase {
            Phase::Acquire => self.acquire.observe(duration),
            Phase::Run => self.run.observe(duration),
            Phase::Total => self.total.observe(duration),
        }
    }

    /// Counts containers that the reaper removed.
    pub fn count_reaped(&self, containers: usize) {
        self.reaped.fetch_add(containers as u64, Ordering::Relaxed);
    }

    /// Counts a request whose token was accepted.
    pub fn count_authenticated(&self) {
        self.authenticated.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was not let in; `reason` is one of [`AUTH_DENIALS`].
    pub fn count_auth_denied(&self, reason: &'static str) {
        count(&self.auth_denied, reason);
    }

    /// Counts a request that ended in a panic of ours.
    pub fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a question to a client that has ended; `ending` is one of [`QUESTION_ENDINGS`].
    pub fn count_question(&self, ending: &'static str) {
        count(&self.questions, ending);
    }

    /// Counts a notification of running code that went beyond what one call may say.
    pub fn count_notification_dropped(&self) {
        self.notifications_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts lines that reached the audit log.
    pub fn count_audit_written(&self, lines: usize, bytes: usize) {
        self.audit_written
            .fetch_add(lines as u64, Ordering::Relaxed);
        self.audit_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts that all lines of the audit log so far reached the disk.
    pub fn count_audit_sync(&self) {
        self.audit_syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an act that could not be written to the audit log.
    pub fn count_audit_failed(&self) {
        self.audit_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes all series that this struct holds.
    pub fn expose(&self, text: &mut Exposition) {
        let version = env!("CARGO_PKG_VERSION");
        let git_sha = option_env!("DYNAMIC_MCP_GIT_SHA").unwrap_or("unknown");
        text.gauge(
            "build_info",
            "Version of the running binary; git_sha is DYNAMIC_MCP_GIT_SHA as it was built.",
        )
        .sample(&[("version", version), ("git_sha", git_sha)], 1.0);
        text.gauge(
            "process_uptime_seconds",
            "Seconds since the process started.",
        )
        .sample(&[], self.uptime().as_secs_f64());
        {
            let requests = self
                .requests
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            let mut family =
                text.counter("http_requests_total", "HTTP requests by route and status.");
            for ((route, status), count) in requests.iter() {
                family.sample(
                    &[("route", route), ("status", &status.to_string())],
                    *count as f64,
                );
            }
        }
        let mut family =
            text.histogram("http_request_duration_seconds", "Time to answer a request.");
        for (route, histogram) in &self.request_duration {
            family.histogram_sample(&[("route", route)], &histogram.snapshot());
        }
        {
            let calls = self
                .calls
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            let mut family = text.counter("tool_calls_total", "Tool calls by kind and outcome.");
            for ((kind, outcome), count) in calls.iter() {
                family.sample(
                    &[("kind", kind.as_str()), ("outcome", outcome)],
                    *count as f64,
                );
            }
        }
        let mut family = text.histogram(
            "execution_duration_seconds",
            "Phases of the runs of tool code.",
        );
        for (phase, histogram) in [
            ("acquire", &self.acquire),
            ("run", &self.run),
            ("total", &self.total),
        ] {
            family.histogram_sample(&[("phase", phase)], &histogram.snapshot());
        }
        self.expose_auth(text);
        self.expose_clients(text);
        text.counter(
            "containers_reaped_total",
            "Containers of dead instances that were removed.",
        )
        .sample(&[], self.reaped.load(Ordering::Relaxed) as f64);
        text.counter(
            "panics_total",
            "Requests that ended in a defect of the server.",
        )
        .sample(&[], self.panics.load(Ordering::Relaxed) as f64);
        let audit = [
            (
                "audit_written_total",
                "Lines of the audit log.",
                &self.audit_written,
            ),
            (
                "audit_failed_total",
                "Acts that could not be audited.",
                &self.audit_failed,
            ),
            (
                "audit_bytes_total",
                "Bytes of the audit log.",
                &self.audit_bytes,
            ),
            (
                "audit_syncs_total",
                "Times the audit log was brought to the disk.",
                &self.audit_syncs,
            ),
        ];
        for (name, help, count) in audit {
            text.counter(name, help)
                .sample(&[], count.load(Ordering::Relaxed) as f64);
        }
    }

    fn expose_clients(&self, text: &mut Exposition) {
        let questions = self
            .questions
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut family = text.counter(
            "client_questions_total",
            "Questions that running code asked clients beside its call.",
        );
        for (ending, count) in questions.iter() {
            family.sample(&[("result", ending)], *count as f64);
        }
        text.counter(
            "notifications_dropped_total",
            "Logs and progress of running code beyond what one call may say.",
        )
        .sample(
            &[],
            self.notifications_dropped.load(Ordering::Relaxed) as f64,
        );
    }

    fn expose_auth(&self, text: &mut Exposition) {
        text.counter(
            "http_auth_success_total",
            "Requests with an accepted token.",
        )
        .sample(&[], self.authenticated.load(Ordering::Relaxed) as f64);
        let denied = self
            .auth_denied
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut family = text.counter("http_auth_denied_total", "Requests that were not let in.");
        for (reason, count) in denied.iter() {
            family.sample(&[("reason", reason)], *count as f64);
        }
    }
}
