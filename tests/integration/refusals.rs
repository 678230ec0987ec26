//! Errors that programs receive, and what an error must not reveal.

use std::net::TcpListener;

use bytes::{Buf as _, BufMut as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::caller::{Caller, refusal, why, wish};
use crate::daemon::TestDaemon;
use crate::lent::{ANNA, Lent};
use crate::node::{Node, own_uid, run};
use crate::{actor, table};

table![
    a_rejected_client_secret_is_not_sent_again,
    the_error_of_an_unreachable_issuer_is_retryable,
    the_error_of_a_missing_secret_is_retryable,
    no_refusal_reveals_a_secret,
    only_the_caller_that_keeps_failing_must_wait,
    a_request_without_a_message_times_out,
    undecodable_messages_are_refused_without_library_text,
];

fn a_rejected_client_secret_is_not_sent_again() -> Result<(), String> {
    run(async {
        let node = Node::new().await;
        node.put_client_secret("not the secret");
        let daemon = TestDaemon::on(node).await;
        let mut caller = daemon.caller().await;
        for _ in 0..5 {
            let refused = refusal(caller.token("api").await);
            assert_eq!(refused.code, Code::FailedPrecondition);
            assert_eq!(refused.reason, "INVALID_CLIENT");
        }
        assert_eq!(daemon.node.issuer.requests(), 1);
        daemon.stop().await;
    });
    Ok(())
}

/// Rules and definitions for a second issuer, at a port without a listener.
fn with_dead_issuer(node: &mut Node) {
    // Bound and dropped: the port is free, and is not reassigned so soon.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    node.more = format!(
        "[issuers.dead]\nissuer = \"http://{address}\"\n\
         [clients.dead]\nissuer = \"dead\"\nid = \"local:oauth/demo#client_id\"\n\
         auth = {{ method = \"client_secret_basic\", secret = \"local:oauth/demo#client_secret\" }}\n\
         [tokens.dead]\nclient = \"dead\"\ngrant = \"client_credentials\"\nscopes = [\"a\"]\n"
    );
    node.rules.push_str(&format!(
        "[[allow]]\nuser = {}\ntokens = [\"dead\"]\n",
        own_uid()
    ));
}

fn the_error_of_an_unreachable_issuer_is_retryable() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        with_dead_issuer(&mut node);
        let daemon = TestDaemon::on(node).await;
        let mut caller = daemon.caller().await;
        let refused = refusal(caller.token("dead").await);
        assert_eq!(
            (refused.code, refused.reason.as_str()),
            (Code::Unavailable, "CONNECTION_REFUSED")
        );
        assert!(refused.retry.is_some());
        assert!(
            caller.token("api").await.is_ok(),
            "another issuer is not affected"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn the_error_of_a_missing_secret_is_retryable() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.more = "[secrets.absent]\nreference = \"local:not/there\"\n".to_owned();
        node.rules.push_str(&format!(
            "[[allow]]\nuser = {}\nsecrets = [\"absent\"]\n",
            own_uid()
        ));
        let daemon = TestDaemon::on(node).await;
        let mut caller = daemon.caller().await;
        let refused = refusal(caller.secret("absent").await);
        assert_eq!(
            (refused.code, refused.reason.as_str()),
            (Code::Unavailable, "NOT_FOUND")
        );
        assert!(refused.retry.is_some());
        assert!(!daemon.admin().await.status().await.unwrap().ready);
        assert!(caller.token("api").await.is_ok(), "other tokens are served");
        daemon.stop().await;
    });
    Ok(())
}

/// Everything that a refusal sends to the caller.
fn everything(status: &Status) -> String {
    format!("{status:?} {:?}", status.get_error_details())
}

fn no_refusal_reveals_a_secret() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.limits = "requests_per_second = 10000\nrequest_burst = 10000".to_owned();
        with_dead_issuer(&mut node);
        node.more
            .push_str("[secrets.absent]\nreference = \"local:not/there\"\n");
        node.rules.push_str(&format!(
            "[[allow]]\nuser = {}\nsecrets = [\"absent\"]\n",
            own_uid()
        ));
        let daemon = TestDaemon::on(node).await;
        let mut caller = daemon.caller().await;
        let held = caller.token("api").await.unwrap();
        let secret = daemon.node.secrets().swap_remove(0);
        daemon.spoil_client_secret().await;
        let mut refusals = vec![
            caller.token("wide").await.unwrap_err(),
            caller.token("dead").await.unwrap_err(),
            caller.token("payroll").await.unwrap_err(),
            caller.secret("absent").await.unwrap_err(),
            caller.scoped("api", &["a\"b"]).await.unwrap_err(),
            caller.with(&[]).token("api").await.unwrap_err(),
        ];
        let mut strange = wish("api");
        strange.scopes = vec![secret.clone(), "\u{1b}[31m".to_owned()];
        refusals.push(caller.ask(strange).await.unwrap_err());
        for status in &refusals {
            let text = everything(status);
            for hidden in [
                secret.as_str(),
                held.access_token.as_str(),
                "not/there",
                "oauth/demo",
                "127.0.0.1",
                "invalid_scope",
                daemon.node.folder().to_str().unwrap(),
            ] {
                assert!(!text.contains(hidden), "{hidden} in {text}");
            }
        }
        daemon.stop().await;
    });
    Ok(())
}

