"""What the proxy is told of a person's path: as it compares it, and one text whatever the name holds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub.utils import url_escape_path
from neve_hub.routes import rule


@pytest.mark.parametrize(
    ("routespec", "said"),
    [
        ("/", 'PathPrefix("/")'),
        ("/user/alice/", 'PathPrefix("/user/alice/") || Path("/user/alice")'),
        ("/user/foo%2Bx@lab.fr/", 'PathPrefix("/user/foo%2Bx@lab.fr/") || Path("/user/foo%2Bx@lab.fr")'),
        ("/user/Zo%C3%A9%20%C3%9Cbel/", 'PathPrefix("/user/Zoé Übel/") || Path("/user/Zoé Übel")'),
        ("/user/a%252e%28b%29/", 'PathPrefix("/user/a%252e%28b%29/") || Path("/user/a%252e%28b%29")'),
        (
            "/user/x%60%29%20%7C%7C%20HostRegexp%28%60.%2A/",
            'PathPrefix("/user/x`%29 || HostRegexp%28`.%2A/") || Path("/user/x`%29 || HostRegexp%28`.%2A")',
        ),
        ("/user/%22%5C/", r'PathPrefix("/user/\"\\/") || Path("/user/\"\\")'),
    ],
)
def test_it_is_what_traefik_compares(routespec, said):
    assert rule(routespec) == said


@given(st.text(min_size=1, max_size=60))
def test_no_name_ends_its_text(name):
    said = rule(f"/user/{url_escape_path(name)}/")
    assert re.sub(r'"(\\.|[^"\\])*"', "", said) == "PathPrefix() || Path()"
