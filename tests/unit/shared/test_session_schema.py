import subprocess
import sys

import pytest

from shared.store.session import Database


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("url", "schema", "found"),
    [
        ("postgresql://u@h/d?schema=intake", None, "intake"),
        ("postgresql://u@h/d?schema=intake", "policy", "policy"),
        ("postgresql://u@h/d", None, None),
    ],
)
async def test_the_schema_may_stand_in_the_url(url: str, schema: str | None, found: str | None) -> None:
    database = Database(url, schema=schema)
    assert database.schema == found
    assert "schema" not in database.url.query
    await database.close()


def test_an_embedded_product_does_without_postgresqls_driver() -> None:
    """It takes 3 MB of memory."""
    asked = "import sys; from shared.store.session import Database; Database('sqlite:///x.db'); print('asyncpg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
