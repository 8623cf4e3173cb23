//! What a container for one call costs with no server in between: the Engine API's own requests,
//! one after the other, with a runner of ten lines. Nothing can be faster without keeping
//! containers ahead, and then nothing can be faster than the last exchange alone.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use dynamic_mcp::base::http1::read_head;
use serde_json::{Value, json};

use super::http::Connection;

const RUNNER: &str = "
let text = '';
process.stdin.on('data', async chunk => {
  text += chunk;
  if (!text.includes('\\n')) return;
  const job = JSON.parse(text);
  const run = new (async () => {}).constructor('args', job.code);
  console.log(JSON.stringify({ result: await run(job.args) }));
  process.exit(0);
});
console.log('ready');
";

/// Longer than anything here takes: a bench that waits for more is broken, and says so.
const PATIENCE: Duration = Duration::from_secs(30);

/// One life of a container, in its phases.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Phases {
    /// Create, attach, start, and the runner says that it is ready.
    pub(crate) prepare: Duration,
    /// The job goes in, the result comes out.
    pub(crate) call: Duration,
    /// The container is removed.
    pub(crate) remove: Duration,
}

/// A daemon behind a Unix socket.
pub(crate) struct Floor {
    socket: String,
}

impl Floor {
    /// The daemon that `DOCKER_HOST` names.
    pub(crate) fn new() -> Self {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let socket = host.strip_prefix("unix://");
        Self {
            socket: socket.unwrap_or("/var/run/docker.sock").to_owned(),
        }
    }

    pub(crate) fn socket(&self) -> &str {
        &self.socket
    }

    pub(crate) fn remove_volume(&self, name: &str) {
        let target = format!("/volumes/{name}?force=1");
        let (status, text) = self.connect().request("DELETE", &target, "");
        assert_eq!(status, 204, "{text}");
    }

    fn connect(&self) -> Connection<UnixStream> {
        Connection::new(self.dial())
    }

    fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The whole life of one container.
    pub(crate) fn cycle(&self) -> Phases {
        let began = Instant::now();
        let mut daemon = self.connect();
        let (status, text) = daemon.request("POST", "/containers/create", &spec().to_string());
        assert_eq!(status, 201, "{text}");
        let created: Value = serde_json::from_str(&text).unwrap();
        let id = created["Id"].as_str().unwrap();
        let mut stream = self.attach(id);
        let (status, text) = daemon.request("POST", &format!("/containers/{id}/start"), "");
        assert_eq!(status, 204, "{text}");
        await_text(&mut stream, "ready");
        let prepare = began.elapsed();

        let called = Instant::now();
        let job = json!({ "code": "return args.a + args.b", "args": { "a": 1, "b": 2 } });
        stream
            .get_mut()
            .write_all(format!("{job}\n").as_bytes())
            .unwrap();
        await_text(&mut stream, "result");
        let call = called.elapsed();

        let removed = Instant::now();
        let target = format!("/containers/{id}?force=1&v=1");
        let (status, text) = daemon.request("DELETE", &target, "");
        assert_eq!(status, 204, "{text}");
        let remove = removed.elapsed();
        Phases {
            prepare,
            call,
            remove,
        }
    }

    /// Until there are only so many containers, for a while.
    pub(crate) fn await_containers(&self, count: usize) {
        let mut daemon = self.connect();
        for _ in 0..500 {
            let (_, text) = daemon.request("GET", "/containers/json?all=1", "");
            let found: Vec<Value> = serde_json::from_str(&text).unwrap();
            if found.len() <= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("(there were more than {count} containers left)");
    }

    fn attach(&self, id: &str) -> BufReader<UnixStream> {
        let mut stream = self.dial();
        let head = format!(
            "POST /containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\n\
             Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        // What is printed before the daemon has attached is lost.
        let head = read_head(&mut stream).unwrap();
        assert_eq!(head.status, 101);
        stream
    }
}

/// Reads until the text has come; frames of the attached stream are no matter here.
fn await_text(stream: &mut BufReader<UnixStream>, text: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        let chunk = stream.fill_buf().unwrap();
        assert!(!chunk.is_empty(), "ended before {text:?}");
        let length = chunk.len();
        seen.extend_from_slice(chunk);
        stream.consume(length);
    }
}

/// As confined as ours.
fn spec() -> Value {
    json!({
        "Image": "node:lts-slim", "Entrypoint": ["node", "-e", RUNNER], "Cmd": [],
        "User": "1000:1000", "WorkingDir": "/workspace",
        "OpenStdin": true, "StdinOnce": true,
        "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
        "HostConfig": {
            "NetworkMode": "none", "ReadonlyRootfs": true, "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"], "PidsLimit": 256,
            "Memory": 512 << 20, "MemorySwap": 512 << 20, "NanoCpus": 1_000_000_000,
            "Init": true, "IpcMode": "none", "LogConfig": { "Type": "none" },
            "Tmpfs": {
                "/tmp": "rw,noexec,nosuid,nodev,size=64m",
                "/workspace": "rw,noexec,nosuid,nodev,size=256m,uid=1000,gid=1000",
            },
        },
    })
}
