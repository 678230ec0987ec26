//! Access control before any rule: the request header, the two sockets, and the uid from the kernel.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use claviger_proto::v1::StatusRequest;
use claviger_proto::v1::admin_client::AdminClient;
use claviger_server::Limits;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::caller::{Admin, Caller, meant, why};
use crate::cgroups::Cgroup;
use crate::daemon::TestDaemon;
use crate::lent::{ANNA, BERT, Lender, Lent};
use crate::node::{Node, run};
use crate::{actor, table};

table![
    requests_without_the_request_header_are_refused,
    health_needs_no_header_on_either_socket,
    reflection_lists_what_each_socket_serves,
    reflection_knows_the_details_of_errors,
    health_and_reflection_streams_end_with_their_connection,
    each_socket_serves_its_own,
    two_users_have_different_rights,
    headers_cannot_change_the_callers_identity,
    only_operators_reach_the_admin_socket,
    root_of_a_container_is_no_operator,
    an_operator_connects_when_programs_use_all_connections,
];

fn requests_without_the_request_header_are_refused() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let caller = daemon.caller().await;
        let refused = (Code::PermissionDenied, "NOT_FOR_CLAVIGER".to_owned());
        for with in [
            &[] as &[(&str, &str)],
            &[("claviger-request", "1")],
            &[("claviger-request", "TRUE")],
            &[("x-claviger-request", "true")],
            &[
                ("claviger-request", "true"),
                ("origin", "https://evil.example"),
            ],
            &[
                ("claviger-request", "true"),
                ("x-forwarded-for", "10.0.0.1"),
            ],
            &[("claviger-request", "true"), ("forwarded", "for=10.0.0.1")],
            &[("claviger-request", "true"), ("via", "1.1 proxy")],
            &[
                ("claviger-request", "true"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert_eq!(
                why(caller.with(with).token("api").await),
                refused,
                "{with:?}"
            );
            assert_eq!(
                why(caller.with(with).secret("password").await),
                refused,
                "{with:?}"
            );
        }
        let admin = daemon.admin().await;
        let mut bare = AdminClient::new(admin.channel);
        assert_eq!(why(bare.status(StatusRequest {}).await), refused);
        assert_eq!(daemon.node.issuer.requests(), 0);
        assert!(daemon.caller().await.token("api").await.is_ok(), "control");
        daemon.stop().await;
    });
    Ok(())
}

async fn health(channel: Channel, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel).check(request).await;
    answer
        .map(|answer| answer.into_inner().status())
        .map_err(|status| status.code())
}

fn health_needs_no_header_on_either_socket() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        for channel in [daemon.caller().await.channel, daemon.admin().await.channel] {
            for service in ["", "claviger.v1.Tokens", "claviger.v1.Secrets"] {
                let answer = health(channel.clone(), service).await;
                assert_eq!(answer, Ok(ServingStatus::Serving), "{service}");
            }
            assert_eq!(
                health(channel, "no.such.Service").await,
                Err(Code::NotFound)
            );
        }
        daemon.stop().await;
    });
    Ok(())
}

/// The answer of reflection.
async fn reflected(channel: Channel, question: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::with_interceptor(channel, meant());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let answer = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap();
    let mut answers: Streaming<ServerReflectionResponse> = answer.into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    answer.message_response.expect("there is an answer")
}

/// The services that reflection lists.
async fn services(channel: Channel) -> Vec<String> {
    let answer = reflected(channel, MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}")
    };
    let mut names: Vec<String> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    names.retain(|name| !name.starts_with("grpc.reflection."));
    names.sort();
    names
}

fn reflection_lists_what_each_socket_serves() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let broker = services(daemon.caller().await.channel).await;
        assert_eq!(
            broker,
            [
                "claviger.v1.Secrets",
                "claviger.v1.Tokens",
                "grpc.health.v1.Health"
            ]
        );
        let admin = services(daemon.admin().await.channel).await;
        assert_eq!(admin, ["claviger.v1.Admin", "grpc.health.v1.Health"]);
        daemon.stop().await;
    });
    Ok(())
}

