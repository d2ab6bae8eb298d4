"""The hub's wiring: everything it says is computed in neve_hub or stands in neve.toml. Started by `neve-run`."""

import shutil
from functools import partial

from neve_hub import homes, idle, oidc, password_page, proxy, services, spawner
from neve_hub.announced import Announced
from neve_hub.auth import PasswordAuthenticator
from neve_hub.instance import current
from neve_hub.passwords import Passwords
from neve_hub.routes import Routes

c = get_config()  # noqa: F821 - JupyterHub provides it
here = current()

# Where it is
c.JupyterHub.bind_url = here.url
c.JupyterHub.hub_bind_url = here.hub_url
c.JupyterHub.db_url = f"sqlite:///{here.home / 'hub' / 'jupyterhub.sqlite'}"
c.JupyterHub.template_paths = [str(password_page.TEMPLATES)]
c.JupyterHub.template_vars = {
    "has_passwords": here.settings.login.issuer is None,
    "announcement": Announced(here).follow(),
    "disk_is_full": lambda _user: shutil.disk_usage(here.home / "hub").free < 2**16,
    "home_warning": partial(homes.warning, here),
}
c.JupyterHub.cookie_secret_file = str(here.secrets / "hub-cookie-secret")

# The proxy runs by itself; the hub only writes its routes
c.JupyterHub.proxy_class = Routes
c.Routes.should_start = False
c.Routes.dynamic_config_file = str(proxy.rules(here))
c.Routes.traefik_entrypoint = proxy.ENTRYPOINT
c.Routes.traefik_api_url = f"http://127.0.0.1:{here.proxy_api_port}"
c.Routes.traefik_api_username = "hub"
c.Routes.traefik_api_password, c.Routes.traefik_api_hashed_password = proxy.token(here)

# Who gets in
if here.settings.login.issuer:
    oidc.configure(c, here)
else:
    c.JupyterHub.authenticator_class = PasswordAuthenticator
    c.PasswordAuthenticator.passwords_file = str(here.passwords)
    c.Authenticator.admin_users = Passwords(here.passwords).admins()

# What they may do
c.JupyterHub.custom_scopes = services.SCOPES
c.JupyterHub.load_roles = services.roles(here) + idle.roles(here)
c.JupyterHub.load_groups = services.groups(here)
c.JupyterHub.services = [*services.services(here), *idle.services(here)]
c.JupyterHub.activity_resolution = idle.resolution_s(here)

# Where they work
spawner.configure(c, here)
