//! The value of the `Authorization` header of `client_secret_basic`.
//!
//! RFC 6749 §2.3.1 wants both halves form-encoded before they are joined and put in base64, which many clients forget and
//! some issuers do not undo; hence [`BasicEncoding`]. Never holds more than the one value it makes, which wipes itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// How the halves of `client_secret_basic` are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicEncoding {
    /// Form-encoded, as RFC 6749 §2.3.1 demands.
    Rfc6749,
    /// As they are, for issuers that do not decode. An identifier with a colon is ambiguous then.
    Raw,
}

/// `Basic …` for this client.
#[must_use]
pub fn authorization(id: &[u8], secret: &[u8], encoding: BasicEncoding) -> Zeroizing<Vec<u8>> {
    // Room for the longest encoding, so that the plaintext is never moved and left behind.
    let room = id.len().saturating_add(secret.len()).saturating_mul(3);
    let mut joined = Zeroizing::new(Vec::with_capacity(room.saturating_add(1)));
    match encoding {
        BasicEncoding::Rfc6749 => {
            encode(&mut joined, id);
            joined.push(b':');
            encode(&mut joined, secret);
        }
        BasicEncoding::Raw => {
            joined.extend_from_slice(id);
            joined.push(b':');
            joined.extend_from_slice(secret);
        }
    }
    let room = joined.len().saturating_mul(2).saturating_add(16);
    let mut value = Zeroizing::new(String::with_capacity(room));
    value.push_str("Basic ");
    STANDARD.encode_string(joined.as_slice(), &mut value);
    Zeroizing::new(std::mem::take(&mut *value).into_bytes())
}

/// Appends `value` form-encoded. A space becomes `%20`: issuers that undo percent-encoding alone would keep a `+`.
fn encode(out: &mut Vec<u8>, value: &[u8]) {
    for piece in form_urlencoded::byte_serialize(value) {
        let piece = if piece == "+" { "%20" } else { piece };
        out.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(id: &str, secret: &str, encoding: BasicEncoding) -> String {
        let value = authorization(id.as_bytes(), secret.as_bytes(), encoding);
        let text = std::str::from_utf8(&value).unwrap();
        let joined = STANDARD.decode(text.strip_prefix("Basic ").unwrap());
        String::from_utf8(joined.unwrap()).unwrap()
    }

    #[test]
    fn both_halves_are_form_encoded() {
        for (id, secret, joined) in [
            ("billing", "hunter2", "billing:hunter2"),
            ("cc:b&sic+2", "a b", "cc%3Ab%26sic%2B2:a%20b"),
            ("a", "p+s s%2F:w", "a:p%2Bs%20s%252F%3Aw"),
            ("ü", "*-._~", "%C3%BC:*-._%7E"),
            ("", "", ":"),
        ] {
            assert_eq!(decoded(id, secret, BasicEncoding::Rfc6749), joined);
        }
    }

    #[test]
    fn raw_halves_stay_as_they_are() {
        assert_eq!(
            decoded("a", "p+s s%2F:w", BasicEncoding::Raw),
            "a:p+s s%2F:w"
        );
    }
}