fn reflection_knows_the_details_of_errors() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        for channel in [daemon.caller().await.channel, daemon.admin().await.channel] {
            for detail in ["google.rpc.ErrorInfo", "google.rpc.RetryInfo"] {
                let question = MessageRequest::FileContainingSymbol(detail.to_owned());
                let answer = reflected(channel.clone(), question).await;
                assert!(
                    matches!(answer, MessageResponse::FileDescriptorResponse(_)),
                    "{detail}: {answer:?}"
                );
            }
        }
        daemon.stop().await;
    });
    Ok(())
}

fn health_and_reflection_streams_end_with_their_connection() -> Result<(), String> {
    run(async {
        let young = |limits: &mut Limits| limits.connection_age = Duration::from_millis(300);
        let daemon = TestDaemon::with(Node::new().await, young).await;
        let mut health = HealthClient::new(daemon.caller().await.channel);
        let watch = health.watch(HealthCheckRequest::default()).await;
        let mut watch = watch.unwrap().into_inner();
        let mut client =
            ServerReflectionClient::with_interceptor(daemon.caller().await.channel, meant());
        // A reflection stream that sends no request.
        let stays = client.server_reflection_info(tokio_stream::pending()).await;
        let mut stays = stays.unwrap().into_inner();
        assert!(watch.message().await.unwrap().is_some());
        assert_eq!(watch.message().await.unwrap(), None, "without an error");
        assert_eq!(stays.message().await.unwrap(), None, "without an error");
        daemon.stop().await;
    });
    Ok(())
}

fn each_socket_serves_its_own() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut misplaced = AdminClient::with_interceptor(daemon.caller().await.channel, meant());
        let refused = (Code::Unimplemented, "WRONG_SOCKET".to_owned());
        assert_eq!(why(misplaced.status(StatusRequest {}).await), refused);
        let admin = daemon.admin().await;
        let mut misplaced = Caller::on(admin.channel, meant());
        assert_eq!(why(misplaced.token("api").await), refused);
        assert_eq!(why(misplaced.secret("password").await), refused);
        assert!(daemon.admin().await.status().await.is_ok(), "control");
        daemon.stop().await;
    });
    Ok(())
}

/// A daemon that grants Anna a token and Bert nothing.
async fn of_anna() -> TestDaemon {
    let mut node = Node::new().await;
    node.rules.push_str(&format!(
        "[[allow]]\nuser = {ANNA}\ntokens = [\"payroll\"]\n"
    ));
    TestDaemon::on(node).await
}

fn two_users_have_different_rights() -> Result<(), String> {
    actor::need_root()?;
    run(async {
        let daemon = of_anna().await;
        let anna = Lent::by(ANNA, &daemon.node.socket());
        let bert = Lent::by(BERT, &daemon.node.socket());
        let denied = (Code::PermissionDenied, "DENIED".to_owned());
        assert!(anna.caller().await.token("payroll").await.is_ok());
        assert_eq!(
            why(bert.caller().await.token("payroll").await),
            denied,
            "cached or not"
        );
        assert_eq!(
            why(daemon.caller().await.token("payroll").await),
            denied,
            "not even root"
        );
        let anna = Lent::by(ANNA, &daemon.node.socket());
        assert_eq!(why(anna.caller().await.token("api").await), denied);
        let mut admin = daemon.admin().await;
        assert!(
            admin.explain(anna.actor.pid(), "payroll").await,
            "explained as it is decided"
        );
        assert!(!admin.explain(bert.actor.pid(), "payroll").await);
        daemon.stop().await;
        Ok(())
    })
}

