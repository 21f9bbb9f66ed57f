"""The address of a database is cut as libpq cuts it, and what is secret in it is never shown."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from commitlog.cdc.database_url import shown, split_password, with_password
from commitlog.schemas.errors import UsageError


@pytest.mark.parametrize(
    ("url", "bare", "password"),
    [
        ("postgresql://u@h/d", "postgresql://u@h/d", None),
        ("postgresql://u:@h/d", "postgresql://u@h/d", ""),
        ("postgresql://u:a%2Fb@h:1,g:2/d?sslmode=disable", "postgresql://u@h:1,g:2/d?sslmode=disable", "a/b"),
        ("postgresql://u:a#b@h/d", "postgresql://u@h/d", "a#b"),
        ("postgresql://u:a?b=c@h/d", "postgresql://u@h/d", "a?b=c"),
        ("postgresql://u:a@b@h/d", "postgresql://u@h/d", "a@b"),
        ("postgresql://u:a:b@[::1]:5432/d", "postgresql://u@[::1]:5432/d", "a:b"),
        ("postgresql:///d?password=a%26b&host=/tmp", "postgresql:///d?host=/tmp", "a&b"),
        ("postgresql://h?pass%77ord=geheim&host=/tmp", "postgresql://h?host=/tmp", "geheim"),
        ("postgresql://", "postgresql://", None),
    ],
)
def test_a_password_is_found_wherever_libpq_would(url: str, bare: str, password: str | None) -> None:
    assert split_password(url) == (bare, password)
    assert shown(url) == bare
    if password and "@" not in password:
        assert conninfo_to_dict(url)["password"] == password
        assert conninfo_to_dict(with_password(bare, password)) == conninfo_to_dict(url)


@pytest.mark.parametrize(
    "url", ["postgresql://u:12/geheim@h/d", "postgresql://u:pa/ge@heim@h/d", "u:geheim@h", "x\ny://u:p@h"]
)
def test_an_address_of_which_the_password_cannot_be_told_is_refused_and_not_repeated(url: str) -> None:
    for look in (split_password, shown):
        with pytest.raises(UsageError) as caught:
            look(url)
        assert "geheim" not in str(caught.value) + caught.value.hint
        assert "heim" not in str(caught.value) + caught.value.hint


def test_secrets_that_are_no_password_are_not_shown_either() -> None:
    url = "postgresql://u@h/d?sslkey=/k&sslpassword=geheim&oauth_client_secret=geheim&sslmode=verify-full"
    assert shown(url) == "postgresql://u@h/d?sslkey=/k&sslmode=verify-full"
    assert split_password(url) == (url, None)
