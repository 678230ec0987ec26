//! Metadata of issuers and resources as operators see it, and changes that wait for an operator's approval.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use claviger_proto::v1::{RefreshRequest, StatusResponse};
use claviger_runtime::clock::SteppedClock;
use serde_json::{Value, json};

use crate::daemon::TestDaemon;
use crate::node::{Node, own_uid, run};
use crate::table;
use crate::wire::{Answer, ask, get};

table![
    only_checked_metadata_is_served,
    metadata_is_for_operators_and_reading_it_fetches_nothing,
    metadata_that_failed_to_load_is_fetched_again,
    a_change_of_metadata_waits_for_an_operator,
];

const ISSUER: &str = "/.well-known/oauth-authorization-server";
const RESOURCE: &str = "/.well-known/oauth-protected-resource";

/// The value of every field that claviger does not use.
const SENTINEL: &str = "SENTINEL-5e1f";

/// A web server that publishes documents, issues a token on every request, and counts the requests per path.
#[derive(Debug, Default)]
struct Publisher {
    address: String,
    documents: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<String>>,
}

impl Publisher {
    /// Starts a server that publishes nothing yet. It ends with this process.
    fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let publisher = Arc::new(Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            ..Self::default()
        });
        let shared = Arc::clone(&publisher);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.answer(&stream.unwrap()));
            }
        });
        publisher
    }

    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let path = head.split(' ').nth(1)?.to_owned();
        let length = head.to_ascii_lowercase();
        let length = length
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        reader.read_exact(&mut vec![0; length]).ok()?;
        self.asked.lock().unwrap().push(path.clone());
        let known = self.documents.lock().unwrap().get(&path).cloned();
        let token = json!({
            "access_token": "a-token-of-the-publisher", "token_type": "Bearer", "expires_in": 3600,
        });
        let (status, body) = match known {
            Some(document) => ("200 OK", document),
            None if head.starts_with("POST ") => ("200 OK", token.to_string()),
            None => ("404 Not Found", String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all((head + &body).as_bytes()).ok()
    }

    fn publish(&self, path: &str, document: &Value) {
        let mut documents = self.documents.lock().unwrap();
        documents.insert(path.to_owned(), document.to_string());
    }

    /// Publishes the metadata of the issuer and of its one resource, with many fields that claviger does not read.
    fn publish_all(&self, token_endpoint: &str) {
        let address = &self.address;
        let more = json!({ SENTINEL: [SENTINEL], "deep": { "deeper": SENTINEL } });
        self.publish(
            ISSUER,
            &json!({
                "issuer": address,
                "token_endpoint": format!("{address}{token_endpoint}"),
                "revocation_endpoint": format!("{address}/revoke"),
                "token_endpoint_auth_methods_supported": ["client_secret_basic", SENTINEL],
                "grant_types_supported": [SENTINEL],
                "jwks_uri": format!("{address}/{SENTINEL}"),
                "service_documentation": SENTINEL,
                "more": more,
            }),
        );
        self.publish(
            &format!("{RESOURCE}/invoices"),
            &json!({
                "resource": format!("{address}/invoices"),
                "authorization_servers": [format!("https://{SENTINEL}.example"), address],
                "scopes_supported": ["read", format!("not a scope: {SENTINEL}"), "write"],
                "bearer_methods_supported": ["header", SENTINEL],
                "resource_name": SENTINEL,
                "more": more,
            }),
        );
    }

    fn asked_for(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|one| *one == path).count()
    }

    fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// A node with this issuer as its second, and a token for a resource whose metadata must name the issuer.
    async fn node(&self, issuer_lines: &str) -> Node {
        let mut node = Node::new().await;
        let address = &self.address;
        node.more = format!(
            "[issuers.publisher]\nissuer = \"{address}\"\nrequests_per_minute = 600\n{issuer_lines}\n\
             [issuers.given]\nissuer = \"{address}/given\"\ntoken_endpoint = \"{address}/given/token\"\n\
             [clients.publisher]\nissuer = \"publisher\"\nid = \"local:oauth/demo#client_id\"\n\
             auth = {{ method = \"client_secret_basic\", secret = \"local:oauth/demo#client_secret\" }}\n\
             [clients.given]\nissuer = \"given\"\nid = \"local:oauth/demo#client_id\"\n\
             auth = {{ method = \"client_secret_basic\", secret = \"local:oauth/demo#client_secret\" }}\n\
             [tokens.invoices]\nclient = \"publisher\"\ngrant = \"client_credentials\"\nscopes = [\"read\"]\n\
             resource = \"{address}/invoices\"\nverify_resource = true\n\
             [tokens.given]\nclient = \"given\"\ngrant = \"client_credentials\"\nscopes = [\"read\"]\n"
        );
        node.rules.push_str(&format!(
            "[[allow]]\nuser = {}\ntokens = [\"invoices\", \"given\"]\n",
            own_uid()
        ));
        node
    }
}

