"""A caller in Python: asks the daemon for a token over its socket, and prints what it may about the answer.

    client.py SOCKET NAME

The access token itself goes nowhere. Needs the generated modules of claviger.v1 on PYTHONPATH.
"""

import json
import sys

import grpc

from claviger.v1 import tokens_pb2, tokens_pb2_grpc


def main(socket: str, name: str) -> None:
    metadata = (("claviger-request", "true"),)
    # By default the C core sends the escaped socket path as `:authority`, which strict HTTP/2 servers reject.
    options = (("grpc.default_authority", "claviger"),)
    with grpc.insecure_channel(f"unix:{socket}", options) as channel:
        tokens = tokens_pb2_grpc.TokensStub(channel)
        answer = tokens.GetToken(
            tokens_pb2.GetTokenRequest(name=name), metadata=metadata, timeout=30
        )
    json.dump(
        {
            "length": len(answer.access_token),
            "token_type": answer.token_type,
            "lifetime": answer.lifetime_left.seconds,
            "scopes": list(answer.scopes),
            "fingerprint": answer.fingerprint,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
