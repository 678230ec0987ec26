//! A machine with the daemon installed, as its README says, and an issuer on its loopback interface.

use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use crate::issuer::{Bait, Issuer};
use crate::machine::{Machine, Said};
use crate::support::{OrSkip as _, root};

/// What the daemon prints and logs; the machine has no journal.
pub(crate) const LOG: &str = "/var/log/claviger.txt";

/// The configuration.
pub(crate) const CONFIG: &str = "/etc/claviger/claviger.toml";

/// The prefix of every token.
pub(crate) const TOKEN: &str = "a-token-of-the-test";

/// The client secret, which programs may also read under the name `password`.
pub(crate) const SECRET: &str = "s3cret of the client";

/// The user that programs run as.
pub(crate) const APP: u32 = 1234;

const SERVICE: &str = "claviger.service";

/// An issuer inside a machine's network namespace.
struct Lodger {
    issuer: Issuer,
    /// Dropping it ends the thread.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lodger {
    fn start(machine: &Machine) -> Self {
        let network = machine.network();
        let folder = machine.path("/etc/claviger");
        let (tell, told) = mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            // Affects only this thread; a socket stays in the namespace it was created in.
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let bait = Bait::new(TOKEN, "");
                tell.send(Issuer::start(&folder, true, &bait).await)
                    .unwrap();
                ended.await.unwrap_or(());
            });
        });
        Self {
            issuer: told.recv().expect("the issuer starts"),
            end: Some(end),
            thread: Some(thread),
        }
    }

    fn port(&self) -> String {
        let url = self.issuer.url();
        url.rsplit(':').next().unwrap().to_owned()
    }
}

impl Drop for Lodger {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or(());
        }
    }
}

/// A machine with claviger installed.
pub(crate) struct Node {
    issuer: Lodger,
    pub(crate) machine: Machine,
}

impl Node {
    /// Installs and configures claviger without starting it.
    pub(crate) fn install() -> Option<Self> {
        let machine = Machine::boot().or_skip("systemd")?;
        machine.shell(&block("systemd-sysusers"), "");
        machine.shell(&block("file init"), SECRET);
        machine.write("/etc/app.conf", &format!("u app {APP}\n"));
        machine.ok(&["systemd-sysusers", "/etc/app.conf"]);
        let issuer = Lodger::start(&machine);
        let node = Self { issuer, machine };
        node.configure("");
        node.drop_in(
            "log",
            &format!("StandardOutput=append:{LOG}\nStandardError=append:{LOG}\n"),
        );
        Some(node)
    }

    /// Installs, configures and starts claviger.
    pub(crate) fn start() -> Option<Self> {
        let node = Self::install()?;
        node.systemctl(&["start", SERVICE]);
        Some(node)
    }

    /// Writes the configuration, with `more` appended. It uses host names, to exercise the system's resolver.
    pub(crate) fn configure(&self, more: &str) {
        let (url, port) = (self.issuer.issuer.url(), self.issuer.port());
        self.machine.write(
            CONFIG,
            &format!(
                r#"[backends.local]
type = "file"
directory = "/var/lib/claviger/secrets"
key_file = "/etc/claviger/secrets.key"

[issuers.test]
issuer = "{url}"
token_endpoint = "https://issuer.test:{port}/token"
ca = "/etc/claviger/ca-2.pem"
connect_timeout = "2s"
requests_per_minute = 600

[issuers.test.dns]
allow = ["127.0.0.0/8"]

[clients.billing]
issuer = "test"
id = {{ literal = "billing" }}
auth = {{ method = "client_secret_basic", secret = "local:oauth/billing#client_secret" }}

[tokens.api]
client = "billing"
grant = "client_credentials"
scopes = ["good"]

[secrets.password]
reference = "local:oauth/billing#client_secret"

[[allow]]
unit = "billing.service"
tokens = ["api"]
secrets = ["password"]

{more}"#
            ),
        );
    }

    /// Writes a drop-in of the service, and reloads systemd.
    pub(crate) fn drop_in(&self, name: &str, lines: &str) {
        let path = format!("/etc/systemd/system/{SERVICE}.d/{name}.conf");
        self.machine.write(&path, &format!("[Service]\n{lines}"));
        self.systemctl(&["daemon-reload"]);
    }

    /// Runs `systemctl`; panics if it fails.
    pub(crate) fn systemctl(&self, words: &[&str]) {
        self.machine.ok(&[&["systemctl"], words].concat());
    }

    /// A property of the service.
    pub(crate) fn property(&self, name: &str) -> String {
        self.machine.property(SERVICE, name)
    }

    /// Waits until a property of the service has a value.
    pub(crate) fn becomes(&self, name: &str, value: &str) {
        self.machine.becomes(SERVICE, name, value);
    }

    /// The daemon's pid inside the machine.
    pub(crate) fn pid(&self) -> String {
        self.property("MainPID")
    }

    /// The daemon's output and log.
    pub(crate) fn log(&self) -> String {
        self.machine.read(LOG)
    }

    /// Requests the token as the unit `name`, which runs with `options`.
    pub(crate) fn token_as(&self, name: &str, options: &[&str]) -> Said {
        self.run_as(name, options, &["claviger", "token", "api"])
    }

    /// Runs a program as a system unit and waits for it.
    pub(crate) fn run_as(&self, name: &str, options: &[&str], words: &[&str]) -> Said {
        let said = self.machine.run(&as_unit(name, options, words));
        let code = match said.code {
            Some(0) => Some(0),
            _ => self.machine.property(name, "ExecMainStatus").parse().ok(),
        };
        // systemd keeps a failed unit, which would prevent a new one of the same name.
        self.machine.run(&["systemctl", "reset-failed", name]);
        Said {
            code,
            out: self.machine.read("/run/said.out"),
            err: self.machine.read("/run/said.err"),
        }
    }

    /// Requests the token as the permitted unit, and checks that it arrives.
    pub(crate) fn serves(&self) {
        let said = self.token_as("billing.service", &[]);
        assert!(
            said.code == Some(0) && said.out.starts_with(TOKEN),
            "{said:?}\n{}",
            self.machine.story()
        );
    }
}

/// The command that runs a program as a system unit and waits for it.
pub(crate) fn as_unit<'a>(name: &'a str, options: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
    let run = ["systemd-run", "--quiet", "--unit", name];
    let properties = [
        "--property=Type=oneshot",
        "--property=StandardOutput=truncate:/run/said.out",
        "--property=StandardError=truncate:/run/said.err",
    ];
    [&run[..], &properties, options, &["--"], words].concat()
}

/// The one block of commands of the README that contains `text`.
pub(crate) fn block(text: &str) -> String {
    let readme = std::fs::read_to_string(root().join("deploy/systemd/README.md")).unwrap();
    let mut blocks = readme
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|block| block.contains(text));
    let found = blocks
        .next()
        .unwrap_or_else(|| panic!("no block of the README contains {text}"));
    assert!(
        blocks.next().is_none(),
        "several blocks of the README contain {text}"
    );
    found.to_owned()
}
