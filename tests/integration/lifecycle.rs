//! The daemon as a process: startup and refusals to start, signals, reloads, inherited sockets.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use claviger_server::Reloaded;
use nix::sys::signal::Signal;

use crate::actor::need_root;
use crate::caller::why;
use crate::daemon::TestDaemon;
use crate::lent::{ANNA, Lent};
use crate::node::{Node, PASSWORD, own_uid, run};
use crate::program::{BINARY, Finished, Program, claviger, finish};
use crate::table;
use crate::wire::get;

table![
    a_second_daemon_does_not_push_the_first_aside,
    a_dead_socket_is_replaced,
    sigterm_lets_requests_in_flight_finish,
    a_reload_applies_to_open_connections_and_keeps_unchanged_tokens,
    a_reload_is_atomic,
    a_reload_does_not_wait_for_a_dead_backend,
    a_reload_that_fails_at_any_step_leaves_the_old_world_at_work,
    watches_last_until_a_reload_succeeds,
    a_reload_by_which_two_environments_share_a_client_is_refused,
    a_reload_continues_without_its_client,
    sighup_reloads,
    a_reload_that_hangs_does_not_keep_the_daemon_from_ending,
    signals_are_handled_during_startup,
    sockets_are_taken_over_whatever_their_order,
    connections_from_before_the_start_are_served,
    systemd_passes_its_sockets,
    the_inherited_umask_does_not_restrict_the_socket,
    a_failed_start_leaves_no_socket,
    a_daemon_that_must_not_start_says_why,
    a_mounted_config_map_is_read,
    a_log_that_is_not_read_stops_no_request,
    a_backend_that_cannot_be_opened_names_the_reason,
    a_damaged_file_is_named_in_the_log,
    the_refusal_of_a_secret_in_the_environment_names_it,
    a_daemon_starts_while_its_issuer_and_secrets_are_missing,
    the_watchdog_is_fed,
];

fn a_second_daemon_does_not_push_the_first_aside() -> Result<(), String> {
    let first = Program::on(run(Node::new()));
    let config = first.node.config_path();
    let second = claviger(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(second.code, Some(73), "{second:?}");
    assert!(
        second.err.contains("another daemon is serving"),
        "{second:?}"
    );
    assert!(
        second.err.contains(first.node.socket().to_str().unwrap()),
        "{second:?}"
    );
    run(async { assert!(first.caller().await.token("api").await.is_ok()) });
    assert!(first.terminate().0.success());
    Ok(())
}

fn a_dead_socket_is_replaced() -> Result<(), String> {
    let first = Program::on(run(Node::new()));
    first.signal(Signal::SIGKILL);
    let (_killed, _log, node) = first.wait();
    assert!(
        node.socket().exists(),
        "control: the killed daemon did not remove its socket"
    );
    let second = Program::on(node);
    run(async { assert!(second.caller().await.token("api").await.is_ok()) });
    let (status, _log, node) = second.terminate();
    assert!(status.success());
    assert!(
        !node.socket().exists() && !node.admin_socket().exists(),
        "the daemon removes its socket"
    );
    // A file that is not a socket is left alone.
    fs::write(node.socket(), "precious").unwrap();
    let third = claviger(&["run", "--config", node.config_path().to_str().unwrap()]);
    assert_eq!(third.code, Some(71), "{third:?}");
    assert_eq!(fs::read(node.socket()).unwrap(), b"precious");
    Ok(())
}

fn sigterm_lets_requests_in_flight_finish() -> Result<(), String> {
    // An issuer that answers when the test releases it.
    let (issuer, slow) = run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        (
            format!("http://{}", listener.local_addr().unwrap()),
            listener,
        )
    });
    let mut node = run(Node::new());
    node.more = format!(
        "[issuers.slow]\nissuer = \"{issuer}\"\ntoken_endpoint = \"{issuer}/token\"\n\
         [clients.slow]\nissuer = \"slow\"\nid = \"local:oauth/demo#client_id\"\n\
         auth = {{ method = \"client_secret_basic\", secret = \"local:oauth/demo#client_secret\" }}\n\
         [tokens.slow]\nclient = \"slow\"\ngrant = \"client_credentials\"\nscopes = [\"a\"]\n"
    );
    node.rules.push_str(&format!(
        "[[allow]]\nuser = {}\ntokens = [\"slow\"]\n",
        own_uid()
    ));
    let program = Program::on(node);
    run(async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut callers = Vec::new();
        for _ in 0..8 {
            callers.push(program.caller().await);
        }
        let mut idle = program.caller().await;
        assert!(idle.token("api").await.is_ok());
        let mut watch = idle.watch("api").await;
        assert!(watch.message().await.unwrap().is_some());
        let mut asking = tokio::task::JoinSet::new();
        for mut caller in callers {
            asking.spawn(async move { caller.token("slow").await });
        }
        let mut upstream = slow.accept().await.unwrap().0;
        let mut request = vec![0; 16 * 1024];
        assert!(
            upstream.read(&mut request).await.unwrap() > 0,
            "the request is under way"
        );
        program.signal(Signal::SIGTERM);
        assert!(tokio::task::block_in_place(|| program.hear("STOPPING=1")));
        assert!(
            watch.message().await.unwrap().is_none(),
            "watches end, without an error"
        );
        let body = r#"{"access_token":"late","token_type":"Bearer","expires_in":600,"scope":"a"}"#;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
        let answer = format!("{head}: {}\r\n\r\n{body}", body.len());
        upstream.write_all(answer.as_bytes()).await.unwrap();
        for answer in asking.join_all().await {
            assert_eq!(answer.unwrap().access_token, "late");
        }
    });
    let (status, log, _node) = program.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("Received SIGTERM, cleaning up..."), "{log}");
    assert!(!log.contains("cut off"), "{log}");
    Ok(())
}

