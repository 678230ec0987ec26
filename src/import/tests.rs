//! Whole imports into a sealed store, proved by an issuer on loopback, with every failure of the backend.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use claviger_backend::{
    Backend, BackendError, Fetched, Kind, Loaded, Register, Revision, Secret, SecretCreator,
    SecretName, SecretRotator, SecretSource, Staged, VersionSelector,
};
use tempfile::TempDir;

use super::*;
use crate::registry::file_store::{Expected, FileSettings, FileStore, StoreKey, generate_key_file};
use crate::registry::open_all;
use claviger_core::rotation::{Change, PlaceError};
use claviger_demo::issuer::Issuer as TestIssuer;
use claviger_kernel::NotOpened;
use claviger_runtime::clock::SystemClock;

/// A folder with a store, a configuration for it, and an issuer.
struct Scene {
    home: TempDir,
    store: FileStore,
    issuer: TestIssuer,
    config: Config,
}

const BOTH: [&str; 2] = [
    "\"local:oauth/demo#client_id\"",
    "local:oauth/demo#client_secret",
];

impl Scene {
    async fn new() -> Self {
        Self::with(BOTH).await
    }

    /// With these references of the client's identifier and secret.
    async fn with([id, secret]: [&str; 2]) -> Self {
        // In memory where there is such a place: every import is synced many times.
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_none| tempfile::tempdir());
        let home = home.unwrap();
        let key = home.path().join("key");
        generate_key_file(&key).unwrap();
        let store = FileStore::init(FileSettings {
            directory: home.path().join("store"),
            key: StoreKey::KeyFile(key),
        });
        let issuer = TestIssuer::start().await.unwrap();
        let text = format!(
            "mode = 'dev'\n[backends.local]\ntype = 'file'\ndirectory = '{at}/store'\nkey_file = '{at}/key'\n\
             [issuers.demo]\nissuer = '{url}'\n\
             [clients.demo]\nissuer = 'demo'\nid = {id}\n\
             auth = {{ method = 'client_secret_basic', secret = '{secret}' }}\n\
             [tokens.api]\nclient = 'demo'\ngrant = 'client_credentials'\nscopes = ['read:demo']\n",
            at = home.path().display(),
            url = issuer.url(),
        );
        let config = Config::parse(&text, Path::new("claviger.toml"));
        Self {
            home,
            store: store.unwrap(),
            issuer,
            config: config.unwrap_or_else(|problems| panic!("{problems}")),
        }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join(".env")
    }

    async fn backends(&self) -> Backends {
        open_all(
            &self.config.backends,
            &Backends::none(Arc::new(SystemClock)),
        )
        .await
        .unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "tests look inside")]
    fn secret(&self) -> String {
        String::from_utf8(self.issuer.client_secret().expose().to_vec()).unwrap()
    }

    /// A file with the issuer's credential.
    fn good(&self) -> String {
        let (id, secret) = (self.issuer.client_id(), self.secret());
        format!("OAUTH_CLIENT_ID={id}\nOAUTH_CLIENT_SECRET='{secret}'\n")
    }

    fn put(&self, name: &str, value: &str) {
        let value = Secret::from_text(value.to_owned());
        let name = name.parse().unwrap();
        self.store.put(&name, &value, &Expected::Anything).unwrap();
    }

    /// The current value, or `-`.
    #[expect(clippy::disallowed_methods, reason = "tests look inside")]
    fn current(&self, name: &str) -> String {
        let found = self
            .store
            .get(&name.parse().unwrap(), &VersionSelector::Current);
        found.map_or_else(
            |_none| "-".to_owned(),
            |found| String::from_utf8(found.value.expose().to_vec()).unwrap(),
        )
    }

    /// How many versions there are, and how many documents.
    fn versions(&self, name: &str) -> usize {
        let versions = self.store.versions(&name.parse().unwrap());
        versions.map_or(0, |versions| versions.len())
    }

    async fn import(&self, text: &str) -> Result<Outcome, Error> {
        self.import_into(text, &self.backends().await, &Wish::default())
            .await
    }

    async fn import_into(
        &self,
        text: &str,
        backends: &Backends,
        wish: &Wish<'_>,
    ) -> Result<Outcome, Error> {
        fs::write(self.path(), text).unwrap();
        let source = open(&self.path())?;
        let import = Import::prepare(&self.config, backends, source, wish).await?;
        import.carry_out(Arc::new(SystemClock)).await
    }

    /// What an import of `text` would do to each secret.
    async fn changes(&self, text: &str) -> Vec<(String, Change)> {
        fs::write(self.path(), text).unwrap();
        let source = open(&self.path()).unwrap();
        let wish = Wish::default();
        let import = Import::prepare(&self.config, &self.backends().await, source, &wish).await;
        let placements = import.unwrap().placements;
        let change = |placement: &Placement| {
            (
                placement.target().address.clone(),
                placement.change().clone(),
            )
        };
        placements.iter().map(change).collect()
    }

    async fn mark(&self) -> Option<Mark> {
        let backends = self.backends().await;
        let backend = backends.get(&"local".parse().unwrap()).unwrap();
        let register = backend.register.as_deref().unwrap();
        rotation::find(register, &"oauth/demo".parse().unwrap())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_credential_is_moved_and_the_file_is_removed() {
    let scene = Scene::new().await;
    let outcome = scene.import(&scene.good()).await.unwrap();
    assert!(!scene.path().exists());
    assert_eq!(outcome.versions, ["1".parse().unwrap()]);
    assert!(outcome.mark.is_ok());
    let mark = scene.mark().await.unwrap();
    assert_eq!(mark.version.as_str(), "1");
    assert_eq!(mark.reason, Reason::LayInTheClear);
    let stored = format!(
        r#"{{"client_id":"{}","client_secret":"{}"}}"#,
        scene.issuer.client_id(),
        scene.secret()
    );
    assert_eq!(scene.current("oauth/demo"), stored);
    assert_eq!(scene.issuer.requests(), 1);
}

#[tokio::test]
async fn what_is_there_is_replaced_and_other_fields_stay() {
    let scene = Scene::new().await;
    scene.put("oauth/demo", r#"{"note":1.50,"client_secret":"old"}"#);
    let replaced = Change::Replaced("1".parse().unwrap());
    let changes = scene.changes(&scene.good()).await;
    assert_eq!(changes, [("local:oauth/demo".to_owned(), replaced)]);
    let outcome = scene.import(&scene.good()).await.unwrap();
    assert_eq!(outcome.versions, ["2".parse().unwrap()]);
    let stored = format!(
        r#"{{"note":1.50,"client_secret":"{}","client_id":"{}"}}"#,
        scene.secret(),
        scene.issuer.client_id()
    );
    assert_eq!(scene.current("oauth/demo"), stored);
    // The same again writes nothing, and is proved again before the file goes.
    let same = Change::Unchanged("2".parse().unwrap());
    let changes = scene.changes(&scene.good()).await;
    assert_eq!(changes, [("local:oauth/demo".to_owned(), same)]);
    let outcome = scene.import(&scene.good()).await.unwrap();
    assert_eq!(outcome.versions, ["2".parse().unwrap()]);
    assert_eq!(scene.versions("oauth/demo"), 2);
    assert_eq!(scene.issuer.requests(), 2);
    assert!(!scene.path().exists());
}

#[tokio::test]
async fn a_wrong_secret_changes_nothing() {
    for former in [None, Some(r#"{"client_secret":"old"}"#)] {
        let scene = Scene::new().await;
        if let Some(former) = former {
            scene.put("oauth/demo", former);
        }
        let text = scene.good().replace(&scene.secret(), "wrong");
        let error = scene.import(&text).await.unwrap_err();
        assert!(
            matches!(&error, Error::Refused(source) if source.kind.as_str() == "invalid_client")
        );
        assert!(error.to_string().contains("are unchanged"), "{error}");
        assert_eq!(fs::read_to_string(scene.path()).unwrap(), text);
        assert_eq!(scene.current("oauth/demo"), former.unwrap_or("-"));
        let versions = usize::from(former.is_some());
        assert_eq!(scene.versions("oauth/demo"), versions, "not even staged");
        assert_eq!(scene.mark().await, None);
        // The remedy also covers a value that was quoted wrongly.
        assert!(error.remedy().contains("single quotes"), "{error}");
    }
}

#[tokio::test]
async fn identifier_and_secret_may_have_places_of_their_own() {
    let scene = Scene::with(["\"local:id\"", "local:oauth/demo"]).await;
    let outcome = scene.import(&scene.good()).await.unwrap();
    assert_eq!(outcome.versions.len(), 2);
    assert_eq!(scene.current("id"), scene.issuer.client_id());
    assert_eq!(scene.current("oauth/demo"), scene.secret());
    // The identifier that the backend has already need not be in the file.
    scene.put("oauth/demo", "old");
    let text = format!("CLIENT_SECRET={}\n", scene.secret());
    let outcome = scene.import(&text).await.unwrap();
    assert_eq!(outcome.versions.len(), 1);
    assert_eq!(outcome.versions[0].as_str(), "3");

    let scene = Scene::new().await;
    let error = scene.import(&text).await.unwrap_err();
    assert!(matches!(error, Error::NoIdentifier(_)), "{error}");
    assert_eq!(scene.issuer.requests(), 0);
}

#[tokio::test]
async fn an_identifier_of_the_configuration_is_compared() {
    let scene = Scene::with(["{ literal = 'demo-client' }", "local:oauth/demo"]).await;
    let error = scene
        .import("CLIENT_ID=another\nCLIENT_SECRET=x\n")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::OtherClient { line: 1, client } if client == "demo"),
        "{error}"
    );
    let outcome = scene.import(&scene.good()).await.unwrap();
    assert_eq!(outcome.versions.len(), 1);
    assert!(
        !scene.path().exists(),
        "the configuration has the identifier"
    );
}

#[tokio::test]
async fn what_else_the_file_sets_stays_in_it() {
    let scene = Scene::new().await;
    let text = format!(
        "\u{feff}# ours\r\nPORT=1\r\nexport {}OTHER='a\nb' # c\n",
        scene.good()
    );
    fs::write(scene.path(), "").unwrap();
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o640)).unwrap();
    scene.import(&text).await.unwrap();
    let left = fs::read_to_string(scene.path()).unwrap();
    assert_eq!(left, "\u{feff}# ours\r\nPORT=1\r\nOTHER='a\nb' # c\n");
    let mode = fs::metadata(scene.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    let names = fs::read_dir(scene.home.path()).unwrap();
    assert_eq!(names.count(), 3, "file, store, key, and nothing beside");
}

