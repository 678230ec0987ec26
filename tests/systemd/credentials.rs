//! The store's key as a systemd credential of the service.

use crate::node::{CONFIG, Node, SECRET, block};
use crate::support::daemon::eventually;

const PLAIN: &str = "/etc/claviger/secrets.key";
const PASSED: &str = "/run/credentials/claviger.service/secrets.key";

/// Configures the daemon to read its key from systemd's credential directory.
fn expect_credential(node: &Node) {
    let configuration = node.machine.read(CONFIG).replace(PLAIN, PASSED);
    node.machine.write(CONFIG, &configuration);
}

#[test]
fn a_key_file_readable_only_by_root_is_passed_as_a_credential() {
    let Some(node) = Node::install() else { return };
    node.machine.ok(&["chown", "root:", PLAIN]);
    let refused = node
        .machine
        .run(&["systemctl", "start", "claviger.service"]);
    assert_ne!(refused.code, Some(0), "control: {refused:?}");
    let log = node.log();
    assert!(
        log.contains(PLAIN) && log.contains("Permission denied"),
        "{log}"
    );
    expect_credential(&node);
    node.drop_in("key", &format!("LoadCredential=secrets.key:{PLAIN}\n"));
    node.systemctl(&["start", "claviger.service"]);
    node.serves();
}

#[test]
fn a_key_can_be_encrypted_for_the_host() {
    let Some(node) = Node::install() else { return };
    // By default systemd keeps the host key on a disk; this machine's file system is in memory.
    let encrypt = block("systemd-creds").replace("encrypt ", "encrypt --with-key=host ");
    node.machine.shell(&encrypt, "");
    let key = node.machine.read(PLAIN);
    let sealed = node
        .machine
        .read("/etc/claviger/credentials/secrets.key.cred");
    assert!(
        !sealed.contains(key.trim()),
        "control: the encrypted text differs from the key"
    );
    node.machine.ok(&["rm", PLAIN]);
    expect_credential(&node);
    node.drop_in(
        "key",
        "LoadCredentialEncrypted=secrets.key:/etc/claviger/credentials/secrets.key.cred\n",
    );
    node.systemctl(&["start", "claviger.service"]);
    node.serves();
    // Commands can still change the store, and the daemon sees the change.
    let changed = node.machine.shell(&block(PASSED), "another secret");
    assert!(changed.contains("is now at version 2"), "{changed}");
    let refreshed = node.machine.ok(&["claviger", "refresh"]);
    assert!(refreshed.contains("local:oauth/billing"), "{refreshed}");
    let curl = [
        "curl",
        "--silent",
        "--unix-socket",
        "/run/claviger/broker.sock",
        "--header",
        "claviger-request: true",
        "http://claviger/v1/secret/password",
    ];
    let value = || node.run_as("billing.service", &[], &curl).out;
    assert!(eventually(|| value() == "another secret"), "{}", value());
    assert_ne!(SECRET, "another secret");
}