fn a_reload_applies_to_open_connections_and_keeps_unchanged_tokens() -> Result<(), String> {
    let mut program = Program::on(run(Node::new()));
    run(async {
        let mut caller = program.caller().await;
        let token = caller.token("api").await.unwrap();
        assert_eq!(why(caller.token("payroll").await).1, "DENIED");
        let rule = format!("[[allow]]\nuser = {}\ntokens = [\"payroll\"]\n", own_uid());
        program.node.rules.push_str(&rule);
        program.node.write_configuration();
        let reloaded = program.admin().await.reload().await;
        assert!(reloaded.applied, "{reloaded:?}");
        assert_eq!(reloaded.changes, ["allow: changed (1 rules before, 2 now)"]);
        assert!(
            caller.token("payroll").await.is_ok(),
            "on the connection that was open"
        );
        let kept = caller.token("api").await.unwrap();
        assert_eq!(kept.access_token, token.access_token);
        assert_eq!(program.node.issuer.requests(), 2, "one request per token");

        program.node.rules = rule;
        program.node.write_configuration();
        assert!(program.admin().await.reload().await.applied);
        assert_eq!(
            why(caller.token("api").await).1,
            "DENIED",
            "the right is removed again"
        );
        let digest = program.admin().await.status().await.unwrap().config_digest;
        let second_has_it = |log: &str| {
            let mut changes = log.lines().filter(|line| line.contains("config_changed"));
            changes.nth(1).is_some_and(|line| line.contains(&digest))
        };
        let log = program.log_when(second_has_it);
        assert!(second_has_it(&log), "{log}");
    });
    Ok(())
}

fn a_reload_is_atomic() -> Result<(), String> {
    let mut program = Program::on(run(Node::new()));
    run(async {
        let mut caller = program.caller().await;
        assert!(caller.token("api").await.is_ok());
        program.node.rules.push_str(&format!(
            "[[allow]]\nuser = {}\ntokens = [\"payroll\", \"nonexistent\"]\ntypo = 1\n[tokens.x]\nclient = \"missing\"\n",
            own_uid()
        ));
        program.node.write_configuration();
        let refused = program.admin().await.reload().await;
        assert!(
            !refused.applied && refused.changes.is_empty(),
            "{refused:?}"
        );
        let problems = refused.problems.join("\n");
        for problem in [
            "allow[2].tokens[2]",
            "allow[2].typo",
            "tokens.x.grant",
            "tokens.x.client",
        ] {
            assert!(problems.contains(problem), "{problem} in {problems}");
        }
        assert_eq!(
            why(caller.token("payroll").await).1,
            "DENIED",
            "nothing has changed"
        );

        // A valid change of a setting that is fixed at startup is refused.
        program.node.rules = format!("[[allow]]\nuser = {}\ntokens = [\"payroll\"]\n", own_uid());
        program.node.limits = "streams = 7".to_owned();
        program.node.write_configuration();
        let refused = program.admin().await.reload().await;
        assert!(!refused.applied, "{refused:?}");
        assert!(refused.problems[0].contains("restart"), "{refused:?}");
        fs::remove_file(program.node.config_path()).unwrap();
        assert!(
            !program.admin().await.reload().await.applied,
            "a missing file"
        );
        assert!(
            caller.token("api").await.is_ok(),
            "the old configuration stays in use"
        );
        assert_eq!(program.node.issuer.requests(), 1);
    });
    Ok(())
}

fn a_reload_does_not_wait_for_a_dead_backend() -> Result<(), String> {
    let mut program = Program::on(run(Node::new()));
    program.node.more = "[secrets.absent]\nreference = \"local:not/there\"\n".to_owned();
    program.node.rules.push_str(&format!(
        "[[allow]]\nuser = {}\nsecrets = [\"absent\"]\n",
        own_uid()
    ));
    program.node.write_configuration();
    run(async {
        let mut caller = program.caller().await;
        assert!(program.admin().await.reload().await.applied);
        assert_eq!(why(caller.secret("absent").await).1, "NOT_FOUND");
        assert!(caller.token("api").await.is_ok());
    });
    Ok(())
}

