//! Runs the commands and code of README.md as they are printed there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::node::{Node, own_uid, run};
use crate::program::{BINARY, Finished, Program, finish};
use crate::table;

table![
    the_first_configuration_works_as_printed,
    the_line_with_curl_works,
    the_rust_example_matches_and_works,
];

const README: &str = include_str!("../../README.md");

/// The block of code in this language.
fn block(language: &str) -> String {
    let (_, rest) = README.split_once(&format!("```{language}\n")).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    block.to_owned()
}

/// The indented lines that begin with `word`.
fn lines(word: &str) -> Vec<&'static str> {
    let lines = README.lines().filter(|line| line.starts_with("    "));
    let lines: Vec<_> = lines
        .map(str::trim)
        .filter(|line| line.starts_with(word))
        .collect();
    assert!(!lines.is_empty(), "{word}");
    lines
}

/// A text with the system's directories moved below `root`.
fn moved(text: &str, root: &Path) -> String {
    ["/etc/claviger", "/var/lib/claviger", "/run/claviger"]
        .iter()
        .fold(text.to_owned(), |text, place| {
            text.replace(place, &format!("{}{place}", root.display()))
        })
}

/// Runs a line in a shell with the binary in its path.
fn shell(line: &str, input: &[u8]) -> Finished {
    let folder = Path::new(BINARY).parent().unwrap().display();
    let line = format!("PATH={folder}:$PATH; {line}");
    finish(Command::new("sh").args(["-c", &line]), input)
}

fn the_first_configuration_works_as_printed() -> Result<(), String> {
    let mut node = run(Node::new());
    let root = node.path("root");
    for parent in ["etc", "var/lib", "run"] {
        fs::create_dir_all(root.join(parent)).unwrap();
    }
    let (id, secret) = (node.issuer.client_id(), &node.secrets()[0]);
    let mut typed = Vec::from([secret.as_str(), id]);
    for line in lines("sudo ") {
        let line = line.strip_prefix("sudo ").unwrap();
        if !line.starts_with("install -d ") && !line.starts_with("claviger file ") {
            continue;
        }
        let asks = line.starts_with("claviger file put ");
        let input = if asks { typed.pop().unwrap() } else { "" };
        let done = shell(&moved(line, &root), input.as_bytes());
        assert_eq!(done.code, Some(0), "{line}: {done:?}");
    }
    assert!(typed.is_empty(), "both prompts consumed their input");
    let unit = "unit = \"billing.service\"";
    let text = moved(&block("toml"), &root);
    assert!(text.contains(unit) && text.contains("https://auth.example.com"));
    let text = text
        .replace("https://auth.example.com", &node.issuer.url())
        .replace(unit, &format!("user = {}", own_uid()))
        .replace("read:invoices", "read:demo");
    let text = format!("mode = \"dev\"\n{text}");
    let config = node.write("claviger.toml", &text);
    let checked = shell(
        &format!("claviger check --config {}", config.display()),
        b"",
    );
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(!checked.out.contains('!'), "without a warning: {checked:?}");

    node.instead = Some(text);
    let program = Program::on(node);
    let socket = root.join("run/claviger/broker.sock");
    let token = shell(
        &format!("claviger token billing-api --socket {}", socket.display()),
        b"",
    );
    assert_eq!(token.code, Some(0), "{token:?}");
    assert!(program.node.issuer.knows(token.out.trim()), "{token:?}");
    Ok(())
}

fn the_line_with_curl_works() -> Result<(), String> {
    if Command::new("curl").arg("--version").output().is_err() {
        return Err("needs curl".to_owned());
    }
    let program = Program::on(run(Node::new()));
    let line = lines("curl ")[0]
        .replace(
            "/run/claviger/broker.sock",
            program.node.socket().to_str().unwrap(),
        )
        .replace("billing-api", "api");
    let answer = shell(&line, b"");
    let answer: Value = serde_json::from_str(&answer.out).unwrap();
    assert!(
        program
            .node
            .issuer
            .knows(answer["access_token"].as_str().unwrap())
    );
    Ok(())
}

static SOCKET: OnceLock<String> = OnceLock::new();

fn socket() -> &'static str {
    SOCKET.get().unwrap()
}

fn the_rust_example_matches_and_works() -> Result<(), String> {
    let (_, shown) = include_str!("readme.rs")
        .split_once("    // shown from here\n")
        .unwrap();
    let (shown, _) = shown.split_once("    // to here\n").unwrap();
    let shown: String = shown
        .lines()
        .flat_map(|line| [line.strip_prefix("    ").unwrap_or(line), "\n"])
        .collect();
    let shown = shown
        .replace("socket()", "\"/run/claviger/broker.sock\"")
        .replace("\"api\"", "\"billing-api\"");
    assert_eq!(block("rust"), shown);

    let program = Program::on(run(Node::new()));
    SOCKET
        .set(program.node.socket().to_str().unwrap().to_owned())
        .unwrap();
    let token = run(ask()).unwrap();
    assert!(program.node.issuer.knows(&token));
    Ok(())
}

async fn ask() -> Result<String, Box<dyn std::error::Error>> {
    // shown from here
    use claviger_proto::v1::{GetTokenRequest, tokens_client::TokensClient};
    use hyper_util::rt::TokioIo;
    use tokio::net::UnixStream;
    use tonic::{Request, transport::Endpoint};
    use tower::service_fn;

    let connector = service_fn(|_| async {
        let stream = UnixStream::connect(socket()).await?;
        Ok::<_, std::io::Error>(TokioIo::new(stream))
    });
    let channel = Endpoint::from_static("http://claviger")
        .connect_with_connector(connector)
        .await?;
    let mut request = Request::new(GetTokenRequest {
        name: "api".into(),
        ..Default::default()
    });
    let metadata = request.metadata_mut();
    metadata.insert("claviger-request", "true".parse()?);
    let mut client = TokensClient::new(channel);
    let answer = client.get_token(request).await?.into_inner();
    // to here
    Ok(answer.access_token)
}
