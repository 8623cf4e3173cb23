//! Which images may be used, whether they are on the daemon, and the pulls that bring them there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::base::deadline::Deadline;
use crate::config::PullPolicy;
use crate::docker::{Daemon, DockerError, Image, PullProgress};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::ImageRef;

/// How long an inspected image is believed; a tag may move meanwhile.
const BELIEVED_FOR: Duration = Duration::from_secs(3);
/// How long a failed pull is reported before the next call tries again.
const PULL_RETRY_AFTER: Duration = Duration::from_secs(10);
/// Bound on the look after a pull.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Bound on one pull.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// When a caller may look again while an image is being pulled, in milliseconds.
const PULLING_HINT_MS: u64 = 2000;

#[derive(Clone, Debug)]
enum State {
    Present { image: Image, seen: Instant },
    Pulling(PullProgress),
    PullFailed { error: DockerError, at: Instant },
}

/// The images that tools may run in.
#[derive(Debug)]
pub(super) struct Images {
    daemon: Arc<Daemon>,
    allowed: Vec<ImageRef>,
    policy: PullPolicy,
    states: Mutex<HashMap<ImageRef, State>>,
}

impl Images {
    pub(super) fn new(daemon: Arc<Daemon>, allowed: Vec<ImageRef>, policy: PullPolicy) -> Self {
        Self {
            daemon,
            allowed,
            policy,
            states: Mutex::new(HashMap::new()),
        }
    }

    /// The image asked for, or the default; a policy failure when it is not allowed.
    pub(super) fn admit(&self, asked: Option<&ImageRef>) -> Result<ImageRef, Failure> {
        match asked {
            Some(image) if !self.allowed.contains(image) => {
                let allowed: Vec<_> = self.allowed.iter().map(ImageRef::as_str).collect();
                Err(Failure::new(
                    FailureKind::Policy,
                    format!(
                        "image {image} is not allowed here; allowed: {} (MCP_SANDBOX_ALLOWED_IMAGES)",
                        allowed.join(", ")
                    ),
                ))
            }
            Some(image) => Ok(image.clone()),
            None => self.allowed.first().cloned().ok_or_else(|| {
                let message = "no image is allowed here: set MCP_SANDBOX_ALLOWED_IMAGES";
                Failure::new(FailureKind::Policy, message)
            }),
        }
    }

    /// The image as it is on the daemon. A missing one is pulled in the background, or refused, as
    /// the policy says; either way this does not wait for it.
    pub(super) fn find(
        self: &Arc<Self>,
        image: &ImageRef,
        deadline: Deadline,
    ) -> Result<Image, Failure> {
        match self.state(image) {
            Some(State::Present { image, seen }) if seen.elapsed() < BELIEVED_FOR => {
                return Ok(image);
            }
            Some(State::Pulling(progress)) => return Err(pulling(image, progress)),
            Some(State::PullFailed { error, at }) if at.elapsed() < PULL_RETRY_AFTER => {
                return Err(unavailable(&error));
            }
            _ => {}
        }
        if let Some(found) = self
            .look(image, deadline)
            .map_err(|error| unavailable(&error))?
        {
            return Ok(found);
        }
        match self.policy {
            PullPolicy::Never => Err(Failure::new(FailureKind::EngineUnavailable, absent(image))),
            PullPolicy::Missing => {
                self.pull(image);
                Err(pulling(image, PullProgress::default()))
            }
        }
    }

    /// What an image was when it was last seen, without asking.
    pub(super) fn last_seen(&self, image: &ImageRef) -> Option<Image> {
        match self.state(image)? {
            State::Present { image, .. } => Some(image),
            State::Pulling(_) | State::PullFailed { .. } => None,
        }
    }

    /// Forgets what was seen of an image, after the daemon said that it is gone.
    pub(super) fn forget(&self, image: &ImageRef) {
        self.lock().remove(image);
    }

    /// One line on the default image, and whether it is there.
    pub(super) fn describe_default(self: &Arc<Self>, deadline: Deadline) -> (bool, String) {
        let found = self.admit(None).and_then(|image| {
            self.find(&image, deadline)?;
            Ok(image)
        });
        match found {
            Ok(image) => (true, format!("{image} present")),
            Err(failure) => (false, self.progress().unwrap_or(failure.message)),
        }
    }

    /// How far the default image is, while it is being pulled.
    fn progress(&self) -> Option<String> {
        match self.state(self.allowed.first()?)? {
            State::Pulling(progress) => Some(format!("pulling {}%", progress.percent())),
            State::Present { .. } | State::PullFailed { .. } => None,
        }
    }

    /// Asks the daemon for the image.
    pub(super) fn look(
        &self,
        image: &ImageRef,
        deadline: Deadline,
    ) -> Result<Option<Image>, DockerError> {
        let found = self.daemon.image(image, deadline)?;
        let mut states = self.lock();
        match &found {
            Some(found) => {
                let state = State::Present {
                    image: found.clone(),
                    seen: Instant::now(),
                };
                states.insert(image.clone(), state);
            }
            None => {
                if let Some(State::Present { .. }) = states.get(image) {
                    states.remove(image);
                }
            }
        }
        Ok(found)
    }

    fn pull(self: &Arc<Self>, image: &ImageRef) {
        {
            let mut states = self.lock();
            if let Some(State::Pulling(_)) = states.get(image) {
                return;
            }
            states.insert(image.clone(), State::Pulling(PullProgress::default()));
        }
        let (images, pulled) = (Arc::clone(self), image.clone());
        let pull = move || images.pull_to_the_end(&pulled);
        if let Err(error) = std::thread::Builder::new()
            .name("pull".to_owned())
            .spawn(pull)
        {
            log::error!("no thread to pull an image with: {error}");
            self.forget(image);
        }
    }

    fn pull_to_the_end(&self, image: &ImageRef) {
        log::info!("pulling image {image}");
        let mut reported = 0;
        let pulled =
            self.daemon
                .pull_image(image, Deadline::after(PULL_TIMEOUT), &mut |progress| {
                    if progress.percent() >= reported + 10 {
                        reported = progress.percent();
                        log::info!("pulling image {image}: {reported}%");
                    }
                    self.lock().insert(image.clone(), State::Pulling(progress));
                });
        let seen = pulled.and_then(|()| self.look(image, Deadline::after(LOOK_TIMEOUT)));
        let error = match seen {
            Ok(Some(_)) => return log::info!("image {image} is here"),
            Ok(None) => DockerError::Pull("the daemon does not have it after the pull".to_owned()),
            Err(error) => error,
        };
        log::error!("pulling image {image}: {error}");
        self.lock().insert(
            image.clone(),
            State::PullFailed {
                error,
                at: Instant::now(),
            },
        );
    }

    fn state(&self, image: &ImageRef) -> Option<State> {
        self.lock().get(image).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ImageRef, State>> {
        self.states
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn absent(image: &ImageRef) -> String {
    format!(
        "image {image} is not on the Docker daemon, and MCP_SANDBOX_PULL_POLICY=never forbids \
         pulling it: load it there (docker load)"
    )
}

fn pulling(image: &ImageRef, progress: PullProgress) -> Failure {
    let message = format!(
        "image {image}: pulling {}%; try again soon",
        progress.percent()
    );
    Failure::new(FailureKind::EngineUnavailable, message).retry_after(PULLING_HINT_MS)
}

/// A daemon's error as a call's failure.
pub(super) fn unavailable(error: &DockerError) -> Failure {
    Failure::new(FailureKind::EngineUnavailable, error.to_string()).retry_after(1000)
}
