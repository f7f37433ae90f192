"""A Django project whose users sign in at the service with django-allauth."""

import logging

from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.urls import include, path

log = logging.getLogger("sign-in")


class Accounts(DefaultSocialAccountAdapter):
    def pre_social_login(self, request, sociallogin):
        """At each login: what the service says of the user. The library reads `name`; the service has nicknames."""
        claims = sociallogin.account.extra_data["userinfo"]
        user = sociallogin.user
        user.first_name = claims.get("nickname", "")
        user.is_staff = "ROLE_ADMIN" in claims.get("roles", [])
        if sociallogin.is_existing:
            user.save()

    def on_authentication_error(self, request, provider, error=None, exception=None, extra_context=None):
        """The page shows no reason, and without this nothing has it."""
        log.warning("login failed: %s %s %s", error, exception, request.GET.get("error_description"))


@login_required
def home(request):
    user = request.user
    account = user.socialaccount_set.get()
    return JsonResponse(
        {"sub": account.uid, "email": user.email, "first_name": user.first_name, "staff": user.is_staff}
    )


def signed_out(request):
    return HttpResponse("signed out")


urlpatterns = [
    path("", home),
    path("signed-out", signed_out),
    path("accounts/", include("allauth.urls")),
]
