"""Whoever comes with a browser is logged in at the provider already, as its one user: the form is not what the tests are about."""

from django.contrib.auth.models import User


class LoggedIn:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path == "/o/authorize/":
            request.user = User.objects.get()
        return self.get_response(request)
