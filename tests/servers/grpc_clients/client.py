"""Asks a server as Python's grpcio does: client.py KEYS ADDRESS"""

import json
import sys

import grpc

keys, address = sys.argv[1].split(","), sys.argv[2]
with grpc.insecure_channel(address) as channel:
    ask = channel.unary_unary("/whoami.WhoAmI/Ask")
    for key in keys:
        code, message = 0, ""
        try:
            ask(b"", metadata=[("x-key", key)] if key else [], timeout=20)
        except grpc.RpcError as error:
            code, message = error.code().value[0], error.details()
        line = {"client": "grpcio", "key": key, "code": code, "message": message}
        print(json.dumps(line))