fn only_the_caller_that_keeps_failing_must_wait() -> Result<(), String> {
    actor::need_root()?;
    run(async {
        let mut node = Node::new().await;
        node.rules
            .push_str(&format!("[[allow]]\nuser = {ANNA}\ntokens = [\"api\"]\n"));
        let daemon = TestDaemon::on(node).await;
        let mut caller = daemon.caller().await;
        assert!(caller.token("api").await.is_ok());
        let refusals: Vec<_> = {
            let mut refusals = Vec::new();
            for _ in 0..100 {
                refusals.push(refusal(caller.token("payroll").await));
            }
            refusals
        };
        let limited = refusals
            .iter()
            .filter(|refused| refused.reason == "RATE_LIMITED");
        assert!(limited.clone().count() > 50, "{refusals:?}");
        assert!(
            limited.clone().all(|refused| {
                refused.code == Code::ResourceExhausted && refused.retry.is_some()
            })
        );
        assert!(
            caller.token("api").await.is_ok(),
            "cached answers do not count against the budget"
        );
        let anna = Lent::by(ANNA, &daemon.node.socket());
        let mut anna = anna.caller().await;
        assert_eq!(
            why(anna.token("payroll").await).1,
            "DENIED",
            "budgets are separate per user"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn a_request_without_a_message_times_out() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.limits = "request = \"100ms\"".to_owned();
        let daemon = TestDaemon::on(node).await;
        let caller = daemon.caller().await;
        for path in [
            "/claviger.v1.Tokens/GetToken",
            "/claviger.v1.Secrets/GetSecret",
        ] {
            let status = never_sent(&caller, path).await;
            assert_eq!(
                why(Err::<(), _>(status)),
                (Code::DeadlineExceeded, "TIMEOUT".to_owned())
            );
        }
        daemon.stop().await;
    });
    Ok(())
}

/// Calls a method without ever sending its body.
async fn never_sent(caller: &Caller, path: &'static str) -> Status {
    use claviger_proto::v1::{GetTokenRequest, GetTokenResponse};
    let mut grpc = tonic::client::Grpc::new(caller.channel.clone());
    grpc.ready().await.unwrap();
    let mut request = tonic::Request::new(tokio_stream::pending());
    request
        .metadata_mut()
        .insert("claviger-request", "true".parse().unwrap());
    let codec = tonic_prost::ProstCodec::<GetTokenRequest, GetTokenResponse>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.client_streaming(request, path, codec)
        .await
        .expect_err("an end")
}

/// Sends raw bytes as messages, without an encoder.
#[derive(Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}

/// Calls a method with these messages, and returns the refusal.
async fn sent(
    channel: &Channel,
    path: &'static str,
    messages: Vec<Vec<u8>>,
    encoding: &'static str,
) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = tonic::Request::new(tokio_stream::iter(messages));
    let metadata = request.metadata_mut();
    metadata.insert("claviger-request", "true".parse().unwrap());
    metadata.insert("grpc-encoding", encoding.parse().unwrap());
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.streaming(request, path, Raw)
        .await
        .expect_err("a refusal")
}

fn undecodable_messages_are_refused_without_library_text() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let caller = daemon.caller().await;
        let (programs, operators) = (caller.channel, daemon.admin().await.channel);
        let large = vec![0; 64 * 1024 + 1];
        // The first field, and a length that never ends.
        let broken = vec![0x0a, 0xff];
        for (channel, path) in [
            (&programs, "/claviger.v1.Tokens/GetToken"),
            (&programs, "/claviger.v1.Tokens/WatchToken"),
            (&programs, "/claviger.v1.Tokens/ReportRejected"),
            (&programs, "/claviger.v1.Tokens/RevokeToken"),
            (&programs, "/claviger.v1.Secrets/GetSecret"),
            (&programs, "/claviger.v1.Secrets/WatchSecret"),
            (&operators, "/claviger.v1.Admin/Status"),
            (&operators, "/claviger.v1.Admin/Explain"),
            (&operators, "/claviger.v1.Admin/Refresh"),
            (&operators, "/claviger.v1.Admin/Reload"),
            (&programs, "/grpc.health.v1.Health/Check"),
        ] {
            for (messages, encoding, code, reason) in [
                (
                    vec![large.clone()],
                    "identity",
                    Code::InvalidArgument,
                    "MESSAGE_TOO_LARGE",
                ),
                (
                    vec![broken.clone()],
                    "identity",
                    Code::InvalidArgument,
                    "MALFORMED_MESSAGE",
                ),
                (
                    vec![],
                    "identity",
                    Code::InvalidArgument,
                    "MALFORMED_MESSAGE",
                ),
                (
                    vec![vec![]],
                    "gzip",
                    Code::Unimplemented,
                    "UNKNOWN_COMPRESSION",
                ),
            ] {
                let status = sent(channel, path, messages, encoding).await;
                let accepted = status.metadata().get("grpc-accept-encoding").cloned();
                let refused = refusal(Err::<(), _>(status));
                assert_eq!(
                    (refused.code, refused.reason.as_str()),
                    (code, reason),
                    "{path}"
                );
                // The gRPC protocol: a server that rejects an encoding lists those it accepts.
                let says = accepted.is_some_and(|accepted| accepted == "identity");
                assert_eq!(says, encoding == "gzip", "{path}");
            }
        }
        for (channel, path) in [
            (&programs, "/claviger.v1.Tokens/Mint"),
            (&programs, "/claviger.v1.Secrets/List"),
            (&operators, "/claviger.v1.Admin/Erase"),
            (&programs, "/grpc.health.v1.Health/Heal"),
        ] {
            let status = sent(channel, path, vec![vec![]], "identity").await;
            let expected = (Code::Unimplemented, "UNKNOWN_METHOD".to_owned());
            assert_eq!(why(Err::<(), _>(status)), expected, "{path}");
        }
        daemon.stop().await;
    });
    Ok(())
}