#[tokio::test]
async fn what_is_no_credential_is_refused_before_the_issuer_is_asked() {
    let scene = Scene::new().await;
    for (text, expected) in [
        (
            "CLIENT_ID=a\nCLIENT_SECRET=\n",
            "line 2: the value is empty",
        ),
        (
            "CLIENT_ID=\nCLIENT_SECRET=a\n",
            "line 1: the value is empty",
        ),
        ("CLIENT_ID=a\nCLIENT_SECRET\n", "line 2 is neither"),
    ] {
        let error = scene.import(text).await.unwrap_err();
        assert!(
            claviger_runtime::telemetry::Causes(&error)
                .to_string()
                .contains(expected),
            "{error}"
        );
        assert!(!error.remedy().is_empty());
        assert_eq!(fs::read_to_string(scene.path()).unwrap(), text);
    }
    assert_eq!(scene.issuer.requests(), 0);
    // Other variables may have any value.
    let text = format!("{}A=\nB=$C\nD='\n'\n", scene.good());
    scene.import(&text).await.unwrap();
    assert_eq!(
        fs::read_to_string(scene.path()).unwrap(),
        "A=\nB=$C\nD='\n'\n"
    );
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_found_before_anything_is_asked() {
    let pinned = Scene::with(["{ literal = 'demo-client' }", "local:oauth/demo@1"]).await;
    let half = [
        "\"local:oauth/demo#client_id\"",
        "local:oauth/demo@1#client_secret",
    ];
    let half_pinned = Scene::with(half).await;
    let plain = Scene::new().await;
    plain.put("oauth/demo", "no object");
    let one = Scene::with(["\"local:oauth/demo\"", "local:oauth/demo"]).await;
    for (scene, expected) in [
        (pinned, "refers to one version"),
        (half_pinned, "refers to one version"),
        (plain, "no JSON object"),
        (one, "both references of the client name the same value"),
    ] {
        let error = scene.import(&scene.good()).await.unwrap_err();
        let said = claviger_runtime::telemetry::Causes(&error).to_string();
        assert!(said.contains(expected), "{said}");
        assert_eq!(scene.issuer.requests(), 0);
        assert!(scene.path().exists());
    }
}

#[test]
fn only_a_plain_file_of_one_name_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    fs::write(at("file"), "A=1").unwrap();
    symlink(at("file"), at("link")).unwrap();
    fs::write(at("large"), vec![b'#'; 64 * 1024 + 1]).unwrap();
    fs::write(at("largest"), vec![b'#'; 64 * 1024]).unwrap();
    fs::write(at("twice"), "A=1").unwrap();
    fs::hard_link(at("twice"), at("again")).unwrap();
    let fault = |name: &str| Source::open(&at(name)).unwrap_err();
    for absent in ["absent", "file/x"] {
        assert!(matches!(fault(absent), SourceFault::NotOpened(_)));
    }
    assert!(matches!(
        fault("link"),
        SourceFault::NotOpened(NotOpened::Link)
    ));
    assert!(matches!(fault("large"), SourceFault::TooLarge));
    assert!(matches!(fault("twice"), SourceFault::HardLinks(2)));
    for name in ["file", "largest"] {
        Source::open(&at(name)).unwrap();
    }
}

