//! Answers that were encoded before.
//!
//! Owns the encoding of `GetTokenResponse`. Everything in it but the lifetime left and the freshness is the same for every
//! caller of a token, and protobuf lets the fields of a message come in any order: the constant part is encoded once and kept
//! beside the token, and the two others are appended for each answer. Decoding is prost's.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use claviger_proto::v1;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use crate::grpc::convert;
use claviger_core::audit::Released;
use claviger_core::tokens::{Answer, Held};

/// Field numbers of `GetTokenResponse` and of `google.protobuf.Duration`.
const LIFETIME_LEFT: u32 = 4;
const FRESHNESS: u32 = 5;
const SECONDS: u32 = 1;

/// Tokens are about a kilobyte; the buffer grows when one is larger.
const BUFFER_BYTES: usize = 2 * 1024;
const YIELD_BYTES: usize = 32 * 1024;

/// A token's answer, ready to be written.
pub(crate) struct Encoded {
    constant: Bytes,
    lifetime_left: Duration,
    freshness: v1::Freshness,
}

impl Encoded {
    /// Takes the constant part from beside the token, encoding it if this is the first answer.
    pub(crate) fn new(answer: &Released<Answer>) -> Self {
        Self {
            constant: answer.token.rendered(constant).clone(),
            lifetime_left: answer.lifetime_left,
            freshness: convert::freshness(answer.freshness),
        }
    }
}

fn constant(held: &Held) -> Bytes {
    convert::token_constant(held).encode_to_vec().into()
}

/// Encodes [`Encoded`], decodes `D`.
#[derive(Debug)]
pub(crate) struct AnswerCodec<D>(PhantomData<D>);

impl<D> AnswerCodec<D> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<D: Message + Default + Send + 'static> Codec for AnswerCodec<D> {
    type Encode = Encoded;
    type Decode = D;
    type Encoder = AnswerEncoder;
    type Decoder = ProstDecoder<D>;

    fn encoder(&mut self) -> AnswerEncoder {
        AnswerEncoder
    }

    fn decoder(&mut self) -> ProstDecoder<D> {
        ProstDecoder::new(BufferSettings::default())
    }
}

/// Writes the constant part, then the rest.
#[derive(Debug)]
pub(crate) struct AnswerEncoder;

impl Encoder for AnswerEncoder {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, item: Encoded, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let seconds = item.lifetime_left.as_secs();
        let body = if seconds == 0 {
            0
        } else {
            1 + encoded_len_varint(seconds)
        };
        buffer.reserve(item.constant.len().saturating_add(32));
        buffer.put_slice(&item.constant);
        encode_key(LIFETIME_LEFT, WireType::LengthDelimited, buffer);
        encode_varint(u64::try_from(body).unwrap_or(0), buffer);
        if seconds != 0 {
            encode_key(SECONDS, WireType::Varint, buffer);
            encode_varint(seconds, buffer);
        }
        encode_key(FRESHNESS, WireType::Varint, buffer);
        encode_varint(
            u64::try_from(i32::from(item.freshness)).unwrap_or(0),
            buffer,
        );
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tonic::codec::EncodeBody;

    use super::*;

    /// What a client reads must be the same message, however it was put together.
    #[tokio::test]
    async fn an_answer_put_together_decodes_as_one_message() {
        for seconds in [0, 1, 127, 128, 3600, u64::from(u32::MAX)] {
            let whole = v1::GetTokenResponse {
                access_token: "tok".repeat(500),
                token_type: "Bearer".into(),
                expires_at: Some(prost_types::Timestamp {
                    seconds: 1_767_225_600,
                    nanos: 5,
                }),
                scopes: vec!["a".into(), "b".into()],
                generation: 7,
                fingerprint: "hmac-sha256:00".into(),
                ..v1::GetTokenResponse::default()
            };
            let encoded = Encoded {
                constant: whole.encode_to_vec().into(),
                lifetime_left: Duration::from_secs(seconds),
                freshness: v1::Freshness::Stale,
            };
            let stream = tokio_stream::once(Ok(encoded));
            let body = EncodeBody::new_server(
                AnswerEncoder,
                stream,
                None,
                tonic::codec::SingleMessageCompressionOverride::default(),
                None,
            );
            let bytes = body.collect().await.unwrap().to_bytes();
            // Five bytes of gRPC framing stand before the message.
            let read = v1::GetTokenResponse::decode(bytes.slice(5..)).unwrap();
            let expected = v1::GetTokenResponse {
                lifetime_left: Some(prost_types::Duration {
                    seconds: i64::try_from(seconds).unwrap(),
                    nanos: 0,
                }),
                freshness: v1::Freshness::Stale.into(),
                ..whole
            };
            assert_eq!(read, expected);
        }
    }
}
