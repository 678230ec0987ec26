//! The canaries, and the node that uses them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::canary::Canary;
use crate::command_line::{claviger, words};
use crate::issuer::{BAD, Bait, Issuer};
use crate::support::Site;
use crate::support::daemon::quoted;
use crate::support::user::own_uid;
use crate::sweep::{Sighting, Sweep};

/// Good tokens: even numbers from the issuer with HTTP/2, odd ones from the other.
pub(crate) const GOOD: usize = 10;
/// How often each bad answer is requested.
pub(crate) const EACH_BAD: usize = 20;

/// A new random text. If `awkward`, it contains characters that an encoding can break.
fn draw(awkward: bool) -> String {
    let mut bytes = [0; 36];
    SystemRandom::new().fill(&mut bytes).unwrap();
    let text = URL_SAFE_NO_PAD.encode(bytes);
    let (first, last) = text.split_at(24);
    if awkward {
        format!("{first}+/ &%~{last}")
    } else {
        text
    }
}

/// The secrets of one run.
#[derive(Debug)]
pub(crate) struct Canaries {
    pub(crate) client_id: String,
    /// Before and after the operator replaces it.
    pub(crate) client_secret: [String; 2],
    /// A value that programs may have, before and after.
    pub(crate) value: [String; 2],
    /// The prefix of the tokens, before and after.
    pub(crate) token: [String; 2],
    /// In the bad answers of an issuer.
    pub(crate) bad: String,
    /// Junk that callers send in fields where it does not belong.
    pub(crate) junk: String,
    /// Pasted into a configuration by mistake.
    pub(crate) pasted: String,
    /// The bytes of the store's key.
    pub(crate) store_key: Vec<u8>,
    /// The passphrase of the second store.
    pub(crate) passphrase: String,
}

impl Canaries {
    pub(crate) fn draw(site: &Site) -> Self {
        let key = fs::read_to_string(site.key()).unwrap();
        Self {
            client_id: draw(true),
            client_secret: [draw(true), draw(true)],
            value: [draw(true), draw(true)],
            token: [draw(false), draw(false)],
            bad: draw(false),
            junk: draw(false),
            pasted: draw(false),
            store_key: STANDARD.decode(key.trim()).unwrap(),
            passphrase: draw(true),
        }
    }

    /// All secrets, by name.
    pub(crate) fn named(&self) -> Vec<(&'static str, Canary)> {
        vec![
            ("the client id", Canary::new(&self.client_id)),
            ("the old client secret", Canary::new(&self.client_secret[0])),
            ("the client secret", Canary::new(&self.client_secret[1])),
            ("the old value", Canary::new(&self.value[0])),
            ("the value", Canary::new(&self.value[1])),
            ("an old token", Canary::new(&self.token[0])),
            ("a token", Canary::new(&self.token[1])),
            ("a bad answer", Canary::new(&self.bad)),
            ("a caller's junk", Canary::new(&self.junk)),
            ("a pasted literal", Canary::new(&self.pasted)),
            ("the store key", Canary::of_bytes(&self.store_key)),
            ("the passphrase", Canary::new(&self.passphrase)),
        ]
    }

    pub(crate) fn sweep(&self) -> Sweep {
        let named = self.named();
        Sweep::of(named.iter().map(|(name, canary)| (*name, canary)))
    }
}

/// A filled store, two issuers, and configurations.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) canaries: Canaries,
    pub(crate) bait: Arc<Bait>,
    /// The issuer with HTTP/2, and the one without.
    issuers: [Issuer; 2],
    /// The age limit of connections.
    age: &'static str,
}

impl World {
    pub(crate) async fn build(age: &'static str) -> Self {
        let site = Site::new();
        let canaries = Canaries::draw(&site);
        let bait = Bait::new(&canaries.token[0], &canaries.bad);
        let issuers = [
            Issuer::start(site.path(), true, &bait).await,
            Issuer::start(site.path(), false, &bait).await,
        ];
        site.put("clients/id", &canaries.client_id);
        site.put("clients/secret", &canaries.client_secret[0]);
        site.put("value", &canaries.value[0]);
        let world = Self {
            site,
            canaries,
            bait,
            issuers,
            age,
        };
        world.make_phrased();
        world
    }