#[test]
fn a_file_that_was_changed_meanwhile_is_left() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".env");
    let other = home.path().join("other");
    let changes: [fn(&Path, &Path); 5] = [
        |path, other| {
            fs::rename(path, other.with_extension("link")).unwrap();
            fs::rename(other, path).unwrap();
        },
        |path, _| fs::write(path, "A=12\n").unwrap(),
        |path, other| fs::rename(other, path).unwrap(),
        |path, _| fs::remove_file(path).unwrap(),
        |path, other| fs::hard_link(path, other.with_extension("link")).unwrap(),
    ];
    for change in changes {
        for cut in [false, true] {
            drop(fs::remove_file(other.with_extension("link")));
            fs::write(&path, "A=1\nB=2\n").unwrap();
            fs::write(&other, "A=1\nB=2\n").unwrap();
            let source = Source::open(&path).unwrap();
            let span = source.variables().unwrap().remove(0).span;
            change(&path, &other);
            let before = fs::read(&path).ok();
            let fault = if cut {
                source.rewrite_without(&[span]).unwrap_err()
            } else {
                source.remove().unwrap_err()
            };
            assert!(matches!(fault, SourceFault::Changed), "{fault}");
            assert_eq!(fs::read(&path).ok(), before);
            let hidden = fs::read_dir(home.path()).unwrap().filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with("..env")
            });
            assert_eq!(hidden.count(), 0, "nothing is left beside it");
            drop(fs::remove_file(&path));
        }
    }
}

