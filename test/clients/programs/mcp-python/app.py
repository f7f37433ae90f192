"""An assistant that calls a tool of an MCP server for each line of its input, and signs its user in where the server wants that."""

import asyncio
import json
import os
import sys
from urllib.parse import parse_qs, urlsplit

from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

SERVER = os.environ["MCP_SERVER"]
CALLBACK = os.environ["CALLBACK"]


class Storage:
    """What the assistant keeps; a real one writes it to the keychain of its user."""

    client = tokens = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


def tell(**what):
    print(json.dumps(what), flush=True)


async def line():
    return (await asyncio.to_thread(sys.stdin.readline)).strip()


async def open_browser(url):
    tell(open=url)


async def answer_of_browser():
    query = parse_qs(urlsplit(await line()).query)
    return AuthorizationCodeResult(**{name: query[name][0] for name in ("code", "state", "iss") if name in query})


storage = Storage()
provider = OAuthClientProvider(
    SERVER,
    # a public client: the service takes its word for nothing but these
    OAuthClientMetadata(client_name="Assistant", redirect_uris=[CALLBACK], token_endpoint_auth_method="none"),
    storage,
    redirect_handler=open_browser,
    # gives back code, state and iss of the address that the browser comes to
    callback_handler=answer_of_browser,
)


async def main():
    while await line() == "call":
        async with create_mcp_http_client(auth=provider) as http:
            async with Client(streamable_http_client(SERVER, http_client=http)) as client:
                result = await client.call_tool("who")
        tell(who=result.content[0].text, token=storage.tokens.access_token, client=storage.client.client_id)


asyncio.run(main())
