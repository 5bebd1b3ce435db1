from django.urls import include, path
from oauth2_provider.urls import base_urlpatterns, oidc_urlpatterns

# Named as the metadata of OpenID Connect looks them up.
urlpatterns = [path("o/", include((base_urlpatterns + oidc_urlpatterns, "oauth2_provider")))]
