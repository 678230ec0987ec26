//! The daemon in this process.

use std::sync::Arc;

use claviger::testing::{Backends, Config, Launch, Running, open_all, start};
use claviger_kernel as memory;
use claviger_runtime::clock::{Clock, SystemClock};
use claviger_server::{Limits, Sockets};

use crate::caller::{Admin, Caller};
use crate::node::Node;

/// Worker threads for connections, besides the main runtime.
const THREADS: usize = 2;

/// A daemon in this process, on the node's sockets. Not hardened: tests must be able to inspect their own process.
pub(crate) struct TestDaemon {
    pub(crate) node: Node,
    pub(crate) running: Running,
}

impl TestDaemon {
    /// Replaces the client's secret twice by one that the issuer refuses, so that the version before is refused as well.
    pub(crate) async fn spoil_client_secret(&self) {
        for secret in ["wrong", "wrong as well"] {
            self.node.put_client_secret(secret);
            self.admin().await.refresh(&[]).await;
        }
    }

    /// Starts one on a fresh node.
    pub(crate) async fn new() -> Self {
        Self::on(Node::new().await).await
    }

    /// Starts one on a prepared node.
    pub(crate) async fn on(node: Node) -> Self {
        Self::with(node, |_limits| {}).await
    }

    /// Starts one with limits below those that a configuration permits, because a test cannot wait that long.
    pub(crate) async fn with(node: Node, change: impl FnOnce(&mut Limits)) -> Self {
        Self::launch(node, Arc::new(SystemClock), change).await
    }

    /// Starts one with a clock that the test advances.
    pub(crate) async fn at(node: Node, clock: Arc<dyn Clock>) -> Self {
        Self::launch(node, clock, |_limits| {}).await
    }

    async fn launch(node: Node, clock: Arc<dyn Clock>, change: impl FnOnce(&mut Limits)) -> Self {
        let path = node.write_configuration();
        let mut config = Config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
        change(&mut config.server.limits);
        let backends = open_all(&config.backends, &Backends::none(Arc::clone(&clock)))
            .await
            .unwrap();
        let sockets = Sockets::bind(&config.server).unwrap();
        let launch = Launch {
            config,
            backends,
            sockets,
            protections: memory::verify(),
        };
        let running = start(launch, clock, THREADS).await.unwrap();
        Self { node, running }
    }

    /// A connection to the broker socket.
    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(&self.node.socket()).await
    }

    /// A connection to the admin socket.
    pub(crate) async fn admin(&self) -> Admin {
        Admin::connect(&self.node.admin_socket()).await
    }

    /// Shuts it down gracefully.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}
