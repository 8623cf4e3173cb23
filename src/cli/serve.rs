//! The `serve` command: logging, the running server, and the signals that end it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use crossbeam_channel::{bounded, select};

use crate::app::{App, StdioApp, Surroundings};
use crate::base::clock::now_rfc3339;
use crate::base::sys;
use crate::config::{Config, Loaded, LogConfig, LogFormat, Transport};

/// How often the server is asked whether it still serves.
const WATCH: Duration = Duration::from_secs(1);

/// Serves until a signal comes.
pub(super) fn serve(loaded: Loaded, surroundings: Surroundings) -> ExitCode {
    let config = loaded.config;
    start_log(&config.log);
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    if let Err(error) = sys::block_termination() {
        return super::fail(1, &format!("signals cannot be caught: {error}"));
    }
    match config.transport {
        Transport::Http => serve_http(config, surroundings),
        Transport::Stdio => serve_stdio(config, surroundings),
    }
}

fn serve_http(config: Config, surroundings: Surroundings) -> ExitCode {
    let app = match App::start(config, surroundings) {
        Ok(app) => app,
        Err(error) => return super::fail(1, &error.to_string()),
    };
    let _ = std::io::stderr().write_all(app.banner().as_bytes());
    loop {
        if let Some(signal) = sys::wait_for_termination(WATCH) {
            let signal = signal_name(signal);
            log::info!("{signal}: ending; {}", app.under_way());
            break;
        }
        if !app.is_running() {
            return super::fail(1, "the server stopped listening; see the log");
        }
    }
    // A second signal ends the program at once.
    let impatient = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(|| {
            while sys::wait_for_termination(WATCH).is_none() {}
            end_at_once()
        });
    if impatient.is_err() {
        log::warn!("no thread to wait for a second signal");
    }
    let ended = app.stop();
    log::info!("{ended}");
    ExitCode::SUCCESS
}

fn signal_name(signal: i32) -> String {
    match signal {
        libc::SIGTERM => "SIGTERM".to_owned(),
        libc::SIGINT => "SIGINT".to_owned(),
        libc::SIGHUP => "SIGHUP".to_owned(),
        other => format!("signal {other}"),
    }
}

fn end_at_once() -> ! {
    log::warn!("a second signal: ending at once; the next start removes what is left running");
    std::process::exit(1)
}

/// Serves until a signal comes or the client has gone.
fn serve_stdio(config: Config, surroundings: Surroundings) -> ExitCode {
    let (signals, signalled) = bounded(1);
    let watch = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let next = || loop {
                if let Some(signal) = sys::wait_for_termination(WATCH) {
                    return signal;
                }
            };
            let _ = signals.try_send(next());
            // A second one ends the program at once.
            next();
            end_at_once()
        });
    if let Err(error) = watch {
        return super::fail(1, &format!("signals cannot be caught: {error}"));
    }
    let app = match StdioApp::start(config, surroundings) {
        Ok(app) => app,
        Err(error) => return super::fail(1, &error.to_string()),
    };
    select! {
        recv(app.gone()) -> _ => {
            log::debug!("the client asks no more: ending");
            app.let_calls_end(|| signalled.try_recv().is_ok());
        }
        recv(signalled) -> signal => {
            log::debug!("{}: ending", signal_name(signal.unwrap_or_default()));
        }
    }
    let ended = app.stop();
    log::debug!("{ended}");
    ExitCode::SUCCESS
}

fn start_log(config: &LogConfig) {
    let format = config.format;
    env_logger::Builder::new()
        .filter_level(config.level)
        .target(env_logger::Target::Stderr)
        .format(move |out, record| {
            let (time, level) = (now_rfc3339(), record.level());
            let message = record.args().to_string();
            match format {
                LogFormat::Json => {
                    let line = serde_json::json!({
                        "ts": time, "level": level.as_str(), "target": record.target(),
                        "message": message,
                    });
                    writeln!(out, "{line}")
                }
                // A line is a record: what others wrote must not start a new one.
                LogFormat::Text => writeln!(out, "{time} {level:<5} {}", message.escape_debug()),
            }
        })
        .init();
}
