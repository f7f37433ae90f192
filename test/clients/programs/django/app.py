"""A Django project whose users sign in at the service."""

from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import include, path
from mozilla_django_oidc.auth import OIDCAuthenticationBackend


class Users(OIDCAuthenticationBackend):
    """Knows users by `sub`. The library knows them by their address, which an account of the service need not have verified."""

    def filter_users_by_claims(self, claims):
        return self.UserModel.objects.filter(username=claims["sub"])

    def create_user(self, claims):
        return self.update_user(self.UserModel(username=claims["sub"]), claims)

    def update_user(self, user, claims):
        user.email = claims["email"]
        user.first_name = claims.get("nickname", "")
        user.is_staff = "ROLE_ADMIN" in claims.get("roles", [])
        user.save()
        return user


def logout_url(request):
    """Where Django's logout sends the browser: signs out of the service too."""
    back = request.build_absolute_uri("/signed-out")
    query = urlencode({"id_token_hint": request.session["oidc_id_token"], "post_logout_redirect_uri": back})
    return f"https://auth.example.com/connect/logout?{query}"


@login_required
def home(request):
    user = request.user
    return JsonResponse({"username": user.username, "email": user.email, "staff": user.is_staff})


@login_required
def sign_out(request):
    token = f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
    return HttpResponse(f'<form method="post" action="/oidc/logout/">{token}<button>Sign out</button></form>')


def signed_out(request):
    return HttpResponse("signed out")


urlpatterns = [
    path("", home),
    path("sign-out", sign_out),
    path("signed-out", signed_out),
    path("oidc/", include("mozilla_django_oidc.urls")),
]
