"""What a token is worth, and every revocation as it happens."""

import base64
import os
import sys
import threading
import time
from pathlib import Path

import grpc
from google.protobuf.json_format import MessageToJson

sys.path.insert(0, str(Path(__file__).parent / "gen"))
from auth.v1 import introspection_pb2 as auth  # noqa: E402
from auth.v1.introspection_pb2_grpc import IntrospectionServiceStub  # noqa: E402

SECRET = f"{os.environ['AUTH_CLIENT_ID']}:{os.environ['AUTH_CLIENT_SECRET']}"
METADATA = [("authorization", "Basic " + base64.b64encode(SECRET.encode()).decode())]
HOPELESS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)
TOKEN = os.environ["TOKEN"]


def show(message):
    print(MessageToJson(message, indent=None, always_print_fields_with_no_presence=True), flush=True)


class Watch:
    """Follows the stream; knows where to go on after a break."""

    def __init__(self, service):
        self.service = service
        self.resume_token = ""

    def until(self, sid):
        """Prints revocations until that of `sid` came; raises RpcError when the stream broke."""
        request = auth.WatchRevocationsRequest(resume_token=self.resume_token)
        stream = self.service.WatchRevocations(request, metadata=METADATA)
        following = False
        while True:
            silence = threading.Timer(5, stream.cancel)  # something comes at least every second
            silence.start()
            try:
                response = next(stream)
            finally:
                silence.cancel()
            for revocation in response.revocations:
                show(revocation)
                if revocation.value == sid:
                    stream.cancel()
                    return
            self.resume_token = response.resume_token
            if not following and not response.snapshot:
                following = True
                print("following revocations", file=sys.stderr)


def main():
    # grpc.secure_channel where the listener has TLS
    with grpc.insecure_channel(os.environ["AUTH_GRPC_ADDRESS"]) as channel:
        service = IntrospectionServiceStub(channel)
        show(service.Introspect(auth.IntrospectRequest(token=TOKEN), metadata=METADATA, timeout=10))
        asked = auth.AuthorizeRequest(token=TOKEN, required_scopes=["read"])
        show(service.Authorize(asked, metadata=METADATA, timeout=10))
        watch = Watch(service)
        while True:
            try:
                watch.until(os.environ.get("UNTIL_SID"))
                break
            except (grpc.RpcError, StopIteration) as error:
                if isinstance(error, grpc.Call) and error.code() in HOPELESS:
                    raise
                print("the stream broke, resuming:", error, file=sys.stderr)
                time.sleep(1)
        show(service.Introspect(auth.IntrospectRequest(token=TOKEN), metadata=METADATA, timeout=10))


main()
