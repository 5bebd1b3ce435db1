from django.urls import path
from oauth2_provider.views import RevokeTokenView, TokenView

urlpatterns = [path("o/token/", TokenView.as_view()), path("o/revoke_token/", RevokeTokenView.as_view())]
