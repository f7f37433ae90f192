"""A web app of one user that signs in, refreshes and signs out with Authlib's client for Flask."""

import os

from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from flask import Flask, redirect

URL = f"http://127.0.0.1:{os.environ['PORT']}"
app = Flask(__name__)
app.secret_key = os.urandom(32)
kept = {}


def keep(token, **_):
    kept["token"] = {**kept.get("token", {}), **token}


service = OAuth(app, update_token=lambda _name, token, **rest: keep(token, **rest)).register(
    "service",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ.get("CLIENT_SECRET"),
    server_metadata_url=f"{os.environ['ISSUER']}/.well-known/openid-configuration",
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
)


@app.get("/")
def home():
    return {"signedIn": "token" in kept}


@app.get("/login")
def login():
    return service.authorize_redirect(f"{URL}/callback")


@app.get("/callback")
def callback():
    keep(service.authorize_access_token())  # checks state, sends the PKCE verifier, checks the ID token and its nonce
    return show(kept["token"]["userinfo"])


@app.post("/refresh")
def refresh():
    kept["token"]["expires_at"] = 0  # Authlib refreshes by itself before a call with a token that is about to expire
    return show(None)


def show(claims):
    userinfo = service.userinfo(token=kept["token"])
    return {
        "claims": claims or service.parse_id_token(kept["token"], nonce=None),
        "userinfo": userinfo,
        "accessToken": kept["token"]["access_token"],
        "refreshToken": kept["token"]["refresh_token"],
    }


@app.get("/logout")
def logout():
    token = kept.pop("token")
    return service.logout_redirect(f"{URL}/signed-out", id_token_hint=token["id_token"])


@app.get("/signed-out")
def signed_out():
    service.validate_logout_response()
    return redirect("/")


@app.errorhandler(OAuthError)
def refused(error):
    return {"error": error.error}, 400


if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ["PORT"]))