fn a_reload_that_fails_at_any_step_leaves_the_old_world_at_work() -> Result<(), String> {
    // In the order of the steps: the text, what only a restart changes, the backends, the issuers, the values.
    let steps = [
        ("", "[tokens.x]\nclient = \"missing\"\n", "tokens.x.grant"),
        ("streams = 7", "", "server: cannot change"),
        (
            "",
            "[backends.absent]\ntype = \"file\"\ndirectory = \"/nowhere\"\nkey_file = \"/no\"\n",
            "backends.absent: ",
        ),
        (
            "",
            "[issuers.absent]\nissuer = \"https://auth.example\"\nca = \"/nowhere.pem\"\n",
            "issuers.absent: ca: ",
        ),
        (
            "",
            "[clients.copy]\nissuer = \"demo\"\nid = \"local:copy#client_id\"\n\
             auth = { method = \"client_secret_basic\", secret = \"local:copy#client_secret\" }\n\
             [tokens.one]\nclient = \"demo\"\ngrant = \"client_credentials\"\nenvironment = \"one\"\n\
             [tokens.two]\nclient = \"copy\"\ngrant = \"client_credentials\"\nenvironment = \"two\"\n",
            "the same client identifier",
        ),
    ];
    run(async {
        let mut daemon = TestDaemon::new().await;
        daemon
            .node
            .put("copy", daemon.node.client("another").as_bytes());
        let (mut caller, mut admin) = (daemon.caller().await, daemon.admin().await);
        let mut secret = caller.watch_secret("password").await.unwrap();
        let mut token = caller.watch("api").await;
        assert_eq!(secret.message().await.unwrap().unwrap().value, PASSWORD);
        let mut before = token.message().await.unwrap().unwrap().access_token;
        let digest = admin.status().await.unwrap().config_digest;
        let (limits, more) = (daemon.node.limits.clone(), daemon.node.more.clone());
        for (limit, section, problem) in steps {
            daemon.node.limits = format!("{limits}\n{limit}");
            daemon.node.more = format!("{more}{section}");
            daemon.node.write_configuration();
            let refused = admin.reload().await;
            assert!(!refused.applied && refused.changes.is_empty());
            let problems = refused.problems.join("\n");
            assert!(problems.contains(problem), "{problem} in {problems}");

            // Retired secrets and tokens would refuse to be refreshed, and their watches would end.
            daemon.node.put("password", problem.as_bytes());
            let refreshed = admin.refresh(&["password", "api"]).await;
            assert!(
                refreshed.iter().all(|one| one.ok),
                "{problem}: {refreshed:?}"
            );
            let value = secret.message().await.unwrap().unwrap().value;
            assert_eq!(value, problem.as_bytes());
            let after = token.message().await.unwrap().unwrap().access_token;
            assert_ne!(after, before, "{problem}");
            before = after;
            assert_eq!(caller.token("api").await.unwrap().access_token, before);
            let status = admin.status().await.unwrap();
            assert_eq!(status.config_digest, digest, "{problem}");
        }
        (daemon.node.limits, daemon.node.more) = (limits, more);
        daemon.node.write_configuration();
        assert!(admin.reload().await.applied, "the control");
        daemon.stop().await;
    });
    Ok(())
}

fn watches_last_until_a_reload_succeeds() -> Result<(), String> {
    run(async {
        let mut daemon = TestDaemon::new().await;
        let (mut caller, mut admin) = (daemon.caller().await, daemon.admin().await);
        let mut secret = caller.watch_secret("password").await.unwrap();
        let mut token = caller.watch("api").await;
        assert_eq!(secret.message().await.unwrap().unwrap().value, PASSWORD);
        let first = token.message().await.unwrap().unwrap().access_token;

        // An error that appears only when the backend is opened, after the text was validated.
        let rules = std::mem::take(&mut daemon.node.rules);
        daemon.node.more =
            "[backends.absent]\ntype = \"file\"\ndirectory = \"/nowhere\"\nkey_file = \"/no\"\n"
                .to_owned();
        daemon.node.write_configuration();
        let refused = admin.reload().await;
        assert!(
            !refused.applied && refused.problems[0].contains("backends.absent"),
            "{refused:?}"
        );
        daemon.node.put("password", b"second");
        assert!(
            admin
                .refresh(&["password", "api"])
                .await
                .iter()
                .all(|result| result.ok)
        );
        assert_eq!(secret.message().await.unwrap().unwrap().value, b"second");
        assert_ne!(token.message().await.unwrap().unwrap().access_token, first);

        // No rule grants anything now. Watches of earlier grants receive no newer version.
        daemon.node.more.clear();
        daemon.node.write_configuration();
        assert!(admin.reload().await.applied);
        daemon.node.put("password", b"third");
        admin.refresh(&["password", "api"]).await;
        assert!(secret.message().await.is_err(), "the watch ended");
        assert!(token.message().await.is_err(), "the watch ended");
        assert_eq!(why(caller.watch_secret("password").await).1, "DENIED");
        daemon.node.rules = rules;
        daemon.node.write_configuration();
        assert!(admin.reload().await.applied);
        assert_eq!(caller.secret("password").await.unwrap().value, b"third");
        daemon.stop().await;
    });
    Ok(())
}

