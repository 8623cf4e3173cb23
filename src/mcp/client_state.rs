//! What clients of handshake revisions set for their sessions or pipes, and how much of it is kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::jsonrpc::{RpcError, code};
use super::level::Level;

/// Most resources of one subscription, or of one session.
pub(super) const MAX_URIS: usize = 128;
/// Longest URI of one, in bytes.
pub(super) const MAX_URI_BYTES: usize = 2048;
/// Most that the URIs of all sessions hold, and those of all subscriptions, in bytes each.
pub(super) const MAX_ALL_URIS_BYTES: usize = 16 * 1024 * 1024;
/// What a URI holds beside its own bytes, roughly.
const URI_OVERHEAD_BYTES: usize = 64;

/// What the URIs of some states hold together, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct UriBytes(Arc<AtomicUsize>);

/// What a client of a handshake revision set for its session or pipe.
#[derive(Debug, Default)]
pub(super) struct ClientState {
    /// From which level on it wants logs; none where it has not said.
    pub(super) level: Option<Level>,
    /// Whether it had a stream to hear by.
    pub(super) has_listened: bool,
    pub(super) uris: BTreeSet<String>,
    all: UriBytes,
}

impl Drop for ClientState {
    fn drop(&mut self) {
        let bytes = held_bytes(&self.uris);
        self.all.0.fetch_sub(bytes, Ordering::AcqRel);
    }
}

impl ClientState {
    /// One of those whose URIs are counted together.
    pub(super) fn among(all: &UriBytes) -> Self {
        Self {
            level: None,
            has_listened: false,
            uris: BTreeSet::new(),
            all: all.clone(),
        }
    }

    /// Whether nothing was set.
    pub(super) fn is_blank(&self) -> bool {
        self.level.is_none() && !self.has_listened && self.uris.is_empty()
    }

    /// # Errors
    /// Beyond the bounds.
    pub(super) fn subscribe(&mut self, uri: &str) -> Result<(), RpcError> {
        check_uri(uri)?;
        if self.uris.contains(uri) {
            return Ok(());
        }
        if self.uris.len() >= MAX_URIS {
            return Err(too_many());
        }
        let within = |held: usize| {
            let held = held.saturating_add(weight(uri));
            (held <= MAX_ALL_URIS_BYTES).then_some(held)
        };
        let all = &self.all.0;
        let counted = all.fetch_update(Ordering::AcqRel, Ordering::Acquire, within);
        counted.map_err(|_| busy())?;
        self.uris.insert(uri.to_owned());
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, uri: &str) {
        if self.uris.remove(uri) {
            self.all.0.fetch_sub(weight(uri), Ordering::AcqRel);
        }
    }
}

fn weight(uri: &str) -> usize {
    uri.len() + URI_OVERHEAD_BYTES
}

/// What URIs hold, in bytes.
pub(super) fn held_bytes(uris: &BTreeSet<String>) -> usize {
    uris.iter().map(|uri| weight(uri)).sum()
}

pub(super) fn busy() -> RpcError {
    let message = "busy: clients subscribe to too many resources; try again later";
    RpcError::new(code::INTERNAL_ERROR, message)
}

pub(super) fn check_uri(uri: &str) -> Result<(), RpcError> {
    match uri.len() <= MAX_URI_BYTES {
        true => Ok(()),
        false => Err(RpcError::invalid_params(format!(
            "a URI may have {MAX_URI_BYTES} bytes"
        ))),
    }
}

pub(super) fn too_many() -> RpcError {
    RpcError::invalid_params(format!("at most {MAX_URIS} resources can be subscribed to"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As many as one may have, each as long as it may be.
    pub(in crate::mcp) fn long_uris() -> impl Iterator<Item = String> {
        (0..MAX_URIS).map(|number| format!("{number:0>MAX_URI_BYTES$}"))
    }

    #[test]
    fn subscriptions_are_bounded() {
        let mut state = ClientState::default();
        for number in 0..MAX_URIS {
            state.subscribe(&format!("u:{number}")).unwrap();
        }
        state.subscribe("u:1").unwrap();
        assert!(state.subscribe("u:new").is_err());
        state.unsubscribe("u:1");
        state.subscribe("u:new").unwrap();
        assert!(
            ClientState::default()
                .subscribe(&"u".repeat(MAX_URI_BYTES + 1))
                .is_err()
        );
    }

    #[test]
    fn the_uris_of_all_sessions_have_one_bound_and_are_given_back() {
        let all = UriBytes::default();
        let fill = |state: &mut ClientState| long_uris().all(|uri| state.subscribe(&uri).is_ok());
        let mut states = Vec::new();
        let mut last = loop {
            let mut state = ClientState::among(&all);
            if !fill(&mut state) {
                break state;
            }
            states.push(state);
        };
        assert!((60..64).contains(&states.len()), "{}", states.len());
        assert!(!fill(&mut last));
        long_uris().for_each(|uri| states[0].unsubscribe(&uri));
        assert!(fill(&mut last));
        drop((states, last));
        assert_eq!(all.0.load(Ordering::Acquire), 0);
    }
}