/// Reads the metadata of `name` as an operator.
fn look(daemon: &TestDaemon, kind: &str, name: &str) -> Answer {
    let socket = daemon.node.admin_socket();
    tokio::task::block_in_place(|| get(&socket, &format!("{kind}/{name}")))
}

/// The body of an answer without the time of the fetch, which must be present.
fn timeless(answer: &Answer, known: &str) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut body = answer.json();
    let known = body.pointer_mut(known).unwrap().as_object_mut().unwrap();
    let read = known.remove("read_at").unwrap();
    assert!(read.as_u64() > Some(1_700_000_000), "{read}");
    body
}

fn only_checked_metadata_is_served() -> Result<(), String> {
    run(async {
        let publisher = Publisher::start();
        publisher.publish_all("/token");
        let daemon = TestDaemon::on(publisher.node("").await).await;
        daemon.caller().await.token("invoices").await.unwrap();
        let (issuer, resources) = (
            look(&daemon, ISSUER, "publisher"),
            look(&daemon, RESOURCE, "invoices"),
        );
        let address = &publisher.address;
        assert_eq!(
            timeless(&issuer, "/claviger"),
            json!({
                "issuer": address,
                "token_endpoint": format!("{address}/token"),
                "revocation_endpoint": format!("{address}/revoke"),
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "claviger": { "stale": false, "configured": [] },
            })
        );
        assert_eq!(
            timeless(&resources, "/resources/0/claviger"),
            json!({
                "token": "invoices",
                "resources": [{
                    "resource": format!("{address}/invoices"),
                    "authorization_servers": [address],
                    "scopes_supported": ["read", "write"],
                    "claviger": { "stale": false },
                }],
            })
        );
        let status = daemon.admin().await.status().await.unwrap();
        let known = status.issuers.iter().find(|one| one.name == "publisher");
        assert!(known.unwrap().metadata_read_at.is_some());
        for said in [
            String::from_utf8_lossy(&issuer.body).into_owned(),
            String::from_utf8_lossy(&resources.body).into_owned(),
            format!("{status:?} {:?}", daemon.running),
        ] {
            assert!(!said.contains(SENTINEL), "{said}");
        }
        daemon.stop().await;
    });
    Ok(())
}