fn a_reload_by_which_two_environments_share_a_client_is_refused() -> Result<(), String> {
    run(async {
        let mut daemon = TestDaemon::new().await;
        daemon
            .node
            .put("copy", daemon.node.client("another").as_bytes());
        daemon.node.more = "[clients.copy]\nissuer = \"demo\"\nid = \"local:copy#client_id\"\n\
             auth = { method = \"client_secret_basic\", secret = \"local:copy#client_secret\" }\n\
             [tokens.one]\nclient = \"demo\"\ngrant = \"client_credentials\"\nenvironment = \"one\"\n\
             [tokens.two]\nclient = \"copy\"\ngrant = \"client_credentials\"\nenvironment = \"two\"\n"
            .to_owned();
        daemon.node.write_configuration();
        let refused = daemon.admin().await.reload().await;
        assert!(!refused.applied, "{refused:?}");
        assert!(
            refused.problems[0].contains("the same client identifier"),
            "{refused:?}"
        );
        let other = br#"{"client_id":"another","client_secret":"another"}"#;
        daemon.node.put("copy", other);
        assert!(daemon.admin().await.reload().await.applied);
        daemon.stop().await;
    });
    Ok(())
}

fn a_reload_continues_without_its_client() -> Result<(), String> {
    use std::future::Future as _;
    use std::task::{Context, Waker};
    run(async {
        let mut daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        for polls in 1..=4_u32 {
            // A secret that must be fetched before the reload completes.
            daemon.node.put(&format!("new-{polls}"), b"x");
            daemon.node.more = format!("[secrets.new]\nreference = \"local:new-{polls}\"\n");
            daemon.node.write_configuration();
            let mut reload = Box::pin(daemon.running.operator().reload(false));
            for _ in 0..polls {
                let mut context = Context::from_waker(Waker::noop());
                drop(reload.as_mut().poll(&mut context));
                tokio::task::yield_now().await;
            }
            drop(reload);
            // Reloads run one at a time: this one waits for the first, and changes nothing.
            let after = daemon.running.operator().reload(true).await;
            assert_eq!(
                after,
                Ok(Reloaded::default()),
                "the first reload has been applied"
            );
            let value = format!("value {polls}");
            daemon.node.put("password", value.as_bytes());
            let refreshed = daemon.admin().await.refresh(&["password"]).await;
            assert!(refreshed[0].ok, "{polls} polls: {refreshed:?}");
            let secret = caller.secret("password").await.unwrap();
            assert_eq!(secret.value, value.as_bytes());
        }
        daemon.stop().await;
    });
    Ok(())
}

fn sighup_reloads() -> Result<(), String> {
    let mut program = Program::on(run(Node::new()));
    let rules = std::mem::take(&mut program.node.rules);
    program.node.rules = rules.replace("[\"api\", \"wide\"]", "[\"wide\"]");
    program.node.write_configuration();
    program.signal(Signal::SIGHUP);
    assert!(program.hear("RELOADING=1") && program.hear("READY=1"));
    run(async {
        let mut caller = program.caller().await;
        assert_eq!(why(caller.token("api").await).1, "DENIED");
        assert!(caller.token("wide").await.is_ok());
    });
    program.node.write("claviger.toml", "nonsense = true");
    program.signal(Signal::SIGHUP);
    assert!(program.hear("RELOADING=1") && program.hear("READY=1"));
    run(async { assert!(program.caller().await.token("wide").await.is_ok()) });
    let (status, log, _node) = program.terminate();
    assert!(status.success());
    assert!(
        log.contains("configuration reloaded") && log.contains("reload refused"),
        "{log}"
    );
    Ok(())
}

fn a_reload_that_hangs_does_not_keep_the_daemon_from_ending() -> Result<(), String> {
    let mut program = Program::on(run(Node::new()));
    // Opening a pipe blocks until a writer opens it, as a file on a lost network share blocks until its server answers.
    let pipe = program.node.path("ca.pem");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    program.node.more = format!(
        "[issuers.hung]\nissuer = \"https://issuer.example\"\nca = \"{}\"\n",
        pipe.display()
    );
    program.node.write_configuration();
    program.signal(Signal::SIGHUP);
    assert!(program.hear("RELOADING=1"));
    run(async {
        assert!(
            program.caller().await.token("api").await.is_ok(),
            "it serves on"
        );
    });
    let (status, log, _node) = program.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    Ok(())
}

