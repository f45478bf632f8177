//! What tests of this crate share: a hub on the machine itself, and a transport that does not wait.

use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;

pub(crate) use self::loopback_hub::{Fault, LoopbackHub, Repository, TOKEN, git_sha1, sha256};
use crate::native::HttpTransport;
use crate::transport::{Broken, Request, Response, Transport};
use crate::{Hub, Token};

#[allow(dead_code, missing_docs, clippy::unwrap_used)]
#[path = "../../../tests/src/loopback_hub.rs"]
mod loopback_hub;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The real transport, but for waiting.
struct Quick(HttpTransport);

impl Transport for Quick {
    fn send(&self, request: Request) -> LocalBoxFuture<'_, Result<Response, Broken>> {
        self.0.send(request)
    }

    fn wait(&self, _: Duration) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

pub(crate) fn quick() -> Rc<dyn Transport> {
    Rc::new(Quick(HttpTransport::patient_for(Duration::from_secs(1))))
}

#[allow(clippy::unwrap_used)]
pub(crate) fn hub_with_token(server: &LoopbackHub) -> Hub {
    Hub::new(quick(), server.base(), Token::new(TOKEN).unwrap()).unwrap()
}

#[allow(clippy::unwrap_used)]
pub(crate) fn hub_without_token(server: &LoopbackHub) -> Hub {
    Hub::new(quick(), server.base(), None).unwrap()
}