fn metadata_is_for_operators_and_reading_it_fetches_nothing() -> Result<(), String> {
    run(async {
        let publisher = Publisher::start();
        publisher.publish_all("/token");
        let daemon = TestDaemon::on(publisher.node("").await).await;
        let meant = "claviger-request: true";
        let (admin, broker) = (daemon.node.admin_socket(), daemon.node.socket());
        let answers = |socket: &Path, request: &str, header: &str| {
            let head = format!("{request} HTTP/1.1\n{header}");
            let answer = tokio::task::block_in_place(|| ask(socket, head.trim_end()));
            let problem = answer.json();
            assert!(
                problem["remedy"].as_str().unwrap().len() > 10,
                "{head}: {problem}"
            );
            (
                answer.status,
                problem["error"].as_str().unwrap().to_owned(),
                answer.header("retry-after").map(str::to_owned),
            )
        };
        for (socket, request, header, status, error) in [
            (
                &admin,
                format!("GET {ISSUER}/publisher"),
                "",
                403,
                "NOT_FOR_CLAVIGER",
            ),
            (
                &broker,
                format!("GET {ISSUER}/publisher"),
                meant,
                404,
                "NOT_FOUND",
            ),
            (
                &broker,
                format!("GET {RESOURCE}/invoices"),
                meant,
                404,
                "NOT_FOUND",
            ),
            (
                &admin,
                format!("GET {ISSUER}/unknown"),
                meant,
                404,
                "NOT_FOUND",
            ),
            (&admin, format!("GET {ISSUER}"), meant, 404, "NOT_FOUND"),
            (
                &admin,
                format!("GET {ISSUER}/publisher/x"),
                meant,
                404,
                "NOT_FOUND",
            ),
            (
                &admin,
                format!("GET {RESOURCE}/nothing"),
                meant,
                404,
                "NOT_FOUND",
            ),
            (
                &admin,
                format!("GET {RESOURCE}/api"),
                meant,
                404,
                "NOT_FOUND",
            ),
            (
                &admin,
                format!("GET {ISSUER}/%70ublisher"),
                meant,
                400,
                "INVALID_REQUEST",
            ),
            (
                &admin,
                format!("GET {ISSUER}/"),
                meant,
                400,
                "INVALID_REQUEST",
            ),
            (
                &admin,
                format!("POST {ISSUER}/publisher"),
                meant,
                405,
                "METHOD_NOT_ALLOWED",
            ),
            (
                &admin,
                "GET /v1/token/api".to_owned(),
                meant,
                404,
                "NOT_FOUND",
            ),
        ] {
            let (got, why, retry) = answers(socket, &request, header);
            assert_eq!(
                (got, why.as_str(), retry),
                (status, error, None),
                "{request}"
            );
        }
        for request in [
            format!("GET {ISSUER}/publisher"),
            format!("GET {RESOURCE}/invoices"),
        ] {
            let answer = answers(&admin, &request, meant);
            let expected = (503, "NOT_READ_YET".to_owned(), Some("60".to_owned()));
            assert_eq!(answer, expected, "{request}");
        }
        // Endpoints in the configuration need no fetch.
        assert_eq!(
            look(&daemon, ISSUER, "given").json(),
            json!({
                "issuer": format!("{}/given", publisher.address),
                "token_endpoint": format!("{}/given/token", publisher.address),
                "claviger": { "read_at": null, "stale": false, "configured": ["token_endpoint"] },
            })
        );
        assert_eq!(
            publisher.requests(),
            0,
            "reading the metadata sends no request"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn metadata_that_failed_to_load_is_fetched_again() -> Result<(), String> {
    run(async {
        let publisher = Publisher::start();
        publisher.publish_all("/token");
        // The resource names another issuer.
        publisher.publish(
            &format!("{RESOURCE}/invoices"),
            &json!({
                "resource": format!("{}/invoices", publisher.address),
                "authorization_servers": ["https://other.example"],
            }),
        );
        let daemon = TestDaemon::on(publisher.node("").await).await;
        daemon.caller().await.token("invoices").await.unwrap_err();
        assert_eq!(look(&daemon, RESOURCE, "invoices").status, 503);
        // An operator can trigger the fetch before a token needs it.
        let refresh = async |issuer: &str| {
            let request = RefreshRequest {
                names: Vec::new(),
                issuers: vec![issuer.to_owned()],
            };
            let mut admin = daemon.admin().await;
            let answer = admin.client.refresh(request).await.unwrap().into_inner();
            let [result] = answer.results.as_slice() else {
                panic!("nothing else is refreshed: {answer:?}")
            };
            (result.ok, result.changed, result.error.clone())
        };
        assert_eq!(look(&daemon, ISSUER, "publisher").status, 503);
        assert_eq!(refresh("publisher").await, (true, true, String::new()));
        assert_eq!(look(&daemon, ISSUER, "publisher").status, 200);
        assert_eq!(refresh("publisher").await, (true, false, String::new()));
        assert_eq!(publisher.asked_for(ISSUER), 2);
        let refused = |why: &str| (false, false, why.to_owned());
        assert_eq!(refresh("missing").await, refused("unknown"));
        assert_eq!(refresh("given").await, refused("configured"));
        // A document that cannot be fetched again stays in use, marked as stale.
        publisher.documents.lock().unwrap().clear();
        assert_eq!(refresh("publisher").await, refused("metadata_refused"));
        let stale = timeless(&look(&daemon, ISSUER, "publisher"), "/claviger");
        assert_eq!(stale["claviger"]["stale"], true);
        let status = daemon.admin().await.status().await.unwrap();
        let known = status.issuers.iter().find(|one| one.name == "publisher");
        assert!(known.unwrap().metadata_stale);
        daemon.stop().await;
    });
    Ok(())
}

fn a_change_of_metadata_waits_for_an_operator() -> Result<(), String> {
    run(async {
        let publisher = Publisher::start();
        publisher.publish_all("/token");
        let clock = Arc::new(SteppedClock::new());
        let node = publisher.node("on_metadata_change = \"hold\"").await;
        let daemon = TestDaemon::at(node, Arc::clone(&clock) as _).await;
        let mut admin = daemon.admin().await;
        let mut caller = daemon.caller().await;
        caller.token("invoices").await.unwrap();
        publisher.publish_all("/v2/token");
        // More than a day later the daemon fetches the metadata again before it uses the endpoints.
        clock.suspend(Duration::from_hours(25));
        admin.refresh(&[]).await;
        assert_eq!(publisher.asked_for(ISSUER), 2);
        assert_eq!(
            publisher.asked_for("/token"),
            2,
            "requests still go to the old endpoint"
        );
        assert_eq!(publisher.asked_for("/v2/token"), 0);
        let status = admin.status().await.unwrap();
        let known = status.issuers.iter().find(|one| one.name == "publisher");
        assert_eq!(known.unwrap().metadata_waiting, ["token_endpoint"]);
        let is_warned = |status: &StatusResponse| {
            let mut warnings = status.warnings.iter();
            warnings.any(|warning| {
                warning.contains("issuers.publisher")
                    && warning.contains("token_endpoint")
                    && warning.contains("claviger refresh --issuer publisher")
            })
        };
        assert!(is_warned(&status), "{:?}", status.warnings);
        let address = &publisher.address;
        let body = look(&daemon, ISSUER, "publisher").json();
        assert_eq!(body["token_endpoint"], format!("{address}/token"));
        assert_eq!(
            body["claviger"]["waiting"]["token_endpoint"],
            format!("{address}/v2/token")
        );
        // A reload that does not change the issuer does not accept the new metadata either.
        assert!(admin.reload().await.applied);
        assert!(is_warned(&admin.status().await.unwrap()));
        let request = RefreshRequest {
            names: vec!["invoices".to_owned()],
            issuers: vec!["publisher".to_owned()],
        };
        let results = admin.client.refresh(request).await.unwrap().into_inner();
        assert!(
            results.results.iter().all(|result| result.ok),
            "{results:?}"
        );
        assert_eq!(
            publisher.asked_for("/v2/token"),
            1,
            "requests go to the accepted endpoint"
        );
        let body = look(&daemon, ISSUER, "publisher").json();
        assert_eq!(body["token_endpoint"], format!("{address}/v2/token"));
        assert_eq!(body["claviger"].get("waiting"), None);
        assert!(!is_warned(&admin.status().await.unwrap()));
        daemon.stop().await;
    });
    Ok(())
}