/// A node with so many secrets that fetching each once takes a while.
fn slow_to_start() -> Node {
    let mut node = run(Node::new());
    node.more = (0..2000)
        .map(|number| format!("[secrets.s{number}]\nreference = \"local:none-{number}\"\n"))
        .collect();
    node
}

fn signals_are_handled_during_startup() -> Result<(), String> {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let program = Program::unready(slow_to_start(), Command::new(BINARY));
        let socket = program.node.socket();
        let hanging = std::time::Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(&socket).is_err() {
            assert!(std::time::Instant::now() < hanging, "{}", program.log());
            std::thread::yield_now();
        }
        // The daemon serves before it is ready.
        assert_eq!(get(&socket, "/health").status, 200);
        program.signal(signal);
        let (status, log, node) = if signal == Signal::SIGHUP {
            assert!(program.hear("READY=1"), "{}", program.log());
            assert!(program.hear("RELOADING=1") && program.hear("READY=1"));
            program.terminate()
        } else {
            program.wait()
        };
        assert_eq!(status.code(), Some(0), "{signal}: {log}");
        assert!(
            log.contains(", cleaning up...") && log.contains("stopped"),
            "{log}"
        );
        assert!(!node.socket().exists() && !node.admin_socket().exists());
    }
    Ok(())
}

/// Listeners at the node's socket paths, created by the test.
fn listeners(node: &Node) -> [UnixListener; 2] {
    fs::create_dir_all(node.path("run/admin")).unwrap();
    [node.socket(), node.admin_socket()].map(|path| UnixListener::bind(path).unwrap())
}

/// The binary with two listeners as descriptors 3 and 4, as a service manager would pass them.
fn activated(sockets: [impl Into<OwnedFd>; 2], names: &str) -> Command {
    // A shell duplicates the descriptors and executes the binary, so that the pid in the variable is right.
    let [third, fourth] = sockets.map(|socket| {
        let descriptor = socket.into();
        // Above the descriptors that the shell assigns.
        let high = rustix::io::fcntl_dupfd_cloexec(&descriptor, 20).unwrap();
        rustix::io::fcntl_setfd(&high, rustix::io::FdFlags::empty()).unwrap();
        high
    });
    let script = format!(
        "exec 3<&{} 4<&{}; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names} exec \"$0\" \"$@\"",
        third.as_raw_fd(),
        fourth.as_raw_fd(),
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script, BINARY]);
    // The descriptors must stay open until the shell has started.
    std::mem::forget((third, fourth));
    command
}

fn sockets_are_taken_over_whatever_their_order() -> Result<(), String> {
    for swapped in [false, true] {
        let node = run(Node::new());
        let [broker, admin] = listeners(&node);
        let command = if swapped {
            activated([admin, broker], "admin:broker")
        } else {
            activated([broker, admin], "broker:admin")
        };
        let program = Program::by(node, command);
        run(async {
            assert!(program.caller().await.token("api").await.is_ok());
            assert!(program.admin().await.status().await.unwrap().ready);
        });
        let (status, log, node) = program.terminate();
        assert!(status.success(), "{log}");
        assert!(node.socket().exists(), "it belongs to the service manager");
    }
    let node = run(Node::new());
    let program = Program::unready(
        node,
        activated(listeners(&run(Node::new())), "broker:other"),
    );
    let (status, log, _node) = program.wait();
    assert_eq!(status.code(), Some(71), "{log}");
    assert!(log.contains("FileDescriptorName="), "{log}");

    let node = run(Node::new());
    let [_broker, admin] = listeners(&node);
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let passed = [OwnedFd::from(foreign), OwnedFd::from(admin)];
    let program = Program::unready(node, activated(passed, "broker:admin"));
    let (status, log, _node) = program.wait();
    assert_eq!(status.code(), Some(71), "{log}");
    assert!(log.contains("no listening unix socket"), "{log}");
    Ok(())
}

fn connections_from_before_the_start_are_served() -> Result<(), String> {
    let node = run(Node::new());
    let sockets = listeners(&node);
    let mut early: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = UnixStream::connect(node.socket()).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let request = "GET /v1/secret/password HTTP/1.1\r\nhost: claviger\r\nclaviger-request: true\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    let program = Program::by(node, activated(sockets, "broker:admin"));
    for stream in &mut early {
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200", "{}", program.log());
    }
    Ok(())
}