/// A reader that still has the file open sees the overwritten bytes.
#[test]
fn the_bytes_of_the_file_are_overwritten() {
    for cut in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".env");
        fs::write(&path, "A=s3cret\nB=2\n").unwrap();
        let mut watching = fs::File::open(&path).unwrap();
        let source = Source::open(&path).unwrap();
        let span = source.variables().unwrap().remove(0).span;
        if cut {
            source.rewrite_without(&[span]).unwrap();
        } else {
            source.remove().unwrap();
        }
        let mut seen = String::new();
        std::io::Read::read_to_string(&mut watching, &mut seen).unwrap();
        assert_eq!(seen, "############\n");
        let left = fs::read_to_string(&path).ok();
        assert_eq!(left.as_deref(), cut.then_some("B=2\n"));
    }
}

/// How calls to a backend go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// One call fails and does nothing.
    Fails,
    /// One call does its work, and its answer is lost.
    LosesAnswer,
    /// One call does its work and every later call fails, as if the process had died.
    Dies,
    /// One call that reads a value gives another.
    Garbles,
}

/// A backend of which one call goes wrong.
#[derive(Debug)]
struct Troubled {
    inner: Backend,
    calls: AtomicUsize,
    at: usize,
    trouble: Trouble,
    /// Whether the call that went wrong was a write.
    wrote: AtomicBool,
}