fn headers_cannot_change_the_callers_identity() -> Result<(), String> {
    actor::need_root()?;
    run(async {
        let daemon = of_anna().await;
        let bert = Lent::by(BERT, &daemon.node.socket());
        let caller = bert.caller().await;
        for (name, value) in [
            ("x-uid", "42001"),
            ("x-user", "anna"),
            ("x-peer-pid", "1"),
            ("x-unit", "billing.service"),
            ("authorization", "Bearer root"),
            ("x-client-cert", "root"),
            ("user", "0"),
        ] {
            let mut caller = caller.with(&[("claviger-request", "true"), (name, value)]);
            assert_eq!(
                why(caller.token("payroll").await).0,
                Code::PermissionDenied,
                "{name}"
            );
        }
        daemon.stop().await;
        Ok(())
    })
}

fn only_operators_reach_the_admin_socket() -> Result<(), String> {
    actor::need_root()?;
    run(async {
        let daemon = of_anna().await;
        let path = daemon.node.admin_socket();
        let mode =
            |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(mode(&daemon.node.socket()), 0o666);
        let refused = Lender::start(&[], ANNA).connect(&path).err().unwrap();
        assert_eq!(refused.0, "permission denied");

        // Refused even with open file modes, and on a connection whose process was root when it connected.
        std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let anna = Lent::by(ANNA, &path);
        let closed = tokio::task::spawn_blocking(move || {
            let mut stream = anna.stream.try_clone().unwrap();
            crate::wire::bounded(&stream);
            crate::wire::heard(&mut stream)
        });
        assert_eq!(
            closed.await.unwrap(),
            Ok(Vec::new()),
            "closed without an answer"
        );
        let mut root = Lent::by(0, &path);
        let mut admin = Admin::over(root.tokio()).await;
        assert!(admin.status().await.is_ok());
        assert_eq!(root.actor.ask(&ANNA.to_string()), "done");
        let changed = (Code::Unauthenticated, "PEER_CHANGED".to_owned());
        assert_eq!(why(admin.status().await), changed);
        daemon.stop().await;
        Ok(())
    })
}

/// Containers mount the directory of the broker socket, and the admin socket's directory is below it.
fn root_of_a_container_is_no_operator() -> Result<(), String> {
    actor::need_root()?;
    let container = Cgroup::new(&format!("/docker/{}", "fedcba9876543210".repeat(4)))?;
    run(async {
        let daemon = TestDaemon::new().await;
        let path = daemon.node.admin_socket();
        let mut named = Lender::start(&[], 0);
        container.take(named.pid());
        let unnamed = Lender::start(&["unshare", "--pid", "--fork", "--kill-child"], 0);
        for lender in [&mut named, &mut { unnamed }] {
            let lent = lender.connect(&path).unwrap();
            let closed = tokio::task::block_in_place(|| {
                let mut stream = lent.stream.try_clone().unwrap();
                crate::wire::bounded(&stream);
                crate::wire::heard(&mut stream)
            });
            assert_eq!(closed, Ok(Vec::new()), "closed without an answer");
        }
        let root = Lent::by(0, &path);
        assert!(Admin::over(root.tokio()).await.status().await.is_ok());
        daemon.stop().await;
        Ok(())
    })
}

fn an_operator_connects_when_programs_use_all_connections() -> Result<(), String> {
    actor::need_root()?;
    run(async {
        let mut node = Node::new().await;
        // The ninth is for a user that has none yet.
        node.limits = "connections = 9\nconnections_per_uid = 4".to_owned();
        let daemon = TestDaemon::on(node).await;
        let mut held = Vec::new();
        for uid in [ANNA, BERT] {
            for _ in 0..4 {
                let lent = Lent::by(uid, &daemon.node.socket());
                let caller = lent.caller().await;
                assert_eq!(
                    health(caller.channel.clone(), "").await,
                    Ok(ServingStatus::Serving)
                );
                held.push((lent, caller));
            }
        }
        let status = daemon.admin().await.status().await.unwrap();
        assert_eq!(status.server.unwrap().connections, 9);
        // The daemon's own watchdog probe uses the broker socket.
        assert!(daemon.caller().await.token("api").await.is_ok());
        drop(held);
        daemon.stop().await;
        Ok(())
    })
}