fn systemd_passes_its_sockets() -> Result<(), String> {
    let launcher = "systemd-socket-activate";
    if Command::new(launcher).arg("--version").output().is_err() {
        return Err(format!("needs {launcher}"));
    }
    let node = run(Node::new());
    fs::create_dir_all(node.path("run/admin")).unwrap();
    let mut command = Command::new(launcher);
    command
        .arg("--listen")
        .arg(node.socket())
        .arg("--listen")
        .arg(node.admin_socket());
    command.args(["--fdname=broker:admin", "--setenv=NOTIFY_SOCKET", BINARY]);
    let program = Program::unready(node, command);
    // systemd-socket-activate starts the daemon on the first connection, and that one is served.
    let hanging = std::time::Instant::now() + Duration::from_secs(20);
    while !program.node.admin_socket().exists() {
        assert!(std::time::Instant::now() < hanging, "{}", program.log());
        std::thread::yield_now();
    }
    run(async { assert!(program.caller().await.token("api").await.is_ok()) });
    assert!(program.hear("READY=1"));
    let (status, log, _node) = program.terminate();
    assert!(status.success(), "{log}");
    Ok(())
}

fn the_inherited_umask_does_not_restrict_the_socket() -> Result<(), String> {
    need_root()?;
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$0\" \"$@\"", BINARY]);
    let mut node = run(Node::new());
    let rule = format!("[[allow]]\nuser = {ANNA}\ntokens = [\"api\"]\n");
    node.rules.push_str(&rule);
    let program = Program::by(node, command);
    run(async {
        let anna = Lent::by(ANNA, &program.node.socket());
        assert!(anna.caller().await.token("api").await.is_ok());
        Ok(())
    })
}

fn a_failed_start_leaves_no_socket() -> Result<(), String> {
    need_root()?;
    let node = run(Node::new());
    let text = node.configuration();
    let text = text.replace("[server.limits]", "socket_group = 12345\n[server.limits]");
    let config = node.write("claviger.toml", &text);
    // In a user namespace, where that group has no number.
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", BINARY, "run", "--config"]);
    let finished = finish(command.arg(config), b"");
    assert_eq!(finished.code, Some(71), "{finished:?}");
    assert!(finished.err.contains("change the group of"), "{finished:?}");
    assert!(!node.socket().exists(), "{finished:?}");
    Ok(())
}

