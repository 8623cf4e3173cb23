//! A defect of ours, anywhere below the transport, costs one answer and nothing else.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp::app::open_store;
use dynamic_mcp::audit::Audit;
use dynamic_mcp::auth::Authority;
use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::base::secret::Secret;
use dynamic_mcp::config::{Config, Disk, Environment, GivenFlag, Problems, Profile, Sources, load};
use dynamic_mcp::domain::entry::Dependency;
use dynamic_mcp::domain::failure::{Failure, FailureKind};
use dynamic_mcp::domain::image::ImageRef;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Cancel, Ended, Job, Observer, Returned};
use dynamic_mcp::engine::{Check, Engine, PoolCounts, Sandboxes};
use dynamic_mcp::guard::{Guard, GuardLimits};
use dynamic_mcp::http::{HttpServer, Readiness, Services, listen};
use dynamic_mcp::mcp::{Server, SessionKey, Sessions};
use dynamic_mcp::metrics::Metrics;
use dynamic_mcp::tools::{ToolSettings, Tools};
use serde_json::{Value, json};

use crate::support::http::{Connection, call_body};
use crate::support::server::Folder;

const WORKERS: usize = 10;
const SLOTS: usize = 2;

/// An engine with a defect, which the code `defect` meets.
struct Defective;

impl Engine for Defective {
    fn name(&self) -> &'static str {
        "defective"
    }

    fn admit(&self, _: Option<&ImageRef>, _: &[Dependency]) -> Result<(), Failure> {
        Ok(())
    }

    fn run(&self, job: &Job, _: Deadline, _: &Cancel, _: &mut dyn Observer) -> Ended {
        assert_ne!(&*job.code, "defect", "met on purpose");
        Ended {
            outcome: Ok(Returned::Value(JsonText::from_value(&json!(42)))),
            duration: Duration::ZERO,
            image: None,
        }
    }

    fn check(&self, _: Option<&ImageRef>, _: &str, _: Deadline) -> Result<(), Failure> {
        Ok(())
    }

    fn probe(&self, _: Deadline) -> Check {
        self.probe_image(Deadline::after(Duration::ZERO))
    }

    fn probe_image(&self, _: Deadline) -> Check {
        Check {
            ready: true,
            detail: String::new(),
        }
    }

    fn sandboxes(&self) -> Result<&Sandboxes, Failure> {
        Err(Failure::new(FailureKind::Policy, "none here"))
    }

    fn pool_counts(&self) -> PoolCounts {
        PoolCounts::default()
    }

    fn tidy(&self, _: Deadline) -> usize {
        0
    }

    fn stop(&self, _: Deadline) -> usize {
        0
    }
}

fn config(folder: &Folder) -> Config {
    let flag = |name: &str, value: String| GivenFlag {
        name: format!("--{name}"),
        value: Some(Secret::new(value)),
    };
    let store = folder.store().display().to_string();
    let flags = [
        flag("port", "0".to_owned()),
        flag("http-workers", WORKERS.to_string()),
        flag("tool-max-concurrency", SLOTS.to_string()),
        flag("dynamic-store", store),
        flag("runtime-dir", folder.path().display().to_string()),
    ];
    let sources = Sources {
        flags: &flags,
        env_file: None,
        environment: &Environment::default(),
        files: &Disk,
    };
    load(&sources, Problems::default()).unwrap().config
}

fn serve(config: &Config) -> HttpServer {
    let store = open_store(&config.store).unwrap();
    let engine: Arc<dyn Engine> = Arc::new(Defective);
    let guard = Arc::new(Guard::new(GuardLimits {
        max_concurrency: SLOTS,
        max_concurrency_per_principal: SLOTS,
        max_waiting: 0,
        max_calls_per_window: 1000,
        window: Duration::from_secs(60),
    }));
    let authority = Authority::new(None);
    let metrics = Arc::new(Metrics::default());
    let tools = Tools::new(
        Arc::clone(&store),
        Arc::clone(&engine),
        Arc::clone(&guard),
        authority.clone(),
        Arc::clone(&metrics),
        Audit::off(),
        ToolSettings {
            profile: Profile::Mvp,
            shown: Vec::new(),
            name_style: config.catalog.name_style,
            groups: config.catalog.builtin_groups.clone(),
            max_timeout_ms: 30_000,
            max_dependencies: 0,
            queue: Duration::from_millis(100),
        },
    );
    let key = SessionKey::new([7; 32]);
    let sessions = Sessions::new(key.clone(), config.http.session_ttl, Arc::default());
    let services = Services {
        mcp: Server::new(Arc::new(tools), Some(sessions), key),
        authority,
        audit: Audit::off(),
        metrics,
        guard,
        engine,
        store,
        readiness: Arc::new(Readiness::default()),
    };
    HttpServer::start(&config.http, listen(&config.http).unwrap(), services).unwrap()
}

#[test]
fn a_panic_costs_one_answer() {
    let folder = Folder::new();
    let server = serve(&config(&folder));
    let mut client = Connection::open(server.address().unwrap());
    let body = |code: &str| call_body("run_js_ephemeral", &json!({ "code": code }));
    // More than there are workers, or slots for runs.
    for _ in 0..2 * WORKERS {
        let broken = client.post(&[], &body("defect"));
        assert_eq!(broken.status, 200, "{}", broken.text());
        let answer = broken.json();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(1), &json!(-32603))
        );
        assert!(!broken.text().contains("on purpose"), "{}", broken.text());
        assert!(broken.header("x-request-id").is_some());
    }
    let whole = client.post(&[], &body("return 42"));
    let result: Value = whole.json()["result"].clone();
    assert_eq!(result["structuredContent"]["result"], json!(42), "{result}");
    let metrics = client.exchange("GET", "/metrics", &[], b"").text();
    let counted = format!("dynamic_mcp_panics_total {}", 2 * WORKERS);
    assert!(metrics.contains(&counted), "{metrics}");
    server.stop(Duration::from_secs(5));
}
