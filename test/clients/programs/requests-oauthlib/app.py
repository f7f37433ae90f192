"""A web app of one user that signs in, refreshes and signs out with requests-oauthlib."""

import os
from urllib.parse import urlencode

import requests
from flask import Flask, redirect, request, session
from oauthlib.oauth2 import OAuth2Error
from requests_oauthlib import OAuth2Session

# oauthlib refuses plain http; never set this in production
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
URL = f"http://127.0.0.1:{os.environ['PORT']}"
CLIENT_ID = os.environ["CLIENT_ID"]
CLIENT_SECRET = os.environ.get("CLIENT_SECRET")
SERVICE = requests.get(f"{os.environ['ISSUER']}/.well-known/openid-configuration", timeout=10).json()
# the service repeats the scopes in another order or leaves some out: that is no error
os.environ["OAUTHLIB_RELAX_TOKEN_SCOPE"] = "1"

app = Flask(__name__)
app.secret_key = os.urandom(32)
kept = {}


def client(**more):
    # pkce is off unless it is asked for, and the service takes no request without it
    return OAuth2Session(
        CLIENT_ID, redirect_uri=f"{URL}/callback", scope=["openid", "profile", "email"], pkce="S256", **more
    )


# with a secret: HTTP Basic; without one the client's id goes into the body
AUTHENTICATION = {"client_secret": CLIENT_SECRET} if CLIENT_SECRET else {"include_client_id": True}


@app.get("/")
def home():
    return {"signedIn": "token" in kept}


@app.get("/login")
def login():
    service = client()
    url, session["state"] = service.authorization_url(SERVICE["authorization_endpoint"])
    session["verifier"] = service._code_verifier
    return redirect(url)


@app.get("/callback")
def callback():
    if request.args.get("state") != session.pop("state", None):
        return {"error": "another state"}, 400
    service = client()
    service._code_verifier = session.pop("verifier")
    kept["token"] = service.fetch_token(SERVICE["token_endpoint"], code=request.args["code"], **AUTHENTICATION)
    return show()


@app.post("/refresh")
def refresh():
    body = {} if CLIENT_SECRET else {"client_id": CLIENT_ID}
    auth = (CLIENT_ID, CLIENT_SECRET) if CLIENT_SECRET else None
    service = client(token=kept["token"])
    kept["token"] = {**kept["token"], **service.refresh_token(SERVICE["token_endpoint"], auth=auth, **body)}
    return show()


def show():
    token = kept["token"]
    userinfo = client(token=token).get(SERVICE["userinfo_endpoint"]).json()
    return {"userinfo": userinfo, "accessToken": token["access_token"], "refreshToken": token["refresh_token"]}


@app.get("/logout")
def logout():
    token = kept.pop("token")
    query = {"id_token_hint": token["id_token"], "post_logout_redirect_uri": f"{URL}/signed-out"}
    return redirect(f"{SERVICE['end_session_endpoint']}?{urlencode(query)}")


@app.get("/signed-out")
def signed_out():
    return redirect("/")


@app.errorhandler(OAuth2Error)
def refused(error):
    return {"error": error.error, "description": error.description}, 400


if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ["PORT"]))