/// Runs a daemon that must not start.
fn refused(node: &Node, config: &Path) -> Finished {
    let finished = claviger(&["run", "--config", config.to_str().unwrap()]);
    assert!(
        !node.socket().exists(),
        "no socket is left behind: {finished:?}"
    );
    finished
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What is wrong with a node, the daemon's exit code, and the text that its error must contain.
type Fault = (&'static str, fn(&Node), i32, &'static [&'static str]);

fn issuer_with(line: &str) -> String {
    format!("[issuers.other]\nissuer = \"https://auth.example\"\n{line}\n")
}

fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

const FAULTS: &[Fault] = &[
    (
        "no file",
        |node| fs::remove_file(node.config_path()).unwrap(),
        66,
        &["does not exist"],
    ),
    (
        "writable by the group",
        |node| set_mode(&node.config_path(), 0o620),
        78,
        &["chmod go-w"],
    ),
    (
        "writable by others",
        |node| set_mode(&node.config_path(), 0o602),
        78,
        &["chmod go-w"],
    ),
    (
        "a link through a directory that others can write",
        |node| {
            fs::create_dir(node.path("open")).unwrap();
            fs::rename(node.config_path(), node.path("open/real.toml")).unwrap();
            symlink(node.path("open/real.toml"), node.config_path()).unwrap();
            set_mode(&node.path("open"), 0o777);
        },
        78,
        &["is not safe", "/open can be written", "chmod go-w"],
    ),
    (
        "a CA that others can write",
        |node| {
            fs::write(node.path("ca.pem"), "x").unwrap();
            set_mode(&node.path("ca.pem"), 0o666);
            append(
                node,
                &issuer_with(&format!("ca = \"{}\"", node.path("ca.pem").display())),
            );
        },
        78,
        &["issuers.other: ca: ", "ca.pem can be written", "chmod go-w"],
    ),
    (
        "a CA that is a pipe",
        |node| {
            make_pipe(&node.path("ca.pem"));
            append(
                node,
                &issuer_with(&format!("ca = \"{}\"", node.path("ca.pem").display())),
            );
        },
        78,
        &["issuers.other: ca: ", "is not a regular file"],
    ),
    (
        "a CA of the resolver that is a pipe",
        |node| {
            make_pipe(&node.path("ca.pem"));
            append(
                node,
                &issuer_with(&format!(
                    "dns = {{ ca = \"{}\" }}",
                    node.path("ca.pem").display()
                )),
            );
        },
        78,
        &["issuers.other: dns.ca: ", "is not a regular file"],
    ),
    (
        "a key in a directory that others can write",
        |node| {
            fs::create_dir(node.path("open")).unwrap();
            fs::rename(node.path("store.key"), node.path("open/key")).unwrap();
            let text = node.configuration().replace("store.key", "open/key");
            node.write("claviger.toml", &text);
            set_mode(&node.path("open"), 0o777);
        },
        78,
        &[
            "backends.local: another user could replace",
            "/open can be written",
        ],
    ),
    (
        "a directory",
        |node| {
            fs::remove_file(node.config_path()).unwrap();
            fs::create_dir(node.config_path()).unwrap();
        },
        78,
        &["not a regular file"],
    ),
    (
        "unknown keys",
        |node| append(node, "[tokens.x]\ngrnat = 1\nclient = 5\n"),
        78,
        &["did you mean \"grant\"", "tokens.x.client"],
    ),
    (
        "no TOML",
        |node| append(node, "= hunter2-in-the-wrong-place\n"),
        78,
        &["claviger.toml:"],
    ),
    (
        "a key that others can read",
        |node| set_mode(&node.path("store.key"), 0o644),
        78,
        &["backends.local", "store.key"],
    ),
    (
        "no key",
        |node| fs::remove_file(node.path("store.key")).unwrap(),
        78,
        &["backends.local", "store.key"],
    ),
    (
        "another key",
        |node| {
            fs::remove_file(node.path("store.key")).unwrap();
            claviger::testing::file_store::generate_key_file(&node.path("store.key")).unwrap();
        },
        78,
        &["backends.local"],
    ),
    (
        "no store",
        |node| fs::remove_dir_all(node.path("store")).unwrap(),
        78,
        &["backends.local", "store"],
    ),
    (
        "a directory that others can write",
        |node| {
            fs::create_dir(node.path("run")).unwrap();
            set_mode(&node.path("run"), 0o777);
        },
        71,
        &["chmod go-w"],
    ),
    (
        "a socket in a directory that others use",
        |node| {
            let (shared, admin) = (node.path("shared"), node.admin_socket());
            fs::create_dir(&shared).unwrap();
            set_mode(&shared, 0o1777);
            let line = format!("socket = \"{}\"", node.socket().display());
            let other = format!(
                "socket = \"{}/x.sock\"\nadmin_socket = \"{}\"",
                shared.display(),
                admin.display()
            );
            node.write(
                "claviger.toml",
                &node.configuration().replace(&line, &other),
            );
        },
        71,
        &["a directory of claviger's own", "/shared/claviger"],
    ),
];

fn append(node: &Node, text: &str) {
    node.write("claviger.toml", &format!("{}{text}", node.configuration()));
}

fn a_daemon_that_must_not_start_says_why() -> Result<(), String> {
    for (fault, make, code, words) in FAULTS {
        let node = run(Node::new());
        node.write_configuration();
        make(&node);
        let finished = refused(&node, &node.config_path());
        assert_eq!(finished.code, Some(*code), "{fault}: {finished:?}");
        let check = claviger(&["check", "--config", node.config_path().to_str().unwrap()]);
        assert!(matches!(check.code, Some(66 | 78)), "{fault}: {check:?}");
        for word in *words {
            assert!(
                finished.err.contains(word),
                "{fault}: {word} in {}",
                finished.err
            );
        }
        for secret in node
            .path("store.key")
            .exists()
            .then(|| node.secrets())
            .into_iter()
            .flatten()
        {
            assert!(!finished.err.contains(&secret), "{fault}");
        }
        assert!(!finished.err.contains("hunter2"), "{}", finished.err);
        assert_eq!(finished.out, "", "{fault}");
    }
    if need_root().is_ok() {
        let node = run(Node::new());
        let path = node.write_configuration();
        std::os::unix::fs::chown(&path, Some(42_001), None).unwrap();
        let finished = refused(&node, &path);
        assert_eq!(finished.code, Some(78), "{finished:?}");
        assert!(finished.err.contains("chown root"), "{finished:?}");
    }
    Ok(())
}

fn a_mounted_config_map_is_read() -> Result<(), String> {
    let node = run(Node::new());
    let text = node.write_configuration();
    let version = node.path("volume/..2026");
    fs::create_dir_all(&version).unwrap();
    fs::rename(text, version.join("claviger.toml")).unwrap();
    symlink("..2026", node.path("volume/..data")).unwrap();
    let linked = node.path("volume/claviger.toml");
    symlink("..data/claviger.toml", &linked).unwrap();
    let check = claviger(&["check", "--config", linked.to_str().unwrap()]);
    assert_eq!(check.code, Some(0), "{check:?}");
    Ok(())
}

/// Standard error is a pipe that is full from the start and that nothing reads.
fn a_log_that_is_not_read_stops_no_request() -> Result<(), String> {
    let node = run(Node::new());
    let log = node.path("log");
    make_pipe(&log);
    let mut pipe = File::options()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(&log)
        .unwrap();
    while pipe.write(&[b'.'; 512]).is_ok() {}
    let program = Program::unready(node, Command::new(BINARY));
    // The log of a program is a file, which the end of the test reads.
    fs::rename(&log, program.node.path("pipe")).unwrap();
    fs::write(&log, "").unwrap();
    assert!(program.hear("READY=1"));
    run(async {
        let mut caller = program.caller().await;
        assert!(caller.token("api").await.is_ok());
        for _ in 0..10 {
            assert_eq!(why(caller.token("payroll").await).1, "DENIED");
        }
        let mut admin = program.admin().await;
        assert!(admin.reload().await.applied);
    });
    let (status, _log, _node) = program.terminate();
    assert!(status.success(), "{status}");
    Ok(())
}

fn a_backend_that_cannot_be_opened_names_the_reason() -> Result<(), String> {
    let mut node = run(Node::new());
    // Too long for the system, which the program does not check itself; two stores have this problem.
    for name in ["one", "two"] {
        let path = format!("/{}", name.repeat(100));
        node.more.push_str(&format!(
            "[backends.{name}]\ntype = \"file\"\ndirectory = \"{path}\"\nkey_file = \"/k\"\n"
        ));
    }
    let config = node.write_configuration();
    let finished = refused(&node, &config);
    assert_eq!(
        finished.code,
        Some(71),
        "the configuration itself is valid: {finished:?}"
    );
    for name in ["backends.one: cannot open", "backends.two: cannot open"] {
        let line = finished.err.lines().find(|line| line.contains(name));
        assert!(
            line.is_some_and(|line| line.contains("File name too long")),
            "{finished:?}"
        );
    }
    Ok(())
}

fn a_damaged_file_is_named_in_the_log() -> Result<(), String> {
    let program = Program::on(run(Node::new()));
    let mut directories = fs::read_dir(program.node.path("store")).unwrap();
    let generation = directories.find_map(|entry| {
        let path = entry.unwrap().path();
        path.is_dir().then_some(path)
    });
    let values = fs::read_dir(generation.unwrap()).unwrap();
    let values = values.map(|entry| entry.unwrap().path());
    for value in values.filter(|path| path.extension().is_some_and(|end| end == "value")) {
        fs::write(value, "clvg").unwrap();
    }
    run(async {
        let results = program.admin().await.refresh(&["password"]).await;
        assert_eq!(results[0].error, "undecryptable");
        let held = program.caller().await.secret("password").await;
        assert_eq!(held.unwrap().value, PASSWORD, "the cached value is served");
    });
    let log = program.log_when(|log| log.contains("could not be refreshed"));
    let line = log
        .lines()
        .find(|line| line.contains("could not be refreshed"));
    assert!(
        line.is_some_and(|line| line.contains(".value does not authenticate")),
        "{log}"
    );
    Ok(())
}

fn the_refusal_of_a_secret_in_the_environment_names_it() -> Result<(), String> {
    let node = run(Node::new());
    let text = node.configuration().replace("mode = \"dev\"", "");
    // In production every issuer has TLS. The environment is checked before any request.
    let config = node.write(
        "claviger.toml",
        &text.replace("http://127.0.0.1", "https://127.0.0.1"),
    );
    let mut command = Command::new(BINARY);
    command
        .args(["run", "--config"])
        .arg(&config)
        .env("DEMO_CLIENT_SECRET", "hunter2hunter2");
    let finished = finish(&mut command, b"");
    assert_eq!(finished.code, Some(78), "{finished:?}");
    assert!(finished.err.contains("DEMO_CLIENT_SECRET"), "{finished:?}");
    assert!(!finished.err.contains("hunter2"), "{finished:?}");
    Ok(())
}

fn a_daemon_starts_while_its_issuer_and_secrets_are_missing() -> Result<(), String> {
    let mut node = run(Node::new());
    node.more = "[issuers.dead]\nissuer = \"http://127.0.0.1:1\"\n\
         [clients.dead]\nissuer = \"dead\"\nid = \"local:oauth/demo#client_id\"\n\
         auth = { method = \"client_secret_basic\", secret = \"local:not/there\" }\n\
         [tokens.dead]\nclient = \"dead\"\ngrant = \"client_credentials\"\nscopes = [\"a\"]\n"
        .to_owned();
    let program = Program::on(node);
    let (health, ready) = (
        get(&program.node.socket(), "/health"),
        get(&program.node.socket(), "/ready"),
    );
    assert_eq!(
        (health.status, ready.status),
        (200, 503),
        "running, but not ready"
    );
    run(async {
        assert!(
            program.caller().await.token("api").await.is_ok(),
            "other tokens are served"
        );
        let status = program.admin().await.status().await.unwrap();
        let missing = status
            .secrets
            .iter()
            .find(|secret| secret.state == "missing")
            .unwrap();
        assert_eq!(missing.last_error, "not_found", "{missing:?}");
    });
    Ok(())
}

fn the_watchdog_is_fed() -> Result<(), String> {
    let mut command = Command::new(BINARY);
    command.env("WATCHDOG_USEC", "300000");
    let program = Program::by(run(Node::new()), command);
    assert!(
        program.hear("WATCHDOG=1") && program.hear("WATCHDOG=1"),
        "the watchdog is fed repeatedly"
    );
    Ok(())
}
