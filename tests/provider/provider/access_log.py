"""What the tests judge by: every request at the token endpoint and at that for revocations, before and after it was served.

One JSON line each in `access.log`: `asked` as soon as the request is read, so that a presentation counts even if it is
never answered, `served` when a refresh is done, and `answered` with the status.
"""

import base64
import fcntl
import hashlib
import itertools
import json
import os
import time
import urllib.parse

from django.conf import settings


class AccessLog:
    def __init__(self, get_response):
        self.get_response = get_response
        self.numbers = itertools.count()
        # With O_APPEND, lines of several processes do not run into each other.
        self.log = os.open(settings.STATE / "access.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, request):
        token = request.POST.get("refresh_token")
        presented = {
            "request": f"{os.getpid()}-{next(self.numbers)}",
            "grant_type": request.POST.get("grant_type"),
            "token": hashed(token),
            "revokes": hashed(request.POST.get("token")),
            "client": client(request),
        }
        self.write({"event": "asked", **presented})
        if presented["token"] is not None:
            wait_while_held(presented["token"])
        status = None
        try:
            response = self.get_response(request)
            status = response.status_code
            if presented["token"] is not None:
                self.write({"event": "served", **presented})
                wait_while_held(presented["token"] + ".answer")
            return response
        finally:
            self.write({"event": "answered", **presented, "status": status})

    def write(self, line):
        os.write(self.log, json.dumps({"time": time.time(), **line}).encode() + b"\n")


def hashed(token):
    return hashlib.sha256(token.encode()).hexdigest() if token is not None else None


def wait_while_held(name):
    """A test that holds a token, or the answer to it, has a file of that name, locked."""
    try:
        with open(settings.STATE / "held" / name) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        pass


def client(request):
    method, _, credentials = request.headers.get("authorization", "").partition(" ")
    if method.lower() == "basic":
        name, _, _ = base64.b64decode(credentials).decode().partition(":")
        return urllib.parse.unquote(name)
    return request.POST.get("client_id")
