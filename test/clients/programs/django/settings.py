import os

OIDC_OP_AUTHORIZATION_ENDPOINT = "https://auth.example.com/oauth2/authorize"
OIDC_OP_TOKEN_ENDPOINT = "https://auth.example.com/oauth2/token"
OIDC_OP_USER_ENDPOINT = "https://auth.example.com/userinfo"
OIDC_OP_JWKS_ENDPOINT = "https://auth.example.com/oauth2/jwks"
OIDC_RP_CLIENT_ID = "django"
OIDC_RP_CLIENT_SECRET = os.environ["CLIENT_SECRET"]
OIDC_RP_SCOPES = "openid profile email"
# HS256 unless it is set
OIDC_RP_SIGN_ALGO = "RS256"
# off unless it is set, and the service takes no request without PKCE
OIDC_USE_PKCE = True
OIDC_PKCE_CODE_CHALLENGE_METHOD = "S256"
# the logout at the service needs it
OIDC_STORE_ID_TOKEN = True
OIDC_OP_LOGOUT_URL_METHOD = "app.logout_url"
# asks the service after this time whether the user is signed in still (prompt=none)
OIDC_RENEW_ID_TOKEN_EXPIRY_SECONDS = 15 * 60
LOGIN_URL = "oidc_authentication_init"
LOGIN_REDIRECT_URL = "/"
LOGIN_REDIRECT_URL_FAILURE = "/signed-out"
# without it the logout answers 500
LOGOUT_REDIRECT_URL = "/signed-out"
AUTHENTICATION_BACKENDS = ["app.Users"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "mozilla_django_oidc.middleware.SessionRefresh",
]

# as in every project
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "mozilla_django_oidc",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "app"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