impl Troubled {
    async fn backends(scene: &Scene, at: usize, trouble: Trouble) -> (Arc<Self>, Backends) {
        let name = "local".parse().unwrap();
        let troubled = Arc::new(Self {
            inner: scene.backends().await.get(&name).unwrap().clone(),
            calls: AtomicUsize::new(0),
            at,
            trouble,
            wrote: AtomicBool::new(false),
        });
        let backend = Backend {
            kind: "troubled",
            secrets: Arc::<Self>::clone(&troubled),
            versions: None,
            creator: Some(Arc::<Self>::clone(&troubled)),
            rotator: Some(Arc::<Self>::clone(&troubled)),
            register: Some(Arc::<Self>::clone(&troubled)),
            keys: None,
        };
        let settings = scene.config.backends[0].1.clone();
        let backends = Backends::none(Arc::new(SystemClock)).with(name, settings, backend);
        (troubled, backends)
    }

    async fn call<T>(
        &self,
        writes: bool,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let error = |kind| BackendError::new(kind, &"local".parse().unwrap(), "call");
        if call == self.at {
            self.wrote.store(writes, Ordering::SeqCst);
        }
        let lost = if writes { Kind::InDoubt } else { Kind::Timeout };
        match self.trouble {
            Trouble::Fails if call == self.at => Err(error(Kind::Unavailable)),
            Trouble::Dies if call > self.at => Err(error(Kind::Unreachable)),
            Trouble::LosesAnswer | Trouble::Dies if call == self.at => {
                work.await?;
                Err(error(lost))
            }
            Trouble::Fails | Trouble::LosesAnswer | Trouble::Dies | Trouble::Garbles => work.await,
        }
    }
}

#[async_trait]
impl SecretSource for Troubled {
    async fn fetch(
        &self,
        name: &SecretName,
        version: &VersionSelector,
    ) -> Result<Fetched, BackendError> {
        let is_garbled =
            self.trouble == Trouble::Garbles && self.calls.load(Ordering::SeqCst) == self.at;
        let fetched = self
            .call(false, self.inner.secrets.fetch(name, version))
            .await?;
        if is_garbled {
            let value = Secret::from_text("another value".to_owned());
            return Ok(Fetched { value, ..fetched });
        }
        Ok(fetched)
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.inner.secrets.probe().await
    }
}

#[async_trait]
impl SecretCreator for Troubled {
    async fn create(&self, name: &SecretName, value: Secret) -> Result<VersionId, BackendError> {
        let creator = self.inner.creator.as_ref().unwrap();
        self.call(true, creator.create(name, value)).await
    }
}

#[async_trait]
impl SecretRotator for Troubled {
    async fn stage(&self, name: &SecretName, staged: Staged) -> Result<VersionId, BackendError> {
        let rotator = self.inner.rotator.as_ref().unwrap();
        self.call(true, rotator.stage(name, staged)).await
    }

    async fn promote(
        &self,
        name: &SecretName,
        from: &VersionId,
        to: &VersionId,
    ) -> Result<(), BackendError> {
        let rotator = self.inner.rotator.as_ref().unwrap();
        self.call(true, rotator.promote(name, from, to)).await
    }

    async fn retire(&self, name: &SecretName, version: &VersionId) -> Result<(), BackendError> {
        let rotator = self.inner.rotator.as_ref().unwrap();
        self.call(true, rotator.retire(name, version)).await
    }
}

#[async_trait]
impl Register for Troubled {
    async fn load(&self, name: &SecretName) -> Result<Option<Loaded>, BackendError> {
        let register = self.inner.register.as_ref().unwrap();
        self.call(false, register.load(name)).await
    }

    async fn swap(
        &self,
        name: &SecretName,
        expected: Option<&Revision>,
        document: &[u8],
    ) -> Result<Revision, BackendError> {
        let register = self.inner.register.as_ref().unwrap();
        self.call(true, register.swap(name, expected, document))
            .await
    }
}

/// Whichever call to the backend goes wrong, and however: the file or the new values exist; readers see the old credential or
/// the new one, never a mixture and never none; and the same import can be run again.
#[tokio::test]
async fn the_only_copy_is_never_lost() {
    let apart = ["\"local:id\"", "local:oauth/demo"];
    for (references, is_there) in [(BOTH, false), (BOTH, true), (apart, false), (apart, true)] {
        for trouble in [Trouble::Fails, Trouble::LosesAnswer, Trouble::Dies] {
            let mut at = 0;
            while survives(references, is_there, trouble, at).await {
                at += 1;
            }
            assert!(at >= 5, "{references:?} {is_there} {trouble:?}: {at} calls");
        }
    }
}