    /// A second store, which is sealed with a passphrase and also holds the client's identifier.
    fn make_phrased(&self) {
        let file = self.passphrase_file();
        fs::write(&file, format!("{}\n", self.canaries.passphrase)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let place = self.phrased();
        for (command, input) in [
            ("init".to_owned(), ""),
            ("put id".to_owned(), self.canaries.client_id.as_str()),
        ] {
            claviger(&words(&format!("file {command} {place}")), input);
        }
    }

    pub(crate) fn passphrase_file(&self) -> PathBuf {
        self.site.path().join("passphrase")
    }

    pub(crate) fn phrased_store(&self) -> PathBuf {
        self.site.path().join("phrased")
    }

    /// The arguments that name the second store.
    pub(crate) fn phrased(&self) -> String {
        let (store, file) = (self.phrased_store(), self.passphrase_file());
        format!(
            "--store {} --passphrase-file {}",
            store.display(),
            file.display()
        )
    }

    /// The first issuer's identifier, and the certificate to trust.
    pub(crate) fn issuer(&self) -> (String, &Path) {
        (self.issuers[0].url(), &self.issuers[0].ca)
    }

    /// The full configuration.
    pub(crate) fn full(&self) -> String {
        let mut text = SETTINGS.to_owned();
        for (n, (issuer, method)) in self
            .issuers
            .iter()
            .zip(["client_secret_basic", "client_secret_post"])
            .enumerate()
        {
            let (url, ca) = (issuer.url(), quoted(&issuer.ca));
            write!(
                text,
                "[issuers.n{n}]\nissuer = \"{url}\"\nca = {ca}\nrequests_per_minute = 6000\n\n\
                 [clients.n{n}]\nissuer = \"n{n}\"\nid = \"local:clients/id\"\n\
                 auth = {{ method = \"{method}\", secret = \"local:clients/secret\" }}\n\n"
            )
            .unwrap();
        }
        let good = (0..GOOD).map(|n| (format!("good-{n}"), n, "good"));
        let bad = BAD
            .iter()
            .flat_map(|scope| (0..EACH_BAD).map(move |n| (format!("{scope}-{n}"), n, *scope)));
        let mut names = Vec::new();
        for (name, n, scope) in good.chain(bad) {
            let client = n % 2;
            write!(
                text,
                "[tokens.{name}]\nclient = \"n{client}\"\ngrant = \"client_credentials\"\nscopes = [\"{scope}\"]\n\n"
            )
            .unwrap();
            names.push(name);
        }
        let uid = own_uid();
        write!(
            text,
            "[backends.phrased]\ntype = \"file\"\ndirectory = {}\npassphrase_file = {}\n\n\
             [secrets.value]\nreference = \"local:value\"\n\n\
             [secrets.id]\nreference = \"phrased:id\"\n\n\
             [[allow]]\nuser = {uid}\nsecrets = [\"value\", \"id\"]\ntokens = {names:?}\n",
            quoted(&self.phrased_store()),
            quoted(&self.passphrase_file()),
        )
        .unwrap();
        text
    }

    /// Writes a configuration to the path that the daemon reads.
    pub(crate) fn configure(&self, rest: &str) -> PathBuf {
        self.site.configure(&format!("{}\n{rest}", self.limits()))
    }

    /// Writes a configuration with only the sockets.
    pub(crate) fn configure_bare(&self) {
        let path = self.site.path().join("claviger.toml");
        let (socket, admin) = (
            quoted(&self.site.socket()),
            quoted(&self.site.admin_socket()),
        );
        let limits = self.limits();
        let text =
            format!("[server]\nsocket = {socket}\nadmin_socket = {admin}\n\n{limits}\n{SETTINGS}");
        fs::write(path, text).unwrap();
    }

    /// Limits raised to permit as many requests at once as many peers would send.
    fn limits(&self) -> String {
        format!(
            "[server.limits]\nrequests_per_second = 10000\nrequest_burst = 100000\nconnection_age = \"{}\"\n",
            self.age
        )
    }

    /// Searches the folder, directories where programs leave files, and the logs.
    pub(crate) fn around(&self, sweep: &Sweep, pid: u32) -> Vec<Sighting> {
        let started = fs::metadata(self.site.path().join("run"))
            .unwrap()
            .modified()
            .unwrap();
        let keys = [self.site.key(), self.passphrase_file()];
        let ours = |path: &Path| keys.iter().all(|key| path != key);
        // Other programs write there as well; older files are not this test's.
        let new = |path: &Path| {
            let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
            changed.is_ok_and(|changed| changed >= started) && !path.starts_with(self.site.path())
        };
        let mut sightings = sweep.files(self.site.path(), &ours);
        for place in [
            std::env::temp_dir(),
            "/run".into(),
            "/dev/shm".into(),
            "/var/tmp".into(),
        ] {
            sightings.extend(sweep.files(&place, &new));
        }
        for name in ["environ", "cmdline"] {
            let path = format!("/proc/{pid}/{name}");
            sightings.extend(sweep.text(&path, &fs::read(&path).unwrap()));
        }
        sightings
    }
}

const SETTINGS: &str = "[log]\nlevel = \"trace\"\njson = true\n\n";
