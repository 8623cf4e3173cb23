//! Requests under way that their client may cancel by a notification. Clients choose the ids of
//! their requests, and all begin at 0: so a request is only ever found by the client that sent it
//! (its session, or its pipe).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::jsonrpc::RequestId;
use crate::domain::run::Cancel;

/// All of one server. As long as its workers and their queue: who enters has a place there.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    requests: Arc<Mutex<Vec<Request>>>,
    next: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Request {
    number: u64,
    client: String,
    id: RequestId,
    cancel: Cancel,
}

/// One request under way; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Flight {
    in_flight: InFlight,
    number: u64,
    id: RequestId,
    cancel: Cancel,
}

impl InFlight {
    /// From now on `client` can cancel its request by `id`.
    pub(super) fn enter(&self, client: &str, id: RequestId, cancel: Cancel) -> Flight {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().push(Request {
            number,
            client: client.to_owned(),
            id: id.clone(),
            cancel: cancel.clone(),
        });
        Flight {
            in_flight: self.clone(),
            number,
            id,
            cancel,
        }
    }

    /// Ends all that `client` asked for.
    pub(super) fn cancel_all(&self, client: &str) {
        let requests = self.lock();
        let its = requests.iter().filter(|request| request.client == client);
        its.for_each(|request| request.cancel.cancel());
    }

    /// Ends what `client` asked for under `id`; nothing where there is no such request.
    pub(super) fn cancel(&self, client: &str, id: &RequestId) {
        self.lock().retain(|request| {
            let is_meant = request.client == client && request.id == *id;
            if is_meant {
                request.cancel.cancel();
            }
            !is_meant
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Whether its client cancelled it. The end of the server is no such thing.
    pub(super) fn is_cancelled_by_client(&self) -> bool {
        let requests = self.in_flight.lock();
        !requests.iter().any(|request| request.number == self.number)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut requests = self.in_flight.lock();
        requests.retain(|request| request.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RequestId {
        RequestId::parse(text).unwrap()
    }

    #[test]
    fn only_its_own_client_cancels_a_request() {
        let all = InFlight::default();
        let enter = |client: &str, text: &str| all.enter(client, id(text), Cancel::default());
        let (mine, theirs, other) = (enter("a", "0"), enter("b", "0"), enter("a", "\"0\""));
        all.cancel("a", &id("0"));
        all.cancel("c", &id("0"));
        all.cancel("a", &id("7"));
        let cancelled = [&mine, &theirs, &other]
            .map(|it| (it.cancel.is_cancelled(), it.is_cancelled_by_client()));
        assert_eq!(cancelled, [(true, true), (false, false), (false, false)]);
        drop((mine, theirs, other));
        assert!(all.lock().is_empty());
    }

    #[test]
    fn the_end_of_a_session_ends_its_requests_alone() {
        let all = InFlight::default();
        let enter = |client: &str, text: &str| all.enter(client, id(text), Cancel::default());
        let (one, two, theirs) = (enter("a", "0"), enter("a", "1"), enter("b", "0"));
        all.cancel_all("a");
        let cancelled = [&one, &two, &theirs].map(|it| it.cancel.is_cancelled());
        assert_eq!(cancelled, [true, true, false]);
    }

    #[test]
    fn the_end_of_the_server_is_no_cancellation_by_a_client() {
        let (all, server) = (InFlight::default(), Cancel::default());
        let flight = all.enter("a", id("1"), server.child());
        server.cancel();
        assert!(flight.cancel().is_cancelled() && !flight.is_cancelled_by_client());
    }
}