/// Runs one such import, and returns whether the call was reached.
async fn survives(references: [&str; 2], is_there: bool, trouble: Trouble, at: usize) -> bool {
    let scene = Scene::with(references).await;
    let names = if references == BOTH {
        &["oauth/demo"][..]
    } else {
        &["id", "oauth/demo"]
    };
    if is_there {
        for name in names {
            scene.put(name, r#"{"client_id":"old","client_secret":"old"}"#);
        }
    }
    let before = names.iter().map(|name| scene.current(name));
    let before: Vec<_> = before.collect();
    let text = scene.good();
    let (troubled, backends) = Troubled::backends(&scene, at, trouble).await;
    let outcome = scene.import_into(&text, &backends, &Wish::default()).await;
    let case = format!("{references:?} {is_there} {trouble:?} at {at}: {outcome:?}");
    let came_up = troubled.calls.load(Ordering::SeqCst) > at;

    let left = fs::read_to_string(scene.path()).ok();
    let after = names.iter().map(|name| scene.current(name));
    let after: Vec<_> = after.collect();
    match &outcome {
        Ok(outcome) => {
            assert_eq!(left, None, "{case}");
            let is_marked = scene.mark().await.is_some();
            assert!(outcome.mark.is_err() || is_marked, "{case}");
        }
        Err(error) => {
            let was_write = troubled.wrote.load(Ordering::SeqCst);
            let is_known = trouble == Trouble::LosesAnswer && was_write;
            assert!(!is_known, "what became of it can be found out: {case}");
            assert_eq!(left.as_ref(), Some(&text), "{case}");
            let is_undone = trouble != Trouble::Dies
                && !matches!(error, Error::Place(PlaceError::Unconfirmed(_)));
            if is_undone && is_there {
                assert_eq!(after, before, "{case}");
            }
        }
    }
    if left.is_none() || after != before {
        let is_new = |value: &String| value.contains(&scene.secret()) || value == "demo-client";
        let is_old = |(old, new): (&String, &String)| old == new;
        let pairs = before.iter().zip(&after);
        let whole = pairs.clone().all(|pair| is_new(pair.1) || is_old(pair));
        assert!(whole, "{case}: {after:?}");
    }
    if outcome.is_err() {
        scene
            .import(&text)
            .await
            .unwrap_or_else(|error| panic!("{case}, again: {error}"));
    }
    assert!(!scene.path().exists(), "{case}");
    let secret = scene.current("oauth/demo");
    assert!(secret.contains(&scene.secret()), "{case}");
    came_up
}

/// A staged value is compared before it is promoted, and the promoted one before the file is removed.
#[tokio::test]
async fn a_backend_that_gives_back_something_else_is_not_trusted() {
    let apart = ["\"local:id\"", "local:oauth/demo"];
    let mut refused = Vec::new();
    for at in 0..12 {
        let scene = Scene::with(apart).await;
        scene.put("id", "old");
        scene.put("oauth/demo", "old");
        let (_, backends) = Troubled::backends(&scene, at, Trouble::Garbles).await;
        let text = scene.good();
        let outcome = scene.import_into(&text, &backends, &Wish::default()).await;
        let (seen, left) = (
            scene.current("oauth/demo"),
            fs::read_to_string(scene.path()),
        );
        match outcome {
            Ok(_) => assert!(seen == scene.secret() && left.is_err(), "{at}"),
            Err(error) => {
                assert_eq!(left.unwrap(), text, "{at}");
                let is_seen = matches!(error, Error::Place(PlaceError::Unconfirmed(_)));
                assert_eq!(seen == "old", !is_seen, "{at}: {error}");
                refused.push((at, if is_seen { "seen" } else { "staged" }));
            }
        }
    }
    // Both are looked at first; each is staged and read back, both are promoted and looked at once more.
    let expected = [(3, "staged"), (5, "staged"), (8, "seen"), (9, "seen")];
    assert_eq!(refused, expected);
}
