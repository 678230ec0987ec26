//! Vectors of token answers, most of them seen in the field.

#![expect(clippy::too_many_lines, reason = "tables of vectors")]

use proptest::prelude::*;

use super::*;
use crate::token::TokenFlaw;

const STRICT: Leniency = Leniency {
    missing_token_type_is_bearer: false,
    commas_separate_scopes: true,
};
const LENIENT: Leniency = Leniency {
    missing_token_type_is_bearer: true,
    ..STRICT
};
const JSON: Option<&str> = Some("application/json;charset=UTF-8");
const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

#[expect(clippy::unnecessary_wraps, reason = "the tables read better")]
fn secs(seconds: u64) -> Option<Lifetime> {
    Some(Lifetime::For(Duration::from_secs(seconds)))
}

#[expect(clippy::unnecessary_wraps, reason = "the tables read better")]
fn at(seconds: u64) -> Option<Lifetime> {
    Some(Lifetime::Until(Duration::from_secs(seconds)))
}

/// What a successful answer with these further fields comes to.
fn with(fields: &str) -> Result<TokenResponse, Failure> {
    let body = format!(r#"{{"access_token":"t0ken","token_type":"Bearer"{fields}}}"#);
    parse(200, JSON, body.as_bytes(), STRICT)
}

fn flaw(status: u16, content_type: Option<&str>, body: &[u8]) -> Flaw {
    let failure = parse(status, content_type, body, STRICT).unwrap_err();
    assert_eq!((failure.status, failure.body_bytes), (status, body.len()));
    failure.flaw
}

#[test]
fn lifetimes_in_every_spelling() {
    for (fields, lifetime) in [
        ("", None),
        (r#","expires_in":3600"#, secs(3600)),
        (r#","expires_in":"3599""#, secs(3599)),
        (r#","expires_in":" 3599 ""#, secs(3599)),
        (r#","expires_in":3599.99"#, secs(3599)),
        (r#","expires_in":"3599.99""#, secs(3599)),
        (r#","expires_in":3.6e3"#, secs(3600)),
        (r#","expires_in":0"#, secs(0)),
        (r#","expires_in":-1"#, secs(0)),
        (r#","expires_in":"-1""#, secs(0)),
        (r#","expires_in":-0.5"#, secs(0)),
        (r#","expires_in":4294967296"#, secs(1 << 32)),
        (r#","expires_in":18446744073709551615"#, secs(u64::MAX)),
        (r#","expires_in":18446744073709551616"#, secs(u64::MAX)),
        (r#","expires_in":1e300"#, secs(u64::MAX)),
        (r#","expires_in":"1e999""#, secs(u64::MAX)),
        (r#","expires_in":-9223372036854775808"#, secs(0)),
        (r#","expires_in":null"#, None),
        (r#","expires_in":"""#, None),
        (r#","expires_on":1767225600"#, at(1_767_225_600)),
        (r#","expires_on":"1767225600""#, at(1_767_225_600)),
        (r#","expires_on":1767225600000"#, at(1_767_225_600)),
        (r#","expires_at":1767225600.7"#, at(1_767_225_600)),
        (r#","expires_at":"2026-01-01T00:00:00Z""#, at(1_767_225_600)),
        (
            r#","expiresAt":"2026-01-01T01:00:00.5+01:00""#,
            at(1_767_225_600),
        ),
        (r#","expires":1767225600"#, at(1_767_225_600)),
        (r#","expires":5184000"#, secs(5_184_000)),
        (r#","expires":"5184000""#, secs(5_184_000)),
        (r#","expires":0"#, secs(0)),
        (r#","expires_on":0"#, at(0)),
        (r#","expires_on":-1"#, at(0)),
        (r#","expires_on":18446744073709551615"#, at(u64::MAX / 1000)),
        (r#","expires_on":null"#, None),
        (r#","expires_on":"""#, None),
        (r#","expires_in":60,"expires_on":1767225600"#, secs(60)),
        (r#","expires_on":1767225600,"expires_in":60"#, secs(60)),
        (
            r#","expires":1767225600,"expires_on":1767225601"#,
            at(1_767_225_601),
        ),
        (
            r#","expires_on":1767225601,"expires":1767225600"#,
            at(1_767_225_601),
        ),
        (
            r#","expires_on":null,"expires":1767225600"#,
            at(1_767_225_600),
        ),
        (r#","ext_expires_in":99999"#, None),
    ] {
        let answer = with(fields).unwrap_or_else(|failure| panic!("{fields}: {failure}"));
        let lifetime_ = match (answer.lifetime, lifetime) {
            // Milliseconds keep their fraction, which no vector is about.
            (Some(Lifetime::Until(time)), Some(Lifetime::Until(_))) => at(time.as_secs()),
            (other, _) => other,
        };
        assert_eq!(lifetime_, lifetime, "{fields}");
    }
    for (fields, field) in [
        (r#","expires_in":"soon""#, "expires_in"),
        (r#","expires_in":true"#, "expires_in"),
        (r#","expires_in":[60]"#, "expires_in"),
        (r#","expires_in":{"seconds":60}"#, "expires_in"),
        (
            r#","expires_in":"1h","expires_on":1767225600"#,
            "expires_in",
        ),
        (r#","expires_on":"tomorrow""#, "expires_on"),
        (r#","expires":[]"#, "expires"),
        (r#","expiresAt":false"#, "expiresAt"),
        (r#","scope":7"#, "scope"),
        (r#","scope":[1]"#, "scope"),
        (r#","scope":["a b"]"#, "scope"),
        (r#","scope":{"a":true}"#, "scope"),
        (r#","scope":"a\u0000b""#, "scope"),
    ] {
        assert_eq!(
            with(fields).unwrap_err().flaw,
            Flaw::Field(field),
            "{fields}"
        );
    }
}

#[test]
fn refresh_hints_are_only_hints() {
    for (fields, seconds) in [
        ("", None),
        (r#","refresh_in":1800"#, Some(1800)),
        (r#","refresh_in":"1800""#, Some(1800)),
        (r#","refresh_in":-1"#, Some(0)),
        (r#","refresh_in":"soon""#, None),
        (r#","refresh_in":[]"#, None),
    ] {
        let hint = with(fields).unwrap().refresh_in;
        assert_eq!(hint.map(|hint| hint.as_secs()), seconds, "{fields}");
    }
}

#[test]
fn scopes_as_text_list_and_with_commas() {
    for (fields, scopes) in [
        ("", None),
        (r#","scope":null"#, None),
        (r#","scope":"""#, Some("")),
        (r#","scope":"read""#, Some("read")),
        (r#","scope":" write  read ""#, Some("read write")),
        (r#","scope":"repo,gist""#, Some("gist repo")),
        (r#","scope":"repo,""#, Some("repo")),
        (r#","scope":"a,b c""#, Some("a,b c")),
        (r#","scope":["write","read"]"#, Some("read write")),
        (r#","scope":[]"#, Some("")),
    ] {
        let answer = with(fields).unwrap();
        let granted = answer.scopes.map(|scopes| scopes.to_string());
        assert_eq!(granted.as_deref(), scopes, "{fields}");
    }
    let literal = Leniency {
        commas_separate_scopes: false,
        ..STRICT
    };
    let body = br#"{"access_token":"t","token_type":"bearer","scope":"a,b"}"#;
    let scopes = parse(200, JSON, body, literal).unwrap().scopes.unwrap();
    assert_eq!(scopes.to_string(), "a,b");
}

#[test]
fn token_types() {
    let body = |token_type: &str| format!(r#"{{"access_token":"t"{token_type}}}"#);
    for (token_type, strict, lenient) in [
        (r#","token_type":"Bearer""#, true, true),
        (r#","token_type":"bearer""#, true, true),
        (r#","token_type":"BEARER""#, true, true),
        ("", false, true),
        (r#","token_type":null"#, false, true),
        (r#","token_type":"""#, false, true),
        (r#","token_type":"N_A""#, false, false),
        (r#","token_type":"DPoP""#, false, false),
        (r#","token_type":"mac""#, false, false),
        (r#","token_type":"Bearer ""#, false, false),
        (r#","token_type":7"#, false, false),
        (r#","token_type":["Bearer"]"#, false, false),
    ] {
        for (leniency, accepted) in [(STRICT, strict), (LENIENT, lenient)] {
            let outcome = parse(200, JSON, body(token_type).as_bytes(), leniency);
            match outcome {
                Ok(_) => assert!(accepted, "{token_type}"),
                Err(failure) => {
                    let named = token_type.contains(':') && !token_type.contains("null");
                    let flaw = if named {
                        Flaw::TokenType
                    } else {
                        Flaw::NoTokenType
                    };
                    assert!(!accepted && failure.flaw == flaw, "{token_type}");
                }
            }
        }
    }
}

#[test]
fn tokens_that_are_none() {
    let typed = |token: &str| format!(r#"{{"token_type":"Bearer"{token}}}"#);
    let long = format!(r#","access_token":"{}""#, "a".repeat(16 * 1024));
    for (token, expected) in [
        ("", Flaw::NoToken),
        (r#","access_token":null"#, Flaw::NoToken),
        (r#","access_token":"""#, Flaw::NoToken),
        (r#","access_token":7"#, Flaw::Field("access_token")),
        (r#","access_token":-7"#, Flaw::Field("access_token")),
        (r#","access_token":1.5"#, Flaw::Field("access_token")),
        (r#","access_token":true"#, Flaw::Field("access_token")),
        (r#","access_token":["t"]"#, Flaw::Field("access_token")),
        (r#","access_token":{"t":"t"}"#, Flaw::Field("access_token")),
        (
            r#","access_token":"a b""#,
            Flaw::Token(TokenFlaw::NotPrintable),
        ),
        (
            r#","access_token":"a\n""#,
            Flaw::Token(TokenFlaw::NotPrintable),
        ),
        (
            r#","access_token":"\u00e4""#,
            Flaw::Token(TokenFlaw::NotPrintable),
        ),
        (r#","authed_user":{"access_token":"t"}"#, Flaw::NoToken),
        (&long, Flaw::Token(TokenFlaw::TooLong)),
    ] {
        assert_eq!(flaw(200, JSON, typed(token).as_bytes()), expected);
    }
}

#[test]
fn an_error_wins_whatever_the_status() {
    use ErrorCode as E;
    for (status, content_type, body, code) in [
        (400, JSON, r#"{"error":"invalid_client"}"#, E::InvalidClient),
        (
            401,
            JSON,
            r#"{"error":"invalid_client","error_description":"x"}"#,
            E::InvalidClient,
        ),
        (400, JSON, r#"{"error":"invalid_grant"}"#, E::InvalidGrant),
        (400, JSON, r#"{"error":"invalid_scope"}"#, E::InvalidScope),
        (400, JSON, r#"{"error":"invalid_target"}"#, E::InvalidTarget),
        (
            400,
            JSON,
            r#"{"error":"invalid_request"}"#,
            E::InvalidRequest,
        ),
        (
            400,
            JSON,
            r#"{"error":"unauthorized_client"}"#,
            E::UnauthorizedClient,
        ),
        (
            400,
            JSON,
            r#"{"error":"unsupported_grant_type"}"#,
            E::UnsupportedGrantType,
        ),
        (400, JSON, r#"{"error":"use_dpop_nonce"}"#, E::UseDpopNonce),
        (500, JSON, r#"{"error":"server_error"}"#, E::ServerError),
        (
            503,
            JSON,
            r#"{"error":"temporarily_unavailable"}"#,
            E::TemporarilyUnavailable,
        ),
        (400, JSON, r#"{"error":"app_session_terminated"}"#, E::Other),
        (
            200,
            JSON,
            r#"{"error":"invalid_client","access_token":"t","token_type":"Bearer"}"#,
            E::InvalidClient,
        ),
        (
            200,
            JSON,
            r#"{"error":"invalid_client","access_token":7}"#,
            E::InvalidClient,
        ),
        (
            200,
            FORM,
            "error=bad_verification_code&error_description=x",
            E::InvalidGrant,
        ),
        (
            200,
            FORM,
            "error=incorrect_client_credentials",
            E::InvalidClient,
        ),
        (
            200,
            JSON,
            r#"{"ok":false,"error":"invalid_client_id"}"#,
            E::Other,
        ),
        (200, JSON, r#"{"ok":false}"#, E::Other),
        (
            200,
            JSON,
            r#"{"ok":false,"access_token":"t","token_type":"Bearer"}"#,
            E::Other,
        ),
        (
            200,
            FORM,
            "ok=false&access_token=t&token_type=bearer",
            E::Other,
        ),
        (
            400,
            JSON,
            r#"{"error":{"message":"x","code":190}}"#,
            E::Other,
        ),
        (400, JSON, r#"{"error":7}"#, E::Other),
        (400, JSON, r#"{"error":true}"#, E::Other),
        (400, JSON, r#"{"error":["invalid_client"]}"#, E::Other),
        (
            400,
            Some("text/html"),
            r#"{"error":"invalid_client"}"#,
            E::InvalidClient,
        ),
        (
            400,
            None,
            r#"{"error":" invalid_client "}"#,
            E::InvalidClient,
        ),
        (
            400,
            Some("text/plain"),
            "error=invalid_client",
            E::InvalidClient,
        ),
    ] {
        let expected = Flaw::Refused(code);
        assert_eq!(
            flaw(status, content_type, body.as_bytes()),
            expected,
            "{body}"
        );
        assert_eq!(error_in(content_type, body.as_bytes()), Some(code));
    }
    // These report no error.
    for fields in [
        r#","error":null"#,
        r#","error":"""#,
        r#","error":false"#,
        r#","ok":true"#,
    ] {
        assert!(with(fields).is_ok(), "{fields}");
    }
    let form = b"access_token=t&token_type=bearer&ok=true&error=";
    assert!(parse(200, FORM, form, STRICT).is_ok());
}

#[test]
fn bodies_that_are_no_answer() {
    let deep = format!(r#"{{"scope":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let large = format!(r#"{{"a":"{}"}}"#, "a".repeat(MAX_BODY));
    for (content_type, body, expected) in [
        (JSON, "", Flaw::Empty),
        (JSON, " \r\n", Flaw::Empty),
        (JSON, "\u{feff}", Flaw::Empty),
        (JSON, "<html><body>sign in</body></html>", Flaw::Html),
        (None, "<!DOCTYPE html>", Flaw::Html),
        (JSON, "[]", Flaw::NotAnAnswer),
        (JSON, r#""t""#, Flaw::NotAnAnswer),
        (JSON, "null", Flaw::NotAnAnswer),
        (JSON, "access_token=t&token_type=bearer", Flaw::NotAnAnswer),
        (FORM, "hello", Flaw::NotAnAnswer),
        (JSON, "{", Flaw::Malformed),
        (JSON, "{}}", Flaw::Malformed),
        (
            JSON,
            r#"{"access_token":"t","token_type":"Bearer"} x"#,
            Flaw::Malformed,
        ),
        (
            JSON,
            r#"{"access_token":"t","token_type":"Bearer","expires_in":1e999}"#,
            Flaw::Malformed,
        ),
        (
            JSON,
            r#"{"access_token":"t","token_type":"Bearer",}"#,
            Flaw::Malformed,
        ),
        (
            JSON,
            r#"{"access_token":"\ud800","token_type":"Bearer"}"#,
            Flaw::Malformed,
        ),
        (
            JSON,
            r#"{"access_token":"t","access_token":"u","token_type":"Bearer"}"#,
            Flaw::Repeated,
        ),
        (
            JSON,
            r#"{"access_token":"t","access\u005ftoken":"u","token_type":"Bearer"}"#,
            Flaw::Repeated,
        ),
        (
            JSON,
            r#"{"x":1,"x":1,"access_token":"t","token_type":"Bearer"}"#,
            Flaw::Repeated,
        ),
        (
            JSON,
            r#"{"error":"invalid_client","error":"invalid_scope"}"#,
            Flaw::Repeated,
        ),
        (
            FORM,
            "access_token=t&token_type=bearer&access%5Ftoken=u",
            Flaw::Repeated,
        ),
        (FORM, "token_type=bearer&access_token=", Flaw::NoToken),
        (
            FORM,
            "token_type=bearer&access_token=%FF",
            Flaw::Token(TokenFlaw::NotPrintable),
        ),
        (JSON, "{}", Flaw::NoTokenType),
        (JSON, &deep, Flaw::Malformed),
        (JSON, &large, Flaw::TooLong),
    ] {
        assert_eq!(
            flaw(200, content_type, body.as_bytes()),
            expected,
            "{body:.80}"
        );
    }
    let invalid = b"{\"access_token\":\"\xFF\",\"token_type\":\"Bearer\"}";
    assert_eq!(flaw(200, JSON, invalid), Flaw::Malformed);
}

#[test]
fn without_an_error_the_status_decides() {
    for (status, body, html) in [
        (500, "", false),
        (503, "<html>", true),
        (403, "<html>rate limit</html>", true),
        (404, r#"{"message":"not found"}"#, false),
        (302, "", false),
        (429, "slow down", false),
        (400, "{", false),
        (199, r#"{"access_token":"t","token_type":"Bearer"}"#, false),
        (300, r#"{"access_token":"t","token_type":"Bearer"}"#, false),
        (500, r#"{"access_token":"t","token_type":"Bearer"}"#, false),
    ] {
        assert_eq!(
            flaw(status, JSON, body.as_bytes()),
            Flaw::Status { html },
            "{status} {body}"
        );
    }
    assert_eq!(error_in(JSON, b""), None);
    assert_eq!(error_in(None, b"<html>"), None);
}

#[test]
fn tokens_arrive_byte_for_byte() {
    for (status, content_type, body, token) in [
        (
            200,
            JSON,
            r#"{"access_token":"a.b-c_d~e+f/g==","token_type":"Bearer"}"#,
            "a.b-c_d~e+f/g==",
        ),
        (
            201,
            JSON,
            r#"{"access_token":"ya29.\/x\u0041","token_type":"Bearer"}"#,
            "ya29./xA",
        ),
        (
            200,
            JSON,
            "\u{feff} {\"access_token\":\"t\",\"token_type\":\"Bearer\"}\n",
            "t",
        ),
        (
            200,
            Some("text/html"),
            r#"{"access_token":"t","token_type":"Bearer"}"#,
            "t",
        ),
        (
            200,
            Some("application/foo+json"),
            r#"{"access_token":"t","token_type":"Bearer"}"#,
            "t",
        ),
        (200, FORM, "access_token=a%2Fb+&token_type=bearer", "-"),
        (
            200,
            FORM,
            "access_token=a%2Fb%2B&token_type=bearer&scope=read+write",
            "a/b+",
        ),
        (
            200,
            Some("text/plain; charset=utf-8"),
            "token_type=bearer&access_token=gho_x",
            "gho_x",
        ),
        (
            200,
            None,
            "access_token=gho_x&token_type=bearer&expires_in=60",
            "gho_x",
        ),
        (
            200,
            JSON,
            r#"{"refresh_token":"r","id_token":{"a":[1]},"access_token":"t","token_type":"Bearer"}"#,
            "t",
        ),
    ] {
        match parse(status, content_type, body.as_bytes(), STRICT) {
            Ok(answer) => {
                assert_eq!(answer.access_token.into_bytes(), token.as_bytes(), "{body}");
            }
            Err(failure) => {
                assert_eq!(token, "-", "{body}");
                assert_eq!(failure.flaw, Flaw::Token(TokenFlaw::NotPrintable));
            }
        }
    }
    let answer = parse(
        200,
        None,
        b"access_token=t&token_type=bearer&expires_in=60&scope=b+a",
        STRICT,
    )
    .unwrap();
    assert_eq!(answer.lifetime, secs(60));
    assert_eq!(answer.scopes.unwrap().to_string(), "a b");
}

/// The token, lifetime and scopes of an answer whose token is where `pointer` says.
fn pointed(pointer: &str, content_type: Option<&str>, body: &str) -> Result<String, Flaw> {
    let pointer = pointer.parse().unwrap();
    let answer = parse_at(200, content_type, body.as_bytes(), LENIENT, Some(&pointer));
    answer.map_err(|failure| failure.flaw).map(|answer| {
        let token = answer.access_token.into_bytes();
        let lifetime = answer.lifetime.map(|lifetime| match lifetime {
            Lifetime::For(lifetime) | Lifetime::Until(lifetime) => lifetime.as_secs(),
        });
        let scopes = answer.scopes.map(|scopes| scopes.to_string());
        format!(
            "{} {} {}",
            std::str::from_utf8(&token).unwrap(),
            lifetime.map_or("-".to_owned(), |lifetime| lifetime.to_string()),
            scopes.unwrap_or("-".to_owned())
        )
    })
}

#[test]
fn a_pointer_leads_to_the_token_and_the_fields_beside_it() {
    let slack = r#"{"ok":true,"access_token":"xoxb-bot","token_type":"bot","scope":"chat","expires_in":9,
        "authed_user":{"id":"U1","access_token":"xoxp-user","token_type":"user","scope":"search",
        "expires_in":43200}}"#;
    let user = "/authed_user/access_token";
    for (pointer, body, expected) in [
        (user, slack, Ok("xoxp-user 43200 search")),
        ("/access_token", slack, Ok("xoxb-bot 9 chat")),
        // Fields that are absent beside the token are taken from around it, in any order of the fields.
        (
            "/a/b/t",
            r#"{"a":{"b":{"t":"abc","expires_at":2000000000},"scope":"in"},"scope":"out","expires_in":5}"#,
            Ok("abc 2000000000 in"),
        ),
        (
            "/data/token",
            r#"{"expires_in":60,"data":{"token":"abc"},"scope":"r"}"#,
            Ok("abc 60 r"),
        ),
        (
            "/l/1/t",
            r#"{"l":[7,{"t":"abc"},{"t":"no"}]}"#,
            Ok("abc - -"),
        ),
        ("/l/1", r#"{"l":["no","abc"]}"#, Ok("abc - -")),
        ("/x~1y", r#"{"x/y":"abc","x":{"y":"no"}}"#, Ok("abc - -")),
        // The usual place is not another chance.
        (user, r#"{"access_token":"no"}"#, Err(Flaw::NoToken)),
        (user, r#"{"authed_user":"no"}"#, Err(Flaw::NoToken)),
        (user, r#"{"authed_user":null}"#, Err(Flaw::NoToken)),
        (
            user,
            r#"{"authed_user":{"access_token":""}}"#,
            Err(Flaw::NoToken),
        ),
        (
            user,
            r#"{"authed_user":{"access_token":7}}"#,
            Err(Flaw::Field("access_token")),
        ),
        ("/l/01", r#"{"l":["no","no"]}"#, Err(Flaw::NoToken)),
        ("/l/-", r#"{"l":["no","no"]}"#, Err(Flaw::NoToken)),
        ("/l/9", r#"{"l":["no","no"]}"#, Err(Flaw::NoToken)),
        (
            "/l/18446744073709551616",
            r#"{"l":["no"]}"#,
            Err(Flaw::NoToken),
        ),
        // A failure is one at whatever depth.
        (
            user,
            r#"{"ok":false,"authed_user":{"ok":true,"access_token":"no"}}"#,
            Err(Flaw::Refused(ErrorCode::Other)),
        ),
        (
            user,
            r#"{"authed_user":{"access_token":"no","error":"invalid_grant"},"ok":true}"#,
            Err(Flaw::Refused(ErrorCode::InvalidGrant)),
        ),
        (
            user,
            r#"{"authed_user":{"access_token":"a","access_token":"b"}}"#,
            Err(Flaw::Repeated),
        ),
        (
            user,
            r#"{"authed_user":{"access_token":"a"},"authed_user":{"access_token":"b"}}"#,
            Err(Flaw::Repeated),
        ),
        (
            user,
            r#"{"authed_user":{"access_token":"a","token_type":"DPoP"}}"#,
            Err(Flaw::TokenType),
        ),
    ] {
        let expected = expected.map(str::to_owned);
        assert_eq!(pointed(pointer, JSON, body), expected, "{pointer} {body}");
    }
    let form = "access_token=no&token=abc&scope=r";
    assert_eq!(pointed("/token", FORM, form), Ok("abc - r".to_owned()));
    assert_eq!(pointed("/a/token", FORM, form), Err(Flaw::NoToken));
}

#[test]
fn an_owner_in_place_of_the_type_is_accepted_only_with_both_settings() {
    let body = br#"{"access_token":"xoxb-bot","token_type":"bot"}"#;
    let pointer = "/access_token".parse().unwrap();
    for (leniency, pointer, accepted) in [
        (LENIENT, Some(&pointer), true),
        (STRICT, Some(&pointer), false),
        (LENIENT, None, false),
    ] {
        let answer = parse_at(200, JSON, body, leniency, pointer);
        assert_eq!(answer.is_ok(), accepted, "{leniency:?} {pointer:?}");
    }
}

#[test]
fn failures_say_codes_and_lengths() {
    let failure = parse(400, JSON, br#"{"error":"sentinel-7f3a"}"#, STRICT).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "status 400, 25 bytes: refused with code other"
    );
    let answer = with("").unwrap();
    assert!(!format!("{answer:?}").contains("t0ken"));
}

/// A value of a field, in the syntax of JSON, with the sentinel in half of them.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:e}")),
        "[0-9]{0,30}".prop_map(|text| format!("\"{text}\"")),
        "[ -~]{0,20}".prop_map(|text| format!("\"SENTINEL{text}\"")),
        Just("[\"SENTINEL\"]".to_owned()),
        Just("{\"SENTINEL\":[\"SENTINEL\"]}".to_owned()),
        Just("\"invalid_SENTINEL\"".to_owned()),
        Just("SENTINEL".to_owned()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 10] = [
        "access_token",
        "token_type",
        "expires_in",
        "expires_on",
        "expires",
        "scope",
        "error",
        "ok",
        "refresh_token",
        "SENTINEL",
    ];
    proptest::sample::select(&KNOWN[..]).prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer_or_a_failure(
        status in 100_u16..600,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        content_type in "(application/json|text/plain|.{0,20})",
    ) {
        let _outcome = parse(status, Some(&content_type), &bytes, LENIENT);
        let pointer = "/a/0".parse().unwrap();
        let _outcome = parse_at(status, Some(&content_type), &bytes, LENIENT, Some(&pointer));
        let _error = error_in(None, &bytes);
    }

    #[test]
    fn no_text_of_a_body_gets_into_a_failure_or_a_debug(
        status in prop_oneof![Just(200_u16), Just(400), Just(500)],
        fields in proptest::collection::vec((name(), value()), 0..8),
    ) {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let form: Vec<String> = fields.iter().map(|field| field.replace("\":", "=").replace('"', "")).collect();
        for (content_type, body) in [(JSON, format!("{{{}}}", fields.join(","))), (FORM, form.join("&"))] {
            match parse(status, content_type, body.as_bytes(), LENIENT) {
                // Scopes are no secret.
                Ok(answer) => {
                    let shown = format!("{:?} {:?} {:?}", answer.access_token, answer.shape, answer.lifetime);
                    prop_assert!(!shown.contains("SENTINEL"));
                }
                Err(failure) => {
                    let shown = format!("{failure} {failure:?}");
                    prop_assert!(!shown.contains("SENTINEL"));
                }
            }
        }
    }
}

#[test]
fn a_field_that_is_too_long_is_not_treated_as_absent() {
    let long = "a".repeat(20 * 1024);
    for (field, expected) in [
        ("scope", Flaw::Field("scope")),
        ("token_type", Flaw::TokenType),
        ("expires_in", Flaw::Field("expires_in")),
        ("error", Flaw::Refused(ErrorCode::Other)),
    ] {
        let typed = if field == "token_type" {
            ""
        } else {
            "&token_type=bearer"
        };
        let form = format!("access_token=t0ken{typed}&{field}={long}");
        let typed = if field == "token_type" {
            ""
        } else {
            r#","token_type":"bearer""#
        };
        let json = format!(r#"{{"access_token":"t0ken"{typed},"{field}":"{long}"}}"#);
        for (content_type, body) in [(FORM, form), (JSON, json)] {
            let failure = parse(200, content_type, body.as_bytes(), LENIENT).unwrap_err();
            assert_eq!(failure.flaw, expected, "{field} {content_type:?}");
        }
    }
}
