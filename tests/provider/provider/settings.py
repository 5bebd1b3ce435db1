"""A Django project that is nothing but an OpenID provider, with rotation and reuse protection."""

import os
import pathlib

STATE = pathlib.Path(os.environ["PROVIDER_STATE"])

SECRET_KEY = "of a provider that lives for one test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "provider.urls"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "oauth2_provider",
]
MIDDLEWARE = ["provider.access_log.AccessLog", "provider.browser.LoggedIn"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "provider",
        # A directory: the database listens on a socket in it, and on no port.
        "HOST": str(STATE / "db"),
        # A connection per thread for as long as it lives.
        "CONN_MAX_AGE": None,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The default hashes client secrets for a third of a second of CPU, per request.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

OAUTH2_PROVIDER = {
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
    "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
    "SCOPES": {"read": "read", "write": "write", "openid": "openid"},
    "DEFAULT_SCOPES": ["read", "write"],
    # For the id tokens of the client `login`; the others have none.
    "OIDC_ENABLED": True,
    "OIDC_RSA_PRIVATE_KEY": (STATE / "id_tokens.pem").read_text(),
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    # The 500s of lost races come with a traceback each.
    "loggers": {"django.request": {"handlers": ["stderr"], "level": "CRITICAL", "propagate": False}},
}
