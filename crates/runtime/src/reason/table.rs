//! The rows of the table of reasons, one reason each.
//!
//! Owns the list alone. A macro makes the closed enum, the list of all and the rows from it, so that a reason without a row,
//! or a row without a reason, cannot be written.
//!
//! Never computes anything. Next: `docs/errors.md`, which shows the same to operators.

use crate::reason::{Exit, Row, RpcCode};

macro_rules! reasons {
    ($($(#[$when:meta])* $reason:ident: $label:literal $word:literal, $code:ident $http:literal, $exit:ident $waiting:ident, $remedy:literal;)*) => {
        /// A reason for callers. Closed: a new one must be handled everywhere.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$when])* $reason,)*
        }

        impl Reason {
            /// All of them, in the order of `docs/errors.md`.
            pub const ALL: &'static [Self] = &[$(Self::$reason),*];

            pub(super) fn row(self) -> Row {
                match self {
                    $(Self::$reason => Row {
                        word: $word,
                        label: $label,
                        code: RpcCode::$code,
                        http: $http,
                        exit: Exit::$exit,
                        waiting_helps: reasons!(@$waiting),
                        remedy: $remedy,
                    },)*
                }
            }
        }
    };
    (@wait) => { true };
    (@act) => { false };
}

// Lower-case and upper-case word; gRPC code and HTTP status; exit code, and whether to wait or to act; remedy.
reasons! {
    /// No rule allows it, or the name does not exist.
    Denied: "denied" "DENIED", PermissionDenied 403, Denied act,
        "Ask an operator to run `claviger explain` for this process, and to add a rule if it should have access.";
    /// The process that connected has exited, or changed its user or cgroup.
    PeerChanged: "peer_changed" "PEER_CHANGED", Unauthenticated 401, Denied act,
        "Connect from the process that uses the answer; connections cannot be passed on.";
    /// The process runs as the overflow user, which stands for every user without a number on this host.
    Unidentified: "unidentified" "UNIDENTIFIED", Unauthenticated 401, Denied act,
        "Run the program as a user of its own, and the daemon in the host's user namespace: the kernel reports user 65534 (often `nobody`) for every user that it cannot name.";
    /// The header is missing, or a proxy or browser made the request.
    NotForClaviger: "not_for_claviger" "NOT_FOR_CLAVIGER", PermissionDenied 403, Denied act,
        "Connect to the socket directly and send the header `claviger-request: true`, which proves that the request was made for claviger.";
    /// A rule allows a token that the configuration does not define.
    UnknownToken: "unknown_token" "UNKNOWN_TOKEN", PermissionDenied 403, Denied act,
        "Add the token to the configuration, or correct its name.";
    /// A rule allows a secret that the configuration does not define.
    UnknownSecret: "unknown_secret" "UNKNOWN_SECRET", PermissionDenied 403, Denied act,
        "Add the secret to the configuration, or correct its name.";
    /// A field of the request is not valid.
    InvalidRequest: "invalid_request" "INVALID_REQUEST", InvalidArgument 400, Usage act,
        "Correct the field that the message names.";
    /// The request's message exceeds the limit.
    MessageTooLarge: "message_too_large" "MESSAGE_TOO_LARGE", InvalidArgument 413, Usage act,
        "Send a smaller message; the limit is `server.limits.message_bytes` of the daemon's configuration.";
    /// The request's message cannot be decoded.
    MalformedMessage: "malformed_message" "MALFORMED_MESSAGE", InvalidArgument 400, Usage act,
        "Send one whole message that the daemon's .proto files describe; server reflection has them.";
    /// The scopes exceed those of the token or of the rule.
    ScopesNotConfigured: "scopes_not_configured" "SCOPES_NOT_CONFIGURED", InvalidArgument 400, Usage act,
        "Request scopes that the token's definition and the rule both have.";
    /// gRPC: the daemon has no such method.
    UnknownMethod: "unknown_method" "UNKNOWN_METHOD", Unimplemented 404, Usage act,
        "Call a method that exists; server reflection lists them.";
    /// gRPC: the other socket serves this method.
    WrongSocket: "wrong_socket" "WRONG_SOCKET", Unimplemented 404, Usage act,
        "Programs use the broker socket, operators the admin socket.";
    /// gRPC: the request's message is compressed.
    UnknownCompression: "unknown_compression" "UNKNOWN_COMPRESSION", Unimplemented 415, Usage act,
        "Send messages uncompressed; the daemon accepts no compression.";
    /// HTTP: the path takes another method.
    MethodNotAllowed: "method_not_allowed" "METHOD_NOT_ALLOWED", Unimplemented 405, Usage act,
        "Use the method that the `Allow` header names.";
    /// HTTP: there is no such path, or the admin socket has no metadata under that name.
    NoSuchPath: "not_found" "NOT_FOUND", NotFound 404, Usage act,
        "Use a path that exists; the message lists them.";
    /// No token of this issuer lives as long as the caller wants.
    LifetimeTooShort: "lifetime_too_short" "LIFETIME_TOO_SHORT", FailedPrecondition 409, Usage act,
        "Request a smaller `min_remaining`, or raise the lifetime of tokens at the issuer.";
    /// Too many requests of this user, or of all, are open.
    TooManyRequests: "too_many_requests" "TOO_MANY_REQUESTS", ResourceExhausted 429, Unavailable wait,
        "Wait until open requests of this user are answered; read their answers, and close streams that are not read.";
    /// The caller is over its request rate.
    RateLimited: "rate_limited" "RATE_LIMITED", ResourceExhausted 429, Unavailable wait,
        "Wait, and send fewer requests; answers from the cache are not counted.";
    /// The issuer answered 429, or the client is over `requests_per_minute`.
    IssuerLimited: "issuer_limited" "ISSUER_LIMITED", ResourceExhausted 429, Unavailable wait,
        "Wait; if it stays, raise the client's limit at the issuer, or `requests_per_minute`.";
    /// A renewal was forced too often.
    RenewalLimited: "renewal_limited" "RENEWAL_LIMITED", ResourceExhausted 429, Unavailable wait,
        "Report a token that was refused, instead of forcing its renewal.";
    /// gRPC: the request took longer than its method may.
    RequestTimeout: "timeout" "TIMEOUT", DeadlineExceeded 408, Unavailable wait,
        "Send the request's message at once; if it was sent, try again.";
    /// The issuer has not answered within the caller's time; the daemon keeps trying.
    Pending: "pending" "PENDING", Unavailable 503, Unavailable wait,
        "Wait a moment and try again.";
    /// The daemon is stopping or replaces its configuration.
    Stopping: "stopping" "STOPPING", Unavailable 503, Unavailable wait,
        "Wait a moment and try again.";
    /// The secret has not been fetched since the start.
    NotFetchedYet: "not_fetched_yet" "NOT_FETCHED_YET", Unavailable 503, Unavailable wait,
        "Wait a moment and try again.";
    /// HTTP: the metadata could not be read yet.
    NotReadYet: "not_read_yet" "NOT_READ_YET", Unavailable 503, Unavailable wait,
        "Wait a minute and try again, or run `claviger check`, which says why the metadata cannot be read.";
    /// The client's credential is not available from its backend.
    NoCredential: "no_credential" "NO_CREDENTIAL", Unavailable 503, Unavailable wait,
        "The client's credential is not available: look at the backends in `claviger status`.";
    /// The issuer or backend did not answer in time.
    Timeout: "timeout" "TIMEOUT", Unavailable 503, Unavailable wait,
        "Wait; if it stays, find out why the issuer or backend answers slowly.";
    /// The name of the issuer, resource or proxy has no address, or the resolver did not answer in time.
    NameNotResolved: "name_not_resolved" "NAME_NOT_RESOLVED", Unavailable 503, Unavailable wait,
        "Check the host name in the configuration, and that the resolver of this node, or the one that `dns` names, answers.";
    /// The port of the issuer, resource or proxy is closed.
    ConnectionRefused: "connection_refused" "CONNECTION_REFUSED", Unavailable 503, Unavailable wait,
        "Check that the server runs, and its host and port in the configuration.";
    /// There was no connection to the issuer, resource or proxy in time, TLS handshake included.
    ConnectTimeout: "connect_timeout" "CONNECT_TIMEOUT", Unavailable 503, Unavailable wait,
        "Check that the server runs and that no firewall drops packets to its port; a slow network needs a longer `connect_timeout`.";
    /// The proxy opened no tunnel to the issuer or resource.
    ProxyRefused: "proxy_refused" "PROXY_REFUSED", Unavailable 503, Unavailable wait,
        "Check `proxy`, and that the proxy lets this node connect to the host and port of the endpoint.";
    /// There is no route to the issuer, resource or backend, or the backend cannot be opened now.
    Unreachable: "unreachable" "UNREACHABLE", Unavailable 503, Unavailable wait,
        "Check that this node can reach the issuer, the resource or the backend.";
    /// The TLS handshake failed before a certificate was judged.
    TlsHandshakeFailed: "tls_handshake_failed" "TLS_HANDSHAKE_FAILED", Unavailable 503, Unavailable wait,
        "Check that the server offers TLS 1.2 or 1.3 and requires no client certificate, and that no firewall ends the handshake.";
    /// By this node's clock, the certificate is not valid yet.
    CertificateNotYetValid: "certificate_not_yet_valid" "CERTIFICATE_NOT_YET_VALID", Unavailable 503, Unavailable wait,
        "Check the clock of this node; if it is right, wait, or have the server use a certificate that is valid now.";
    /// The issuer or backend is up but does not serve, or the connection was lost.
    Unavailable: "unavailable" "UNAVAILABLE", Unavailable 503, Unavailable wait,
        "Wait; if it stays, look for the failure at the issuer or backend.";
    /// The answer of the issuer or resource is not an OAuth answer.
    InvalidResponse: "invalid_response" "INVALID_RESPONSE", Unavailable 503, Unavailable wait,
        "Check the endpoint: its answer is too long, or not the JSON that OAuth defines.";
    /// The backend's answer, or the value in it, is not what the reference expects.
    InvalidValue: "invalid_value" "INVALID_VALUE", Unavailable 503, Unavailable wait,
        "Check the value in the backend: a field needs a JSON object, no value may be empty, and versions must not go back.";
    /// The backend allows no more requests.
    BackendRateLimited: "rate_limited" "RATE_LIMITED", Unavailable 503, Unavailable wait,
        "Wait; the backend allows no more requests now.";
    /// A quota of the backend is used up.
    Quota: "quota" "QUOTA", Unavailable 503, Unavailable wait,
        "Wait; if it stays, raise the backend's quota.";
    /// Another writer was faster at the backend.
    Conflict: "conflict" "CONFLICT", Unavailable 503, Unavailable wait,
        "Try again.";
    /// A write was sent and its outcome is unknown.
    InDoubt: "in_doubt" "IN_DOUBT", Unavailable 503, Unavailable wait,
        "Try again.";
    /// The backend has no such secret, version or field.
    SecretNotFound: "not_found" "NOT_FOUND", Unavailable 503, Config act,
        "Create the secret (or the field) in the backend, or correct the reference.";
    /// The version is deleted or disabled in the backend.
    Gone: "gone" "GONE", Unavailable 503, Config act,
        "The version is deleted or disabled: enable it, or refer to another one.";
    /// The backend does not let the daemon read the secret.
    PermissionDenied: "permission_denied" "PERMISSION_DENIED", Unavailable 503, Config act,
        "Let the daemon's identity at the backend read this secret.";
    /// The backend refuses the name or a setting.
    Misconfigured: "misconfigured" "MISCONFIGURED", Unavailable 503, Config act,
        "The backend refuses the name or a setting: correct the configuration.";
    /// The backend refuses the daemon's login.
    Unauthenticated: "unauthenticated" "UNAUTHENTICATED", Unavailable 503, Config act,
        "The backend refuses the daemon's login: check its credential.";
    /// The daemon has no credential for the backend.
    NoCredentials: "no_credentials" "NO_CREDENTIALS", Unavailable 503, Config act,
        "Give the daemon a credential to log in to the backend with.";
    /// The stored value does not decrypt.
    Undecryptable: "undecryptable" "UNDECRYPTABLE", Unavailable 503, Config act,
        "The stored value does not decrypt: check the backend's key.";
    /// The issuer refuses the client's credential.
    InvalidClient: "invalid_client" "INVALID_CLIENT", FailedPrecondition 409, Config act,
        "The issuer refuses the client's credential: check the secret in the backend and the authentication method.";
    /// The issuer refuses the credential or the grant, and does not say which (401 with `unauthorized_client`).
    ClientRefused: "client_refused" "CLIENT_REFUSED", FailedPrecondition 409, Config act,
        "The issuer refuses the client's secret, or the client may not use the grant: check the secret in the backend first, then allow the grant at the issuer.";
    /// The client may not use this grant.
    UnauthorizedClient: "unauthorized_client" "UNAUTHORIZED_CLIENT", FailedPrecondition 409, Config act,
        "Allow the grant for this client at the issuer.";
    /// The issuer does not support the grant.
    UnsupportedGrantType: "unsupported_grant_type" "UNSUPPORTED_GRANT_TYPE", FailedPrecondition 409, Config act,
        "Allow the grant for this client at the issuer.";
    /// The issuer refuses the scopes.
    InvalidScope: "invalid_scope" "INVALID_SCOPE", FailedPrecondition 409, Config act,
        "Request scopes that the issuer gives this client.";
    /// The issuer granted fewer scopes, and `reduced_scope` says to refuse that.
    ScopeReduced: "scope_reduced" "SCOPE_REDUCED", FailedPrecondition 409, Config act,
        "Request scopes that the issuer gives this client.";
    /// The issuer granted more scopes than requested.
    ScopeEscalation: "scope_escalation" "SCOPE_ESCALATION", FailedPrecondition 409, Config act,
        "The issuer granted more than requested; the token was discarded. Narrow the client at the issuer, or list the scopes.";
    /// The issuer refuses the resource (audience).
    InvalidTarget: "invalid_target" "INVALID_TARGET", FailedPrecondition 409, Config act,
        "Check the token's resource against what the issuer knows.";
    /// The issuer refuses the grant.
    InvalidGrant: "invalid_grant" "INVALID_GRANT", FailedPrecondition 409, Config act,
        "The issuer refuses the request: compare the token's definition with the issuer's documentation.";
    /// The issuer does not understand the daemon's request.
    IssuerInvalidRequest: "invalid_request" "INVALID_REQUEST", FailedPrecondition 409, Config act,
        "The issuer refuses the request: compare the token's definition with the issuer's documentation.";
    /// The issuer refuses with another 4xx.
    Refused: "refused" "REFUSED", FailedPrecondition 409, Config act,
        "The issuer refuses the request: compare the token's definition with the issuer's documentation.";
    /// The issuer's token has another type, format or length than configured.
    UnusableToken: "unusable_token" "UNUSABLE_TOKEN", FailedPrecondition 409, Config act,
        "The issuer's token does not fit the configured format: correct `format` or `min_length` of the token, or the client at the issuer.";
    /// The issuer's answer has no `token_type`.
    MissingTokenType: "missing_token_type" "MISSING_TOKEN_TYPE", FailedPrecondition 409, Config act,
        "The issuer's answer has no `token_type`: if its tokens are bearer tokens, set `missing_token_type = \"bearer\"` for this issuer.";
    /// The issuer publishes no metadata, or none that can be used.
    MetadataRefused: "metadata_refused" "METADATA_REFUSED", FailedPrecondition 409, Config act,
        "The issuer publishes no usable metadata at its well-known places: check `issuer`, or set `token_endpoint`.";
    /// The issuer's metadata names another issuer than `issuer`, if only by a slash.
    IssuerMismatch: "issuer_mismatch" "ISSUER_MISMATCH", FailedPrecondition 409, Config act,
        "The metadata names another issuer: if the server is the right one, set `issuer` to exactly what its metadata says.";
    /// The issuer's metadata names an endpoint at `http://`.
    InsecureEndpoint: "insecure_endpoint" "INSECURE_ENDPOINT", FailedPrecondition 409, Config act,
        "The metadata names an endpoint that is not https: have the issuer correct it (behind a proxy, its public address), or set the endpoint.";
    /// The issuer's metadata names no token endpoint.
    NoTokenEndpoint: "no_token_endpoint" "NO_TOKEN_ENDPOINT", FailedPrecondition 409, Config act,
        "The metadata names no token endpoint: check `issuer`, or set `token_endpoint`.";
    /// With `verify_resource`: the resource has no metadata that names it and the issuer.
    ResourceMismatch: "resource_mismatch" "RESOURCE_MISMATCH", FailedPrecondition 409, Config act,
        "The resource has no metadata (RFC 9728) that names exactly this resource and issuer: correct it there, or the token's `resource`.";
    /// The endpoint answers with an HTML page.
    HtmlPage: "html_page" "HTML_PAGE", FailedPrecondition 409, Config act,
        "The endpoint answers with an HTML page, usually of a login, a portal or a proxy: check `issuer` and the endpoints.";
    /// A name or the metadata leads to an address that is not public.
    AddressRefused: "address_refused" "ADDRESS_REFUSED", FailedPrecondition 409, Config act,
        "The address is not public: check DNS and the metadata, or list its network in `dns.allow` of this issuer.";
    /// The endpoint's port does not speak TLS.
    NotTls: "not_tls" "NOT_TLS", FailedPrecondition 409, Config act,
        "The port does not speak TLS; usually it speaks plain HTTP. Correct the host and port of the endpoint.";
    /// No trusted authority issued the server's certificate.
    Untrusted: "untrusted" "UNTRUSTED", FailedPrecondition 409, Config act,
        "No trusted authority issued the server's certificate: set `ca` to a file with the authority's certificate.";
    /// The server's certificate is that of an authority, usually self-signed.
    CertificateSelfSigned: "certificate_self_signed" "CERTIFICATE_SELF_SIGNED", FailedPrecondition 409, Config act,
        "The server uses an authority's own certificate, which is refused even if `ca` has it: give the server a certificate that is not marked as a CA.";
    /// By this node's clock, the server's certificate has expired.
    CertificateExpired: "certificate_expired" "CERTIFICATE_EXPIRED", FailedPrecondition 409, Config act,
        "The server's certificate has expired: have its operator renew it, and check the clock of this node.";
    /// The server's certificate is for another name.
    CertificateNameMismatch: "certificate_name_mismatch" "CERTIFICATE_NAME_MISMATCH", FailedPrecondition 409, Config act,
        "The server's certificate is for another name: configure the name that it has, or have it reissued for this one.";
    /// The server's certificate is malformed, revoked or not for a server.
    CertificateInvalid: "certificate_invalid" "CERTIFICATE_INVALID", FailedPrecondition 409, Config act,
        "The server's certificate is malformed, revoked or not for a server: have its operator replace it.";
    /// The issuer's certificate has none of the pinned keys.
    CertificatePinMismatch: "certificate_pin_mismatch" "CERTIFICATE_PIN_MISMATCH", FailedPrecondition 409, Config act,
        "The issuer's certificate has none of the pinned keys: verify it with the issuer's operator, then add its pin.";
    /// The issuer's endpoint redirects.
    Redirect: "redirect" "REDIRECT", FailedPrecondition 409, Config act,
        "The endpoint redirects, which is never followed: configure its final address.";
    /// `claviger refresh`: the configuration has nothing of that name.
    Unknown: "unknown" "UNKNOWN", NotFound 404, Usage act,
        "Name a token, secret or issuer of the configuration; `claviger status` lists them.";
    /// `claviger refresh --issuer`: the configuration gives the issuer's endpoints.
    Configured: "configured" "CONFIGURED", FailedPrecondition 409, Usage act,
        "The configuration gives this issuer's token endpoint, so its metadata is not read.";
}
