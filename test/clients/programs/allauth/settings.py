import os

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        # off unless it is set, and the service takes no request without PKCE
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                # a part of the redirect URI: /accounts/oidc/auth-service/login/callback/
                "provider_id": "auth-service",
                "name": "your account",
                "client_id": "allauth",
                "secret": os.environ["CLIENT_SECRET"],
                "settings": {"server_url": "https://auth.example.com"},
            }
        ],
    }
}
SOCIALACCOUNT_ADAPTER = "app.Accounts"
# no passwords in this project; the service verifies addresses
SOCIALACCOUNT_ONLY = True
ACCOUNT_EMAIL_VERIFICATION = "none"
LOGIN_URL = "/accounts/oidc/auth-service/login/"
LOGIN_REDIRECT_URL = "/"
# signs out of the service too, not only of this project
ACCOUNT_LOGOUT_REDIRECT_URL = (
    "https://auth.example.com/connect/logout?client_id=allauth"
    "&post_logout_redirect_uri=https://app.example.com/signed-out"
)
# how long a user stays signed in whatever became of the login at the service, in seconds
SESSION_COOKIE_AGE = 12 * 3600

# as in every project
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "app"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
